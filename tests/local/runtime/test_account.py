"""The built function on a deployed stack: its variables come from there, and no sample is uploaded."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from local.aws.moto import LocalAws
from local.aws.stack import Stack
from local.runtime import invoke
from local.runtime.account import ENV_JSON, credentials_environment, deployed_functions, write_env_json
from ops.stack import describe_stack
from tests.local.notifications import notification
from tests.local.runtime.test_invoke import build as build
from tests.local.runtime.test_invoke import write_event
from tests.template import of_type, properties


def test_env_json_has_the_names_of_the_stack_for_every_function_of_the_template(
    aws: LocalAws, stack: Stack, tmp_path: Path
) -> None:
    functions = deployed_functions(boto3.session.Session(), describe_stack(stack.name))
    write_env_json(functions, tmp_path / "env.json")
    variables = json.loads((tmp_path / "env.json").read_text())
    assert variables.keys() == of_type("AWS::Serverless::Function").keys()
    assert variables["ClassifyFunction"]["RESULTS_TABLE"] == stack.results_table
    assert variables["ScoreFunction"]["REPORTS_BUCKET"] == stack.outputs["ReportsBucketName"]
    for name, values in variables.items():  # `sam local` overrides only what the template declares
        assert values.keys() == properties(name)["Environment"]["Variables"].keys()
        assert all(isinstance(value, str) for value in values.values())


def test_the_function_gets_the_callers_credentials_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    session = boto3.session.Session("key", "secret", region_name="eu-west-1")
    assert credentials_environment(session) == {
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


def test_without_credentials_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(NoCredentialsError):
        credentials_environment(boto3.session.Session())


def test_a_picture_is_never_uploaded_to_a_deployed_stack(
    aws: LocalAws, stack: Stack, build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"a picture")
    event = write_event(build, notification("uploads", "a.jpg"))
    assert invoke.main([event, "--stack", stack.name, "--image", str(tmp_path / "mine.jpg")]) == 1
    assert "IMAGE is uploaded to a local AWS only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("python")
def test_the_function_works_on_the_stacks_bucket_and_table(
    aws: LocalAws,
    stack: Stack,
    build: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key="a.jpg", Body=b"four")
    event = write_event(build, notification("uploads", "a.jpg"))

    assert invoke.main([event, "--build", str(build), "--stack", stack.name]) == 0

    output = capsys.readouterr()
    assert json.loads(output.out) == {"batchItemFailures": []}
    assert f"works on {stack.uploads_bucket}/a.jpg" in output.err
    assert f"object = {stack.uploads_bucket}/a.jpg" in output.err  # the row, read back
    assert "uploaded" not in output.err
    assert ENV_JSON.is_file()
