"""Outputs and parameters of a deployed stack, in AWS or at AWS_ENDPOINT_URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from ops.cli import CommandError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


@dataclass(frozen=True, slots=True)
class StackDescription:
    """What CloudFormation knows of a deployed stack."""

    name: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]  # the values that it was deployed with

    @property
    def existing_buckets(self) -> list[str]:
        """The existing buckets that it labels; empty if it has one of its own."""
        return [name for name in self.outputs.get("ExistingBuckets", "").split(",") if name]

    @property
    def buckets(self) -> list[str]:
        """The buckets whose uploads it labels. Raises CommandError if they are not known."""
        return self.existing_buckets or [self.output("UploadsBucketName")]

    def bucket(self, name: str | None) -> str:
        """The bucket `name`, or else the only one. Raises CommandError if there are several."""
        if not name and len(self.buckets) > 1:
            raise CommandError(f"{self.name} labels {', '.join(self.buckets)}: name one (make: BUCKET=...)")
        return name or self.buckets[0]

    def writes(self, what: str) -> bool:
        """Whether it writes `what`, tags, row or event, of each result."""
        return what in self.parameters.get("Write", "tags,row,event").split(",")

    def output(self, name: str) -> str:
        """The output `name`. Raises CommandError if the stack has none of that name."""
        if name not in self.outputs:
            raise CommandError(f"the stack {self.name} has no output {name}: deploy it from the current template")
        return self.outputs[name]


def describe_stack(name: str, cloudformation: CloudFormationClient | None = None) -> StackDescription:
    """Ask CloudFormation, by default in the region and account of the environment.

    Raises CommandError if the stack does not exist or may not be read.
    """
    client = cloudformation or boto3.client("cloudformation")
    try:
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        raise CommandError(
            f"the stack {name} cannot be read: {error}. Name yours: --stack (make: STACK=...), AWS_DEFAULT_REGION=..."
        ) from error
    return StackDescription(
        name,
        outputs={output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
        parameters={given["ParameterKey"]: given["ParameterValue"] for given in stack.get("Parameters", [])},
    )
