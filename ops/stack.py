"""What a deployed stack says of itself, in AWS or wherever AWS_ENDPOINT_URL leads."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.exceptions import ClientError

from ops.errors import LocalError


def stack_output(stack: str, name: str) -> str:
    """The output `name` of the stack. Raises LocalError where there is no such stack or output."""
    outputs = {each["OutputKey"]: each["OutputValue"] for each in _described(stack).get("Outputs", [])}
    if name not in outputs:
        raise LocalError(f"the stack {stack} has no output {name}; was it deployed from this template?")
    return str(outputs[name])


def stack_parameters(stack: str) -> dict[str, str]:
    """The values that the stack was deployed with, by the parameters' names. Raises LocalError for no such stack."""
    return {each["ParameterKey"]: each["ParameterValue"] for each in _described(stack).get("Parameters", [])}


def _described(stack: str) -> dict[str, Any]:
    try:
        (description,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        raise LocalError(f"the stack {stack} cannot be read: {error}; name yours: --stack (make: STACK=...)") from error
    return dict(description)
