"""The score function against template.yaml: its calls, environment and schedule."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.client import BaseClient

from labeller import settings as shared
from labeller.aws_errors import AwsFailure
from labeller.records import INDEX
from score import app
from score import settings as own
from score.keys import REPORTS_PREFIX
from score.nightly import NightRun
from score.settings import ScoreSettings
from score.testset import TESTSET_PREFIX
from tests.score.conftest import BUCKET, TABLE, TOPIC, Service
from tests.score.test_publishing import break_put
from tests.template import HERE, PARAMETERS, TEMPLATE_CONTENT, Resolver, of_type, properties

SHARED = {*shared.REQUIRED, *shared.DEFAULTS}
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}
# Variables of classify alone: score writes no tags and no rows, and receives no keys.
NOT_READ = {"TAG_PREFIX", "ROW_TTL_DAYS", "KEY_PREFIX", "KEY_SUFFIXES"}

# Service authorization reference: Amazon S3, DynamoDB, EventBridge, SNS.
ACTIONS = {
    "GetObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "Query": "dynamodb:Query",
    "PutEvents": "events:PutEvents",
    "Publish": "sns:Publish",
}
NOT_BY_THE_HANDLER = {
    "sqs:SendMessage",  # by Lambda with the function's role, for a failed invocation: "Adding a destination"
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
TABLE_ARN = f"arn:aws:dynamodb:{HERE}:table/{TABLE}"
ARNS = {"ReportsBucket": f"arn:aws:s3:::{BUCKET}", "ResultsTable": TABLE_ARN}
TOPIC_ARN = "the ReportsTopic"


def resource_of(call: str, arguments: dict[str, Any]) -> str:
    if call == "Publish":
        return TOPIC_ARN if arguments["TopicArn"].endswith(f":{TOPIC}") else "another topic"
    if call == "PutEvents":
        return f"arn:aws:events:{HERE}:event-bus/{arguments['Entries'][0]['EventBusName']}"
    if call == "Query":
        return f"{TABLE_ARN}/index/{arguments['IndexName']}"
    key = f"/{arguments['Key']}" if "Key" in arguments else ""
    return f"arn:aws:s3:::{arguments['Bucket']}{key}"


def granted(write: str = "tags,row,event") -> set[tuple[str, str]]:
    """The actions that the role allows, each with its ARN pattern."""
    return set(Resolver({"Write": write}, ARNS).granted("ScoreRole"))


@pytest.fixture
def calls(service: Service, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """The actions and resources that the handler's calls need; an unknown call is a KeyError."""
    made: set[tuple[str, str]] = set()
    real = BaseClient._make_api_call
    handler = app.lambda_handler
    inside = False

    def call(client: BaseClient, name: str, arguments: dict[str, Any]) -> Any:
        if inside and client.meta.service_model.service_name != "sqs":  # moto's own deliveries
            made.add((ACTIONS[name], resource_of(name, arguments)))
        return real(client, name, arguments)

    def invoke(*arguments: Any) -> Any:
        nonlocal inside
        inside = True
        try:
            return handler(*arguments)
        finally:
            inside = False

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    monkeypatch.setattr(app, "lambda_handler", invoke)
    return made


@pytest.mark.parametrize("write", ["tags,row,event", "tags,event"])
def test_the_role_allows_exactly_the_calls_of_a_night(
    service: Service, calls: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setenv("WRITE", write)
    service.add_pictures(1, 1)
    service.upload("a.jpg", "red", 0.99, "2026-11-23T12:00:00+00:00")
    with monkeypatch.context() as patch:  # a put fails, and the earlier ones are restored
        break_put(patch, 5, taken=True)
        with pytest.raises(AwsFailure):
            service.invoke()
    service.invoke()
    service.invoke("2026-11-25")
    allowed = granted(write)
    refused = [call for call in calls if not any(a == call[0] and fnmatchcase(call[1], p) for a, p in allowed)]
    assert refused == []
    assert {action for action, _ in allowed} - {action for action, _ in calls} == NOT_BY_THE_HANDLER


def test_a_night_takes_these_calls(service: Service) -> None:
    service.add_pictures(3, 2)
    job = app.get_job()
    made: Counter[str] = Counter()
    for client in (job.pictures._s3, *(getattr(job.reports, name) for name in ("_s3", "_dynamodb", "_events", "_sns"))):
        client.meta.events.register("before-call", lambda model, **_: made.update([model.name]))

    calls = {
        "ListObjectsV2": 2,  # the test set and the nights
        "Query": 5 * 8,  # each label, UNSURE, UNKNOWN and UNREADABLE, in all shards of the index
        "GetObject": 5 + 7,  # the pictures, and the seven objects that are switched
        "PutObject": 2 + 7,  # the run's two files; three of the night, three of latest, the list
        "PutEvents": 1,
        "Publish": 1,
    }
    service.invoke()
    assert made == calls
    made.clear()
    service.invoke("2026-11-25")
    assert made == calls | {"GetObject": 5 + 7 + 2}  # report and predictions of the night before


def test_the_role_names_its_actions_and_the_folders_of_the_bucket() -> None:
    assert not [action for action, _ in granted() if "*" in action]
    on_objects = {(action, arn) for action, arn in granted() if action.startswith("s3:") and "ListBucket" not in action}
    bucket = f"arn:aws:s3:::{BUCKET}"
    assert on_objects == {
        ("s3:GetObject", f"{bucket}/{TESTSET_PREFIX}*"),
        ("s3:GetObject", f"{bucket}/{REPORTS_PREFIX}*"),
        ("s3:PutObject", f"{bucket}/{REPORTS_PREFIX}*"),
        ("s3:DeleteObject", f"{bucket}/{REPORTS_PREFIX}*"),
    }


def test_the_bucket_of_test_set_and_reports_sends_no_events() -> None:
    assert "NotificationConfiguration" not in properties("ReportsBucket")
    variables = properties("ScoreFunction")["Environment"]["Variables"]
    assert variables["REPORTS_BUCKET"] == {"Ref": "ReportsBucket"}


def test_the_index_has_the_attributes_that_are_read() -> None:
    (index,) = properties("ResultsTable")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == INDEX
    assert {"status", "label", "confidence"} <= set(index["Projection"]["NonKeyAttributes"])


def test_the_environment_has_exactly_the_variables_that_are_read() -> None:
    passed = set(properties("ScoreFunction")["Environment"]["Variables"])
    constant = {"MAX_IMAGE_PIXELS"}
    assert passed == (SHARED - NOT_READ - constant) | {*own.REQUIRED, *own.DEFAULTS} | POWERTOOLS


def test_parameters_and_settings_have_the_same_defaults() -> None:
    given = {"RESULTS_TABLE": "t", "REPORTS_BUCKET": "b", "REPORT_TOPIC": "a"}
    passed = given | {
        "TIME_ZONE": str(PARAMETERS["ScoreTimeZone"]["Default"]),
        "MINIMUM_ACCURACY": str(PARAMETERS["MinimumAccuracy"]["Default"]),
    }
    assert ScoreSettings.from_env(passed) == ScoreSettings.from_env(given)
    for limit in ("MinValue", "MaxValue"):
        ScoreSettings.from_env(given | {"MINIMUM_ACCURACY": str(PARAMETERS["MinimumAccuracy"][limit])})


def test_score_has_the_model_and_the_limits_of_classify() -> None:
    score, classify = properties("ScoreFunction"), properties("ClassifyFunction")
    for name in ("Layers", "MemorySize", "Runtime", "Architectures"):
        assert score[name] == classify[name]
    common = (SHARED & set(score["Environment"]["Variables"])) - {"EVENT_BUS"}
    for name in common:
        assert score["Environment"]["Variables"][name] == classify["Environment"]["Variables"][name], name


def test_the_schedule_passes_its_time() -> None:
    schedule = properties("ScoreFunction")["Events"]["Nightly"]
    assert schedule["Type"] == "ScheduleV2"
    given = schedule["Properties"]
    assert given["ScheduleExpression"] == {"Ref": "ScoreSchedule"}
    assert given["ScheduleExpressionTimezone"] == {"Ref": "ScoreTimeZone"}
    assert given["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["ScoreDeadLetterQueue", "Arn"]}
    assert given["RetryPolicy"]["MaximumRetryAttempts"] > 0
    # EventBridge Scheduler user guide, "Adding context attributes": filled in as 2022-03-22T18:59:43Z.
    event = {"scheduled_time": "<aws.scheduler.scheduled-time>"}
    assert given["Input"] == '{"scheduled_time": "<aws.scheduler.scheduled-time>"}'
    filled = {
        name: value.replace("<aws.scheduler.scheduled-time>", "2026-11-24T23:30:00Z") for name, value in event.items()
    }
    scheduled = NightRun.from_event(filled, "b7c5d1f0-0000", ZoneInfo("Europe/Berlin"))
    assert str(scheduled.date) == "2026-11-25"


def test_the_function_has_lambdas_longest_timeout_and_a_destination_for_failures() -> None:
    score = properties("ScoreFunction")
    assert score["Timeout"] == 900  # Lambda quotas, "Function timeout"
    assert score["EventInvokeConfig"]["DestinationConfig"]["OnFailure"] == {
        "Type": "SQS",
        "Destination": {"Fn::GetAtt": ["ScoreDeadLetterQueue", "Arn"]},
    }


def test_the_accuracy_alarm_fires_for_a_low_and_for_a_missing_value() -> None:
    alarm = properties("AccuracyAlarm")
    assert (alarm["MetricName"], alarm["ComparisonOperator"]) == ("Accuracy", "LessThanThreshold")
    assert alarm["Threshold"] == {"Ref": "MinimumAccuracy"}
    assert alarm["TreatMissingData"] == "breaching"
    hours = alarm["Period"] * alarm["EvaluationPeriods"] / 3600
    assert 25 < hours <= 48  # nights are 25 hours apart once a year
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]  # so one good night is enough
    # CloudWatch API reference, PutMetricAlarm: periods of an hour or more may add up to seven days.
    assert alarm["Period"] >= 3600


def test_the_report_topic_is_mailed_to_the_report_email() -> None:
    subscriptions = {
        name: resource for name, resource in of_type("AWS::SNS::Subscription").items() if name.startswith("Report")
    }
    ((_, subscription),) = subscriptions.items()
    assert subscription["TopicArn"] == {"Ref": "ReportsTopic"}
    assert subscription["Endpoint"] == {"Ref": "ReportEmail"}
    assert TEMPLATE_CONTENT["Resources"]["ReportsSubscription"]["Condition"] == "HasReportEmail"
