"""The results that the classify function wrote for an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """The tags and the row of an object."""

    path: str  # bucket/key
    tags: Mapping[str, str]
    row: Mapping[str, Any]  # empty if there is none


def read_result(
    aws: boto3.session.Session, table_name: str, bucket: str, key: str, version: str | None = None
) -> ObjectResult:
    """Read both. An object or version that does not exist has no tags."""
    named: dict[str, Any] = {"VersionId": version} if version else {}
    try:
        tags = aws.client("s3").get_object_tagging(Bucket=bucket, Key=key, **named)["TagSet"]
    except ClientError:
        tags = []
    table = aws.resource("dynamodb").Table(table_name)
    answer = table.get_item(Key={"object": f"{bucket}/{key}", "version": version or "null"}, ConsistentRead=True)
    return ObjectResult(f"{bucket}/{key}", {tag["Key"]: tag["Value"] for tag in tags}, answer.get("Item", {}))
