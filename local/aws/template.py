"""template.yaml -> CloudFormation, through AWS's own SAM translator and without asking AWS anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from samtranslator.translator.transform import transform

from ops.template import TemplateError

# Properties that name code. Locally they are folders, which only `sam package` can turn into the objects in
# S3 that the translator insists on; nothing reads what is put in their place.
_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
_PLACEHOLDER = "s3://not-deployed/code.zip"


def to_cloudformation(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Translate a SAM template into plain CloudFormation. `parameters` override the template's defaults."""
    sam = copy.deepcopy(dict(template))
    for name, parameter in sam.get("Parameters", {}).items():
        # In CloudFormation every parameter is a string ("1769" is a key of a mapping); YAML says 1769.
        parameter["Type"] = "String" if parameter.get("Type") == "Number" else parameter.get("Type", "String")
        if name in parameters or "Default" in parameter:
            parameter["Default"] = parameters.get(name, str(parameter.get("Default")))
    unknown = sorted(set(parameters) - set(sam.get("Parameters", {})))
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    for resource in sam["Resources"].values():
        if resource["Type"] in _CODE:
            resource.setdefault("Properties", {})[_CODE[resource["Type"]]] = _PLACEHOLDER
    sam.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    return transform(sam, {}, _NoManagedPolicies())


class _NoManagedPolicies:
    """Where the translator would ask IAM for the ARNs of managed policies; ours names none."""

    def load(self) -> dict[str, str]:
        return {}
