"""What the handler calls and counts is what template.yaml allows and watches."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

from classify import app
from classify.labelling import Ending
from tests.classify.conftest import BUCKET, TABLE, LambdaContext, Service
from tests.support import BLUE, GREEN, GREY, RED, encoded, notification, plain, record, sqs_batch, write_familiar_model
from tests.template import HERE, PARAMETERS, Resolver, dashboard, of_type, properties, shown_metrics, watched_metrics

# CURRENT is how a backfill may end that asks for stale labels only; an upload never does.
ENDINGS_OF_UPLOADS = {ending.value.capitalize() for ending in Ending if ending is not Ending.CURRENT}
ENDINGS_OF_TASKS = {ending.value.capitalize() for ending in Ending if ending is not Ending.DELETED}  # no task deletes

# What IAM asks for each call, without and with a version in the request. Amazon S3 user guide, "Required permissions
# for Amazon S3 API operations"; service authorization reference for DynamoDB and EventBridge.
ACTIONS = {
    "GetObject": ("s3:GetObject", "s3:GetObjectVersion"),
    "HeadObject": ("s3:GetObject", "s3:GetObjectVersion"),
    "GetObjectTagging": ("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    "PutObjectTagging": ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
    "GetItem": ("dynamodb:GetItem", ""),
    "PutItem": ("dynamodb:PutItem", ""),
    "UpdateItem": ("dynamodb:UpdateItem", ""),
    "PutEvents": ("events:PutEvents", ""),
}
# What the handler does not call by itself.
NOT_BY_THE_HANDLER = {
    "s3:ListBucket",  # asked for by no call, but without it S3 calls a missing object AccessDenied
    "sqs:ReceiveMessage",  # Lambda's poller, in the role's name: Lambda developer guide, "Using Lambda with Amazon SQS"
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "logs:CreateLogStream",  # Lambda, for what the function prints
    "logs:PutLogEvents",
    "xray:PutTraceSegments",  # the X-Ray daemon beside the function
    "xray:PutTelemetryRecords",
}
ARNS = {
    "UploadsBucket": f"arn:aws:s3:::{BUCKET}",
    "ResultsTable": f"arn:aws:dynamodb:{HERE}:table/{TABLE}",
}
# What a stack does not need that does not write them. Without tags, an upload needs no HeadObject, whose action
# GetObject needs too; without a row, a task needs no GetItem.
ONLY_FOR = {
    "tags": {"s3:GetObjectTagging", "s3:GetObjectVersionTagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
    "row": {"dynamodb:GetItem", "dynamodb:PutItem"},
    "event": {"events:PutEvents"},
}
WRITES = PARAMETERS["Write"]["AllowedValues"]
BUCKETS = ("", BUCKET, f"{BUCKET},photos.example")  # a bucket of the stack's own, and existing ones

Call = tuple[str, str]  # IAM action, ARN


def resource_of(operation: str, arguments: dict[str, Any]) -> str:
    if operation == "PutEvents":
        (bus,) = {entry["EventBusName"] for entry in arguments["Entries"]}
        return f"arn:aws:events:{HERE}:event-bus/{bus}"
    if "TableName" in arguments:
        return f"arn:aws:dynamodb:{HERE}:table/{arguments['TableName']}"
    return f"arn:aws:s3:::{arguments['Bucket']}/{arguments['Key']}"


@pytest.fixture
def calls(service: Service, monkeypatch: pytest.MonkeyPatch) -> set[Call]:
    """The actions that the handler's calls need, and on what; an unknown call is an error."""
    made: set[Call] = set()
    real_call, real_invoke = BaseClient._make_api_call, service.invoke
    inside = False

    def call(client: BaseClient, name: str, arguments: dict[str, Any]) -> Any:
        if inside:
            made.add((ACTIONS[name][bool(arguments.get("VersionId"))], resource_of(name, arguments)))
        return real_call(client, name, arguments)

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        nonlocal inside
        inside = True
        try:
            return real_invoke(event)
        finally:
            inside = False

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    monkeypatch.setattr(service, "invoke", invoke)
    return made


def batch_operations(key: str, version: str | None = None, only_stale: bool = False) -> dict[str, Any]:
    """Amazon S3 user guide, "Invoke AWS Lambda function"."""
    task = {"taskId": "task", "s3Key": key, "s3VersionId": version, "s3Bucket": BUCKET}
    job = {"id": "j", "userArguments": {"onlyStale": str(only_stale).lower()}}
    return {"invocationSchemaVersion": "2.0", "invocationId": "i", "job": job, "tasks": [task]}


def play(service: Service) -> None:
    """All that can happen to objects, in a bucket without versions and then in one with them."""

    def deliver(*records: dict[str, Any]) -> None:
        assert service.invoke(sqs_batch(*map(notification, records)))["batchItemFailures"] == []

    def delete(key: str, event: str = "ObjectRemoved:Delete", **version: str) -> dict[str, Any]:
        service.s3.delete_object(Bucket=BUCKET, Key=key, **version)
        return record(key, event_name=event, sequencer="0055AED6DCD90281E6", version_id=version.get("VersionId"))

    def everything() -> None:
        red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")
        blue = service.upload("blue.png", encoded(plain(BLUE)))
        deliver(red, blue, service.upload("grey.png", encoded(plain(GREY))), service.upload("notes.jpg", b"Milk"))
        deliver(service.upload("green.png", encoded(plain(GREEN))))
        deliver(record("blue.png", sequencer="0055", version_id=blue["s3"]["object"].get("versionId")))  # late
        service.invoke(batch_operations("red.png", red["s3"]["object"].get("versionId")))
        service.invoke(batch_operations("blue.png"))

    everything()
    deliver(delete("red.png"))
    deliver(record("never.png"))
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    everything()
    newest = service.upload("red.png", encoded(plain(RED)))
    deliver(newest)
    deliver(delete("red.png", VersionId=newest["s3"]["object"]["versionId"]))
    marker = service.s3.delete_object(Bucket=BUCKET, Key="blue.png")["VersionId"]
    deliver(record("blue.png", event_name="ObjectRemoved:DeleteMarkerCreated", version_id=marker))


def play_backfill(service: Service) -> None:
    """All that can come of tasks of S3 Batch Operations, without versions and then with them."""
    pictures = {"red.png": encoded(plain(RED)), "grey.png": encoded(plain(GREY)), "notes.jpg": b"Milk"}
    pictures["green.png"] = encoded(plain(GREEN))

    def everything() -> None:
        for key, data in pictures.items():
            version = service.upload(key, data, tags="owner=Ann")["s3"]["object"].get("versionId")
            service.invoke(batch_operations(key, version))
            service.invoke(batch_operations(key, only_stale=True))

    everything()
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    everything()
    service.invoke(batch_operations("never.png"))


def granted(role: str = "ClassifyRole", **parameters: str) -> list[tuple[str, str]]:
    """Actions that the role's policies allow, each with a pattern of ARNs."""
    return Resolver(parameters, ARNS).granted(role)


def refused(calls: set[Call], allowed: list[tuple[str, str]]) -> list[Call]:
    return [call for call in calls if not any(a == call[0] and fnmatchcase(call[1], p) for a, p in allowed)]


def writing(service: Service, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    monkeypatch.setenv("WRITE", write)
    app.get_labeller.cache_clear()


@pytest.mark.parametrize("write", WRITES)
def test_the_role_allows_the_calls_that_the_handler_makes_and_no_others(
    service: Service, calls: set[Call], monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    writing(service, monkeypatch, write)
    play(service)
    for buckets in BUCKETS:
        allowed = granted(Write=write, Buckets=buckets)
        assert refused(calls, allowed) == []
        assert {action for action, _ in allowed} - {action for action, _ in calls} == NOT_BY_THE_HANDLER
    left_out = set().union(*(actions for name, actions in ONLY_FOR.items() if name not in write.split(",")))
    assert {action for action, _ in granted()} - {action for action, _ in allowed} == left_out


@pytest.mark.parametrize("write", WRITES)
def test_the_role_of_backfills_allows_the_calls_for_tasks_and_no_others(
    service: Service, calls: set[Call], monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    writing(service, monkeypatch, write)
    play_backfill(service)
    # S3 brings the tasks by invoking the function: there is no queue to read.
    expected = {action for action in NOT_BY_THE_HANDLER if not action.startswith("sqs:")}
    for buckets in BUCKETS:
        allowed = granted("BackfillRole", Write=write, Buckets=buckets)
        assert refused(calls, allowed) == []
        assert {action for action, _ in allowed} - {action for action, _ in calls} == expected


@pytest.mark.parametrize("role", ["ClassifyRole", "BackfillRole"])
@pytest.mark.parametrize("write", WRITES)
def test_the_roles_reach_the_objects_of_exactly_the_buckets(role: str, write: str) -> None:
    own = granted(role, Write=write)
    on_s3 = {(action, pattern) for action, pattern in own if action.startswith("s3:")}
    assert {pattern for _, pattern in on_s3} == {ARNS["UploadsBucket"], f"{ARNS['UploadsBucket']}/*"}
    existing = granted(role, Write=write, Buckets="photos,scans.2026")
    # A wildcard in place of the partition: an account has buckets in one only.
    assert {entry for entry in existing if entry[0].startswith("s3:")} == {
        (action, pattern.replace("arn:aws:s3:::uploads", f"arn:*:s3:::{bucket}"))
        for action, pattern in on_s3
        for bucket in ("photos", "scans.2026")
    }
    assert [entry for entry in existing if not entry[0].startswith("s3:")] == [
        entry for entry in own if not entry[0].startswith("s3:")
    ]


@pytest.mark.parametrize("role", ["ClassifyRole", "BackfillRole"])
def test_the_role_names_every_action_and_every_resource(role: str) -> None:
    assert [action for action, _ in granted(role) if "*" in action] == []
    # X-Ray has no resources to name for these: service authorization reference, "AWS X-Ray".
    assert {action for action, pattern in granted(role) if pattern == "*"} == {
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
    }
    assert {pattern for action, pattern in granted(role) if action.startswith(("dynamodb:", "events:"))} == {
        ARNS["ResultsTable"],
        f"arn:aws:events:{HERE}:event-bus/default",
    }
    condition, _, otherwise = properties(role)["ManagedPolicyArns"]["Fn::If"]
    assert (condition, otherwise) == ("IsInVpc", {"Ref": "AWS::NoValue"})
    assert "Policies" not in properties(role.replace("Role", "Function"))  # SAM would ignore them beside Role


# ---- metrics ------------------------------------------------------------------------------------------


def own(metrics: set[Any]) -> set[Any]:
    """Metrics of the functions' own that the template looks at: name and dimensions, as one function writes them.

    Both run the same code; only POWERTOOLS_SERVICE_NAME tells them apart.
    """
    return {
        (
            name,
            tuple(
                (key, "classify" if value in ("${ClassifyFunction}", "backfill") else value)
                for key, value in dimensions
            ),
        )
        for namespace, name, dimensions in metrics
        if not namespace.startswith("AWS/") and dict(dimensions)["service"] in ("classify", "backfill")
    }


def test_dashboard_and_alarms_use_the_namespace_of_the_functions_metrics() -> None:
    functions = of_type("AWS::Serverless::Function").values()
    written = {
        function["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]["Fn::Sub"] for function in functions
    }
    looked_at = {namespace for namespace, _, _ in shown_metrics() | watched_metrics()}
    assert {namespace for namespace in looked_at if not namespace.startswith("AWS/")} == written


def test_dashboard_and_alarms_use_metrics_that_the_function_writes(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(write_familiar_model(tmp_path / "familiar")))
    monkeypatch.setattr("aws_lambda_powertools.metrics.provider.cold_start.is_cold_start", True)
    play(service)
    play_backfill(service)
    monkeypatch.setenv("KEY_PREFIX", "wanted/")
    app.get_labeller.cache_clear()
    service.invoke(sqs_batch(notification(record("unwanted.txt")), {"Records": [{"eventSource": "aws:s3"}]}))
    app.lambda_handler(sqs_batch(notification(record("late.png"))), LambdaContext(remaining_ms=1))  # type: ignore[arg-type]
    written = set()
    for line in map(json.loads, filter(lambda text: text.startswith("{"), capsys.readouterr().out.splitlines())):
        for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in group["Dimensions"]:
                dimensions = tuple(sorted((name, line[name]) for name in names))
                written |= {(metric["Name"], dimensions) for metric in group["Metrics"]}
    assert own(shown_metrics() | watched_metrics()) <= written
    assert {name for name, _ in written} >= ENDINGS_OF_UPLOADS | ENDINGS_OF_TASKS


def shown_as(title: str) -> set[str]:
    (widget,) = (widget for widget in dashboard()["widgets"] if widget["properties"].get("title") == title)
    return {metric[1] for metric in widget["properties"]["metrics"]}


def test_every_ending_is_on_the_dashboard_and_in_the_silence_alarm() -> None:
    assert shown_as("Results") == ENDINGS_OF_UPLOADS
    assert shown_as("Backfill: results") == ENDINGS_OF_TASKS
    queries = properties("NoResultsAlarm")["Metrics"]
    metrics = {query["MetricStat"]["Metric"]["MetricName"] for query in queries if "MetricStat" in query}
    assert metrics - {"NumberOfMessagesSent"} == ENDINGS_OF_UPLOADS
