from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ReadTimeoutError

from local import ROOT
from local.aws.moto import LocalAws
from local.aws.stack import Stack, deploy, function_of
from local.aws.template import to_cloudformation
from ops.template import TemplateError, read_template


class _Plain(yaml.SafeLoader):
    """Reads the template without CloudFormation's functions: `!Ref X` is the text X."""


_Plain.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The properties of each resource of template.yaml, read independently of the code under test."""
    resources = yaml.load((ROOT / "template.yaml").read_text(), _Plain)["Resources"]
    return {name: resource["Properties"] for name, resource in resources.items()}


def test_the_bucket_is_encrypted_as_the_template_says(aws: LocalAws, stack: Stack) -> None:
    answer = aws.client("s3").get_bucket_encryption(Bucket=stack.uploads_bucket)
    (rule,) = answer["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_the_bucket_blocks_all_public_access(aws: LocalAws, stack: Stack) -> None:
    block = aws.client("s3").get_public_access_block(Bucket=stack.uploads_bucket)
    assert block["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }


def test_the_bucket_notifies_the_queue_of_what_is_created_and_removed(aws: LocalAws, stack: Stack) -> None:
    configuration = aws.client("s3").get_bucket_notification_configuration(Bucket=stack.uploads_bucket)
    queues = configuration["QueueConfigurations"]
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["QueueArn"])[
        "Attributes"
    ]
    assert {queue["QueueArn"] for queue in queues} == {attributes["QueueArn"]} == {stack.queue_arn}
    events = [event for queue in queues for event in queue["Events"]]
    assert events == ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"]


def test_the_queue_is_as_the_template_says(aws: LocalAws, stack: Stack, written: dict[str, Any]) -> None:
    sqs = aws.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["All"])["Attributes"]
    dead = sqs.get_queue_attributes(QueueUrl=stack.dead_letter_url, AttributeNames=["All"])["Attributes"]
    assert int(attributes["VisibilityTimeout"]) == written["UploadsQueue"]["VisibilityTimeout"]
    assert int(attributes["MessageRetentionPeriod"]) == written["UploadsQueue"]["MessageRetentionPeriod"]
    redrive = json.loads(attributes["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
    assert redrive["maxReceiveCount"] == stack.max_receives
    assert stack.max_receives == written["UploadsQueue"]["RedrivePolicy"]["maxReceiveCount"]


def test_only_the_bucket_may_send_to_the_queue(aws: LocalAws, stack: Stack) -> None:
    policy = aws.client("sqs").get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=["Policy"])
    allowed = [
        statement
        for statement in json.loads(policy["Attributes"]["Policy"])["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert [statement["Action"] for statement in allowed] == ["sqs:SendMessage"]
    assert allowed[0]["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allowed[0]["Condition"]["ArnEquals"] == {"aws:SourceArn": f"arn:aws:s3:::{stack.uploads_bucket}"}


def test_the_table_has_the_templates_keys_and_expiry(aws: LocalAws, stack: Stack, written: dict[str, Any]) -> None:
    dynamodb = aws.client("dynamodb")
    table = dynamodb.describe_table(TableName=stack.results_table)["Table"]
    assert table["KeySchema"] == written["ResultsTable"]["KeySchema"]
    assert table["AttributeDefinitions"] == written["ResultsTable"]["AttributeDefinitions"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    expiry = dynamodb.describe_time_to_live(TableName=stack.results_table)["TimeToLiveDescription"]
    wanted = written["ResultsTable"]["TimeToLiveSpecification"]["AttributeName"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": wanted}


def test_the_function_gets_its_environment_with_every_reference_resolved(stack: Stack, written: dict[str, Any]) -> None:
    wanted = written["ClassifyFunction"]["Environment"]["Variables"]
    assert stack.function.environment.keys() == wanted.keys()
    assert stack.function.environment["RESULTS_TABLE"] == stack.results_table
    assert stack.function.environment["ONNX_THREADS"] == "2"  # 3,008 MB are 1.7 vCPU
    assert stack.function.memory == 3008
    assert stack.function.timeout == written["ClassifyFunction"]["Timeout"]
    assert stack.function.handler == written["ClassifyFunction"]["Handler"]
    assert stack.batch_size == 10
    assert stack.reports_item_failures


def test_parameters_override_the_templates_defaults(aws: LocalAws) -> None:
    small = deploy(aws, parameters={"MemorySize": "1769", "TagPrefix": "kind"}, name="small")
    assert small.function.memory == 1769
    assert small.function.environment["ONNX_THREADS"] == "1"
    assert small.function.environment["TAG_PREFIX"] == "kind"


def test_a_parameter_that_the_template_lacks_is_refused() -> None:
    with pytest.raises(TemplateError, match="no parameter Memory"):
        to_cloudformation(read_template(ROOT / "template.yaml"), {"Memory": "1769"})


FOREIGN = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Queue: {Type: AWS::SQS::Queue}
"""
WITHOUT_OUTPUTS = """
Resources:
  ClassifyFunction: {Type: AWS::SQS::Queue}
  UploadsQueue: {Type: AWS::SQS::Queue}
  UploadsToClassify: {Type: AWS::SQS::Queue}
Outputs: {UploadsBucketName: {Value: uploads}}
"""


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (FOREIGN, "it has no ClassifyFunction, UploadsQueue, UploadsToClassify"),
        (WITHOUT_OUTPUTS, "it has no output UploadsQueueUrl, UploadsDeadLetterQueueUrl, ResultsTableName"),
    ],
)
def test_the_template_of_another_application_is_refused(tmp_path: Path, text: str, missing: str) -> None:
    (tmp_path / "template.yaml").write_text(text)
    with pytest.raises(TemplateError, match=missing):
        deploy(LocalAws("http://127.0.0.1:1"), tmp_path / "template.yaml")


def test_a_local_aws_that_is_slow_to_create_the_stack_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    aws, clients, sent = LocalAws("http://127.0.0.1:1"), [], []

    def client(*arguments: Any, **options: Any) -> Any:
        clients.append(make_client(*arguments, **options))
        return clients[-1]

    def time_out(request: Any, **_: Any) -> None:
        sent.append(request)
        raise ReadTimeoutError(endpoint_url=request.url)

    make_client = aws.client
    monkeypatch.setattr(aws, "client", client)
    aws.events.register("before-send.cloudformation", time_out)
    with pytest.raises(ReadTimeoutError):
        deploy(aws)
    assert len(sent) == 1
    assert [made.meta.config.read_timeout for made in clients] == [600]


def test_a_function_that_the_template_lacks_is_refused(aws: LocalAws, stack: Stack) -> None:
    with pytest.raises(TemplateError, match="no function Score"):
        function_of(aws, stack, "Score")


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no template .*absent"):
        read_template(tmp_path / "absent.yaml")


def test_nothing_in_the_stack_points_to_aws(stack: Stack) -> None:
    everything = json.dumps([dict(stack.outputs), dict(stack.resources), dict(stack.function.environment)])
    assert "amazonaws.com" not in everything


def test_alarms_publish_to_a_topic_that_nobody_else_may_publish_to(aws: LocalAws, stack: Stack) -> None:
    topic = stack.outputs["AlarmsTopicArn"]
    alarms = aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    assert {alarm["AlarmName"] for alarm in alarms} >= {f"{stack.name}-dead-letters", f"{stack.name}-no-results"}
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == [topic] for alarm in alarms)
    attributes = aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    (allow, deny) = json.loads(attributes["Policy"])["Statement"]
    assert allow["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert attributes["KmsMasterKeyId"] == stack.resources["AlarmsKey"]


def test_the_dashboard_is_there(aws: LocalAws, stack: Stack) -> None:
    body = aws.client("cloudwatch").get_dashboard(DashboardName=stack.resources["Dashboard"])["DashboardBody"]
    assert json.loads(body)["widgets"]
    assert "${" not in body


def test_properties_that_the_local_aws_does_not_support_are_listed(stack: Stack) -> None:
    assert set(stack.left_out) == {
        "UploadsBucketPolicy.PolicyDocument",  # moto ignores the conditions of its statements
        "UploadsBucket.LifecycleConfiguration",
        "ReportsBucketPolicy.PolicyDocument",
        "ReportsBucket.LifecycleConfiguration",
        "UploadsDeadLetterQueue.RedriveAllowPolicy",
        "ResultsTable.SSESpecification",
    }


def test_values_under_opt_move_with_the_layers(stack: Stack) -> None:
    moved = stack.function.environment_at(Path("/elsewhere"))
    assert moved["MODEL_DIR"] == "/elsewhere/model"
    assert {name for name in moved if moved[name] != stack.function.environment[name]} == {"MODEL_DIR"}
