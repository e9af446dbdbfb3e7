"""Alarms and dashboard use metrics that exist, and the alarms say what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import ROOT
from tests.template import RESOURCES, TEMPLATE_CONTENT, dashboard, of_type, properties, shown_metrics, watched_metrics

ALARMS = of_type("AWS::CloudWatch::Alarm")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

# Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS"; AWS Lambda developer guide, "Types of
# metrics for Lambda functions".
AWS_METRICS = {
    ("AWS/SQS", "QueueName"): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesVisible",
        "NumberOfEmptyReceives",
        "NumberOfMessagesDeleted",
        "NumberOfMessagesReceived",
        "NumberOfMessagesSent",
        "SentMessageSize",
    },
    ("AWS/Lambda", "FunctionName"): {
        "ConcurrentExecutions",
        "Duration",
        "Errors",
        "Invocations",
        "Throttles",
    },
}
KINDS = {"QueueName": "AWS::SQS::Queue", "FunctionName": "AWS::Serverless::Function"}


def awss(metrics: set[Any]) -> list[Any]:
    return sorted(metric for metric in metrics if metric[0].startswith("AWS/"))


@pytest.mark.parametrize("metric", awss(shown_metrics() | watched_metrics()), ids=lambda metric: metric[1])
def test_a_metric_of_awss_exists_and_is_of_a_resource_of_this_stack(metric: Any) -> None:
    namespace, name, ((dimension, value),) = metric
    assert name in AWS_METRICS[namespace, dimension]
    (logical_id,) = re.findall(r"^\$\{(\w+)(?:\.QueueName)?\}$", value)
    assert RESOURCES[logical_id]["Type"] == KINDS[dimension]
    assert value.endswith(".QueueName}") == (dimension == "QueueName")


def test_a_metric_of_the_night_is_one_that_the_score_function_writes() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "functions/score").glob("*.py"))
    written = set(re.findall(r'metrics\.add_metric\("(\w+)"', sources))
    metrics = shown_metrics() | watched_metrics()
    looked_at = {name for _, name, dimensions in metrics if ("service", "score") in dimensions}
    assert looked_at
    assert looked_at <= written


def test_the_dashboard_shows_what_the_alarms_watch_and_the_alarms_themselves() -> None:
    assert watched_metrics() <= shown_metrics()
    (widget,) = (widget for widget in dashboard()["widgets"] if widget["type"] == "alarm")
    names = {alarm["AlarmName"]["Fn::Sub"] for alarm in ALARMS.values()}
    assert {arn.partition(":alarm:")[2] for arn in widget["properties"]["alarms"]} == names


@pytest.mark.parametrize(
    ("partition", "console"),
    [
        ("aws", "console.aws.amazon.com"),
        ("aws-cn", "console.amazonaws.cn"),
        ("aws-us-gov", "console.amazonaws-us-gov.com"),
    ],
)
def test_the_dashboards_link_leads_to_the_console_of_its_partition(partition: str, console: str) -> None:
    address, variables = TEMPLATE_CONTENT["Outputs"]["DashboardUrl"]["Value"]["Fn::Sub"]
    chosen = variables["Console"]
    while isinstance(chosen, dict):
        condition, if_true, if_false = chosen["Fn::If"]
        reference, name = TEMPLATE_CONTENT["Conditions"][condition]["Fn::Equals"]
        assert reference == {"Ref": "AWS::Partition"}
        chosen = if_true if name == partition else if_false
    assert address.replace("${Console}", chosen).startswith(f"https://{console}/cloudwatch/home?region=")


def test_no_two_widgets_lie_on_each_other() -> None:
    # CloudWatch API reference, "Dashboard body structure": a grid 24 wide.
    taken = [
        (x, y)
        for widget in dashboard()["widgets"]
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_notifies_the_topic_when_it_begins_and_ends_and_ignores_missing_data(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmsTopic"}]
    # Except for a night without a report.
    assert alarm["TreatMissingData"] == ("breaching" if name == "AccuracyAlarm" else "notBreaching")


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_the_section_of_the_operations_page_that_is_about_it(name: str) -> None:
    slug = ALARMS[name]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
    assert f'docs/operations.md, "{slug}"' in ALARMS[name]["AlarmDescription"]
    assert f"### {slug}\n" in OPERATIONS
    assert len(ALARMS[name]["AlarmDescription"]) <= 1024  # CloudWatch API reference, PutMetricAlarm


def test_every_result_ends_the_silence_and_failures_do_not() -> None:
    alarm = properties("NoResultsAlarm")
    expression = next(query["Expression"] for query in alarm["Metrics"] if "Expression" in query)
    queried = {query["Id"] for query in alarm["Metrics"] if "MetricStat" in query}
    assert set(re.findall(r"FILL\((\w+), 0\)", expression)) == queried
    results = next(widget for widget in dashboard()["widgets"] if widget["properties"].get("title") == "Results")
    shown = {metric[1].lower() for metric in results["properties"]["metrics"]}
    assert queried == {"uploads"} | shown
    assert "failed" not in queried


def silent(uploads: float | None, **results: float | None) -> bool:
    """The alarm's expression, evaluated in Python, with IF and FILL as CloudWatch defines them."""
    queries = properties("NoResultsAlarm")["Metrics"]
    names = [query["Id"] for query in queries if "MetricStat" in query]
    values: dict[str, Any] = dict.fromkeys(names) | {"uploads": uploads} | results
    expression = next(query["Expression"] for query in queries if "Expression" in query)
    functions = {
        "FILL": lambda value, fill: fill if value is None else value,
        "IF": lambda condition, yes, no: yes if condition else no,
    }
    return bool(eval(" ".join(expression.split()).replace(" AND ", " and "), {}, values | functions))


def test_silence_is_uploads_without_any_result() -> None:
    assert silent(uploads=3)
    assert silent(uploads=3, labelled=0, gone=None)
    assert not silent(uploads=3, labelled=1)
    assert not silent(uploads=3, stale=1)
    assert not silent(uploads=0)
    assert not silent(uploads=None)
    assert not silent(uploads=None, labelled=3)
