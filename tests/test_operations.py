"""docs/operations.md agrees with template.yaml."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support import ROOT
from tests.template import PARAMETERS, RESOURCES, TEMPLATE_CONTENT

TEXT = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def parameter_table() -> str:
    """The table of parameters as it should be."""
    rows = ["| parameter | default | what it decides |", "|---|---|---|"]
    for name, parameter in PARAMETERS.items():
        default = f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
        rows.append(f"| `{name}` | {default} | {' '.join(parameter['Description'].split())} |")
    return "\n".join(rows)


def test_the_table_of_parameters_matches_the_template() -> None:
    table = re.search(r"^## Parameters\n\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    expected = parameter_table()
    assert table is not None, f"put this under '## Parameters' in docs/operations.md:\n{expected}"
    assert table[1].strip() == expected, f"docs/operations.md should have:\n{expected}"


def test_every_name_in_angle_brackets_is_an_output_or_explained() -> None:
    names = set(re.findall(r"<([A-Z]\w+)>", TEXT))
    assert names <= TEMPLATE_CONTENT["Outputs"].keys() | {"TagPrefix"}


def policy_of(section: str) -> dict[str, Any]:
    """The JSON of a section."""
    (block,) = re.findall(rf"^## {section}\n(?:(?!^## ).)*?```json\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
    return dict(json.loads(block))


def test_the_key_policy_is_json_and_covers_every_service_that_writes_with_the_key() -> None:
    policy = policy_of("Your own key")
    services = {statement["Principal"].get("Service") for statement in policy["Statement"]}
    aws = {f"{name}.amazonaws.com" for name in ("s3", "events", "cloudwatch", "logs.REGION")}
    assert services == {None, *aws}
    unconditional = [statement["Sid"] for statement in policy["Statement"] if "Condition" not in statement]
    assert unconditional == ["IamDecides"]


def test_every_alarm_has_a_section_and_every_section_an_alarm() -> None:
    alarms = [resource["Properties"] for resource in RESOURCES.values() if resource["Type"] == "AWS::CloudWatch::Alarm"]
    names = {alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-") for alarm in alarms}
    assert set(re.findall(r"^### (\S+)$", TEXT, re.MULTILINE)) == names
