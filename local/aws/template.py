"""template.yaml -> CloudFormation, by AWS's own SAM translator, without a request to AWS."""

import copy
from collections.abc import Mapping
from typing import Any

from samtranslator.translator.transform import transform

from ops.template import TemplateError

# The properties that name code. The template names folders, which `sam package` replaces by objects in S3; the
# translator accepts only such objects. Nothing reads the placeholder.
_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
_PLACEHOLDER = "s3://not-deployed/code.zip"


def to_cloudformation(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Translate a SAM template into CloudFormation; `parameters` override the template's defaults.

    Raises TemplateError for a parameter that the template does not have.
    """
    sam = copy.deepcopy(dict(template))
    unknown = sorted(set(parameters) - set(sam.get("Parameters", {})))
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    for name, parameter in sam.get("Parameters", {}).items():
        # CloudFormation's parameters are strings ("1769" is a key of a mapping); YAML reads 1769.
        parameter["Type"] = "String" if parameter.get("Type") == "Number" else parameter.get("Type", "String")
        if name in parameters or "Default" in parameter:
            value = parameters.get(name, str(parameter.get("Default")))
            # moto splits a list that is passed, but not a default.
            parameter["Default"] = value.split(",") if parameter["Type"] == "CommaDelimitedList" else value
    for resource in sam["Resources"].values():
        if resource["Type"] in _CODE:
            resource.setdefault("Properties", {})[_CODE[resource["Type"]]] = _PLACEHOLDER
    sam.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    return transform(sam, {}, _NoManagedPolicies())


class _NoManagedPolicies:
    """Stands in for the translator's request to IAM for managed policies; the template uses none."""

    def load(self) -> dict[str, str]:
        return {}
