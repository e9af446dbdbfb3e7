"""`make deploy ENV=...` on the local CloudFormation, with a stand-in for `sam deploy`, which makes the change set.

The SAM CLI itself cannot run here: moto does not find the template that it uploads.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from local.aws.moto import LocalAws
from ops import deploy
from tests.support import ROOT

QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 30}}
TABLE = {
    "Type": "AWS::DynamoDB::Table",
    "Properties": {
        "AttributeDefinitions": [{"AttributeName": "object", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "object", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
}
SAMCONFIG = """
version = 0.1
[default.deploy.parameters]
confirm_changeset = true
[dev.deploy.parameters]
stack_name = "pets-dev"
parameter_overrides = ["AlarmEmail=me@example.com", "ScoreSchedule='cron(0 3 * * ? *)'"]
[prod.deploy.parameters]
stack_name = "pets"
parameter_overrides = 'Architecture="arm64" MinimumAccuracy="0.5"'
"""
# As samcli.commands.deploy.deploy_context prints, see the last test.
CREATED = "\\nChangeset created successfully. {changeset_id}\\n"
STAND_IN = f"""#!{sys.executable}
import json, os, sys, uuid
json.dump(sys.argv[1:], open("arguments.json", "w"))
if not os.path.exists("template.json"):
    sys.exit("Error: no template")
import boto3
client, name = boto3.client("cloudformation"), "pets-" + sys.argv[sys.argv.index("--config-env") + 1]
body = open("template.json").read()
stacks = client.describe_stacks()["Stacks"]
exists = name in [stack["StackName"] for stack in stacks]
if exists and client.get_template(StackName=name)["TemplateBody"] == json.loads(body):
    print("No changes to deploy. Stack is up to date")
    sys.exit()
kind = "UPDATE" if exists else "CREATE"
made = client.create_change_set(
    StackName=name, ChangeSetName="samcli-deploy" + uuid.uuid4().hex, ChangeSetType=kind, TemplateBody=body
)
print("{CREATED}".format(changeset_id=made["Id"]))
"""


@pytest.fixture
def project(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built project, whose stack is not deployed."""
    sam = tmp_path / "sam"
    sam.write_text(STAND_IN)
    sam.chmod(0o755)
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG)
    write_template(tmp_path, Results=TABLE, Uploads=QUEUE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deploy, "SAM", sam)
    monkeypatch.setattr(deploy, "_WAIT", {"Delay": 0, "MaxAttempts": 3})
    client = aws.client("cloudformation")
    for stack in client.list_stacks()["StackSummaries"]:
        client.delete_stack(StackName=stack["StackName"])
    return tmp_path


def write_template(project: Path, **resources: Any) -> None:
    (project / "template.json").write_text(json.dumps({"Resources": resources}))


def given(project: Path) -> dict[str, str]:
    """The parameters that sam got."""
    arguments = json.loads((project / "arguments.json").read_text())
    start = arguments.index("--parameter-overrides") + 1
    pairs = [re.fullmatch(r'(\w+)="(.*)"', argument) for argument in arguments[start:] if not argument.startswith("--")]
    return {pair[1]: pair[2] for pair in pairs if pair}


def write_report(interval: list[float]) -> None:
    deploy.REPORT.parent.mkdir(parents=True)
    deploy.REPORT.write_text(json.dumps({"accuracy": {"test": {"int8": {"interval": interval}}}}))


def test_a_stack_is_created_then_found_unchanged_then_updated(
    project: Path, aws: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["--env", "dev"]) == 0
    printed = capsys.readouterr().out
    assert "  Add      Results (AWS::DynamoDB::Table)\n" in printed
    assert printed.endswith("deploying pets-dev ...\npets-dev is deployed.\n")

    assert deploy.main(["--env", "dev"]) == 0
    assert capsys.readouterr().out == "No changes to deploy. Stack is up to date\n"

    write_template(project, Results=TABLE, Uploads={**QUEUE, "Properties": {"VisibilityTimeout": 60}})
    assert deploy.main(["--env", "dev"]) == 0
    (queue,) = aws.client("sqs").list_queues()["QueueUrls"]
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"]["VisibilityTimeout"] == "60"


def test_a_change_set_that_removes_the_table_is_refused_and_deleted_unless_it_is_allowed(
    project: Path, aws: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.main(["--env", "dev"])
    write_template(project, Uploads=QUEUE)

    assert deploy.main(["--env", "dev"]) == 1
    assert (
        "error: nothing is deployed, because these changes would lose data:\n"
        "  Remove   Results (AWS::DynamoDB::Table): its rows would stay behind or be lost\n"
        "If that is what you want: ALLOW_REPLACE=1\n"
    ) in capsys.readouterr().err
    assert len(aws.client("dynamodb").list_tables()["TableNames"]) == 1
    sets = aws.client("cloudformation").list_change_sets(StackName="pets-dev")["Summaries"]
    assert [change_set for change_set in sets if change_set["ExecutionStatus"] == "AVAILABLE"] == []

    assert deploy.main(["--env", "dev", "--allow-replace"]) == 0
    assert aws.client("dynamodb").list_tables()["TableNames"] == []


@pytest.mark.parametrize(
    ("kind", "action", "replacement", "is_loss"),
    [
        ("AWS::S3::Bucket", "Modify", "True", True),
        ("AWS::S3::Bucket", "Modify", "Conditional", True),
        ("AWS::S3::Bucket", "Modify", "False", False),
        ("AWS::S3::Bucket", "Remove", None, True),
        ("AWS::S3::Bucket", "Dynamic", None, True),
        ("AWS::S3::Bucket", "Add", None, False),
        ("AWS::Lambda::Version", "Modify", "True", False),
        ("AWS::Lambda::LayerVersion", "Remove", None, False),
    ],
)
def test_losses_are_removals_and_replacements_of_what_holds_data(
    kind: str, action: str, replacement: str | None, is_loss: bool
) -> None:
    # CloudFormation API reference, ResourceChange.
    change: dict[str, Any] = {"ResourceType": kind, "Action": action, "LogicalResourceId": "Thing"}
    change |= {"Replacement": replacement} if replacement else {}
    change["Details"] = [{"Target": {"Attribute": "Properties", "Name": "BucketName"}}]
    losses = list(deploy.losses_of([cast(Any, change)]))
    assert bool(losses) is is_loss
    assert all(line.endswith("be lost, because of BucketName") for line in losses)


def test_nobody_is_asked_and_an_empty_change_set_is_no_failure(project: Path) -> None:
    (project / "template.json").unlink()  # sam ends there
    deploy.main(["--env", "dev"])
    arguments = json.loads((project / "arguments.json").read_text())
    assert arguments[:3] == ["deploy", "--config-env", "dev"]
    assert set(arguments) >= {"--no-execute-changeset", "--no-confirm-changeset", "--no-fail-on-empty-changeset"}


def test_the_environments_parameters_reach_sam_with_the_accuracy_that_the_model_supports(project: Path) -> None:
    (project / "template.json").unlink()  # sam ends there
    write_report([0.98641, 0.9954])
    deploy.main(["--env", "dev"])
    assert given(project) == {
        "AlarmEmail": "me@example.com",
        "ScoreSchedule": "cron(0 3 * * ? *)",
        "MinimumAccuracy": "0.986",  # rounded down
    }


def test_a_value_in_samconfig_wins_over_the_models_and_the_command_line_over_both(project: Path) -> None:
    (project / "template.json").unlink()  # sam ends there
    write_report([0.98641, 0.9954])
    deploy.LAYERS_FOR.parent.mkdir(parents=True)
    deploy.LAYERS_FOR.write_text("x86_64\n")
    deploy.main(["--env", "prod", "--arch", "x86_64"])
    assert given(project) == {"Architecture": "x86_64", "MinimumAccuracy": "0.5"}


def test_layers_of_another_architecture_are_refused_before_anything_is_uploaded(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.LAYERS_FOR.parent.mkdir(parents=True)
    deploy.LAYERS_FOR.write_text("x86_64\n")
    assert deploy.main(["--env", "prod"]) == 1
    assert "the layers are for x86_64, the functions for arm64: make layer ARCH=arm64" in capsys.readouterr().err
    assert not (project / "arguments.json").exists()


@pytest.mark.parametrize(("length", "status"), [(93, 0), (94, 1)])
def test_values_that_lambda_does_not_take_in_a_versions_description_are_refused_before_anything_is_uploaded(
    project: Path, capsys: pytest.CaptureFixture[str], length: int, status: int
) -> None:
    subnets = ",".join(f"subnet-{number:017d}" for number in range(3))
    # The prefix has its place between 0 and .jpg.
    others = f"x86_64 3008 image-label 26214400 0  .jpg,.jpeg,.png default   INFO tags,row,event false {subnets} "
    assert len(others) == 163  # Lambda allows 256
    overrides = f"KeyPrefix={'p' * length} KeySuffixes=.jpg,.jpeg,.png SubnetIds={subnets}"
    (project / "samconfig.toml").write_text(f'[dev.deploy.parameters]\nparameter_overrides = "{overrides}"\n')

    assert deploy.main(["--env", "dev"]) == status

    assert (project / "arguments.json").exists() is (status == 0)
    error = capsys.readouterr().err
    assert ("have 257 characters together" in error) is (status == 1)
    assert ("The longest are KeyPrefix, SubnetIds, KeySuffixes" in error) is (status == 1)


@pytest.mark.parametrize("arguments", [[], ["--env", "default"], ["--env", "staging"]])
def test_without_an_environment_the_error_names_them(
    project: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(arguments) == 1
    expected = "name an environment of samconfig.toml: ENV=dev or ENV=prod. To be asked: GUIDED=1"
    assert expected in capsys.readouterr().err


def test_guided_leaves_the_questions_to_sam(project: Path) -> None:
    write_report([0.9, 1.0])
    (project / "template.json").unlink()
    assert deploy.main(["--guided", "--arch", "arm64"]) == 1
    arguments = json.loads((project / "arguments.json").read_text())
    assert arguments == [
        "deploy", "--parameter-overrides", 'MinimumAccuracy="0.9"', 'Architecture="arm64"', "--guided",
    ]  # fmt: skip


def test_if_sam_fails_nothing_is_deployed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "template.json").unlink()
    assert deploy.main(["--env", "dev"]) == 1
    assert "error: sam deploy failed; its output above says why" in capsys.readouterr().err


def test_a_deployment_that_fails_gives_the_reasons_of_the_latest_attempt(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        {"LogicalResourceId": "Live", "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": "Rollback successful"},
        {"LogicalResourceId": "Queue", "ResourceStatus": "UPDATE_COMPLETE"},
        {"LogicalResourceId": "pets", "ResourceStatus": "UPDATE_IN_PROGRESS", "ResourceStatusReason": "User Initiated"},
        {
            "LogicalResourceId": "Old",
            "ResourceStatus": "UPDATE_FAILED",
            "ResourceStatusReason": "of an earlier attempt",
        },
    ]

    class CloudFormation:
        def describe_stack_events(self, StackName: str) -> dict[str, Any]:
            return {"StackEvents": events}

    assert deploy.failures(cast(Any, CloudFormation()), "pets") == ["Live: Rollback successful"]


def test_the_projects_environments_deploy_without_questions_and_lose_nothing_on_the_way() -> None:
    dev, prod = (deploy.read_parameters(name, samconfig=ROOT / "samconfig.toml") for name in ("dev", "prod"))
    assert dev == {}
    assert prod == {"Deployment": "Canary10Percent5Minutes"}


def test_sam_prints_a_change_set_as_it_is_read_here() -> None:
    (context,) = (ROOT / ".venv-sam/lib").glob("python3*/site-packages/samcli/commands/deploy/deploy_context.py")
    assert f'MSG_SHOWCASE_CHANGESET = "{CREATED}"' in context.read_text("utf-8")
    arn = "arn:aws:cloudformation:eu-central-1:111122223333:changeSet/samcli-deploy1764197515/4c1f-9a"
    found = deploy._CHANGE_SET.search(f"Changeset created successfully. {arn}")
    assert found is not None
    assert found[0] == arn
