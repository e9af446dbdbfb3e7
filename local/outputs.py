"""What a deployed stack says of itself, in AWS or wherever AWS_ENDPOINT_URL leads."""

from __future__ import annotations

import boto3
from botocore.exceptions import ClientError

from local.errors import LocalError


def stack_output(stack: str, name: str) -> str:
    """The output `name` of the stack. Raises LocalError where there is no such stack or output."""
    try:
        (description,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        raise LocalError(f"the stack {stack} cannot be read: {error}; name yours with --stack") from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in description.get("Outputs", [])}
    if name not in outputs:
        raise LocalError(f"the stack {stack} has no output {name}; was it deployed from this template?")
    return str(outputs[name])
