"""template.yaml as data."""

from pathlib import Path
from typing import Any

import yaml

from ops import ROOT
from ops.cli import CommandError

TEMPLATE = ROOT / "template.yaml"


class TemplateError(CommandError):
    """The template is not as it has to be."""


def read_template(path: Path = TEMPLATE) -> dict[str, Any]:
    """The template at `path`, short forms (`!Ref X`) written out (`{"Ref": "X"}`). Raises TemplateError."""
    try:
        template = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError as error:
        raise TemplateError(f"there is no template {path}") from error
    if not isinstance(template, dict) or "Resources" not in template:
        raise TemplateError(f"{path} has no Resources")
    return template


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's tags."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """A short form written out: CloudFormation user guide, "Intrinsic function reference"."""
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)
