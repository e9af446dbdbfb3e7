"""Views of template.yaml that several tests share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support import load_template

TEMPLATE_CONTENT = load_template()
PARAMETERS = TEMPLATE_CONTENT["Parameters"]
RESOURCES = TEMPLATE_CONTENT["Resources"]

Metric = tuple[str, str, tuple[tuple[str, str], ...]]  # namespace, name, dimensions


def properties(logical_id: str) -> dict[str, Any]:
    return RESOURCES[logical_id]["Properties"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def references(value: Any) -> Iterator[str]:
    """Names that `value` refers to by Ref, GetAtt or Sub."""
    if isinstance(value, list):
        for member in value:
            yield from references(member)
    elif isinstance(value, dict):
        for key, member in value.items():
            if key == "Ref":
                yield member
            elif key == "Fn::GetAtt":
                yield member[0]
            elif key == "Fn::Sub" and isinstance(member, str):
                yield from re.findall(r"\$\{([\w:]+)", member)
            else:
                yield from references(member)


def text(value: Any) -> str:
    """A reference as dashboards write it: {"Ref": "X"} is ${X}."""
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    return {"Ref": lambda: f"${{{argument}}}", "Fn::GetAtt": lambda: f"${{{'.'.join(argument)}}}"}.get(
        function, lambda: str(argument)
    )()


def dashboard() -> dict[str, Any]:
    return json.loads(properties("Dashboard")["DashboardBody"]["Fn::Sub"])


def shown_metrics() -> set[Metric]:
    """The metrics on the dashboard's graphs."""
    metrics = set()
    for widget in dashboard()["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            namespace, name, *rest = [part for part in metric if isinstance(part, str)]
            metrics.add((namespace, name, tuple(sorted(zip(rest[::2], rest[1::2], strict=True)))))
    return metrics


def watched_metrics() -> set[Metric]:
    """The metrics that the alarms watch."""
    metrics = set()
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        queries = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        for metric in queries or [alarm]:
            dimensions = {d["Name"]: text(d["Value"]) for d in metric["Dimensions"]}
            metrics.add((text(metric["Namespace"]), metric["MetricName"], tuple(sorted(dimensions.items()))))
    return metrics
