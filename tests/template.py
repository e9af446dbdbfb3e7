"""Views of template.yaml that several tests share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
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


# ---- what CloudFormation makes of it ------------------------------------------------------------------

HERE = "eu-central-1:123456789012"
_ABSENT = object()
_PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "stack",
    "AWS::NoValue": _ABSENT,
}


class Resolver:
    """Properties with the functions of the template worked out, for some parameters' values and resources' ARNs."""

    def __init__(self, parameters: Mapping[str, str], arns: Mapping[str, str]) -> None:
        given = {name: str(parameters.get(name, parameter.get("Default"))) for name, parameter in PARAMETERS.items()}
        lists = {name for name, parameter in PARAMETERS.items() if parameter["Type"] == "CommaDelimitedList"}
        self.values = {name: text.split(",") if name in lists else text for name, text in given.items()} | _PSEUDO
        self.arns = arns

    def holds(self, condition: Any) -> bool:
        """CloudFormation user guide, "Condition functions"."""
        if isinstance(condition, str):
            return self.holds(TEMPLATE_CONTENT["Conditions"][condition])
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self.holds(argument)
            case "Fn::Equals":
                return bool(self(argument[0]) == self(argument[1]))
            case "Fn::Not":
                return not self.holds(argument[0])
        return {"Fn::Or": any, "Fn::And": all}[function](map(self.holds, argument))

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [member for member in map(self, value) if member is not _ABSENT]
        if not isinstance(value, dict):
            return value
        ((function, argument),) = value.items() if len(value) == 1 else ((None, None),)
        match function:
            case "Ref":
                return self.values.get(argument, f"the {argument}")
            case "Fn::GetAtt":
                return self.arns.get(argument[0], f"the ARN of {argument[0]}")
            case "Fn::If":
                return self(argument[1 if self.holds(argument[0]) else 2])
            case "Fn::Join":
                return argument[0].join(self(argument[1]))
            case "Fn::Split":
                return self(argument[1]).split(argument[0])
            case "Fn::Sub":
                return self._sub(*(argument if isinstance(argument, list) else (argument, {})))
        return {name: found for name, member in value.items() if (found := self(member)) is not _ABSENT}

    def _sub(self, pattern: str, variables: Mapping[str, Any]) -> str:
        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            value = variables[name] if name in variables else {"Fn::GetAtt": name.split(".")} if "." in name else None
            return str(self({"Ref": name} if value is None else value))

        return re.sub(r"\$\{([\w:.]+)\}", replacement, pattern)

    def granted(self, role: str) -> list[tuple[str, str]]:
        """The actions that the role's own policies and those attached to it allow, each with a pattern of ARNs."""
        attached = [
            resource["Properties"]
            for resource in RESOURCES.values()
            if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]
            if "Condition" not in resource or self.holds(resource["Condition"])
        ]
        return [
            (action, pattern)
            for policy in [*properties(role)["Policies"], *attached]
            for statement in self(policy["PolicyDocument"])["Statement"]
            if statement["Effect"] == "Allow"
            for action in as_list(statement["Action"])
            for pattern in as_list(statement["Resource"])
        ]
