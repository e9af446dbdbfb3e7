"""The only module of the functions that calls AWS: objects and their tags in S3, rows in DynamoDB.

AWS's errors become the project's own here and nowhere else: Gone for an object that exists no longer,
AwsFailure for all that a retry, or a person, may mend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from boto3.dynamodb.types import TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from labeller.events import ObjectRef
from labeller.records import Tag

# The standard mode retries throttling, 5xx and broken connections with backoff and jitter: at most twice,
# since SQS brings back what still fails. The timeouts are far above what S3 and DynamoDB take in one region
# and far below the function's own, so that a hung connection costs one retry and not the whole batch.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=3,
    read_timeout=10,
)

# MethodNotAllowed is S3's answer when the version asked for is a delete marker; "404" where there is no body.
# Without the permission s3:ListBucket S3 says AccessDenied instead of NoSuchKey, so the function needs it.
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed"}


class Gone(Exception):
    """The object, or this version of it, was deleted after the event was sent."""


class AwsFailure(Exception):
    """A call to AWS failed, botocore's own retries included. The message names object and error code."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object as it is now."""

    data: bytes | None  # None: larger than asked for, and not downloaded
    size: int  # bytes
    etag: str  # without quotation marks


class Storage:
    """Objects, tags and rows, through the clients given. `connect` makes the real ones."""

    def __init__(self, s3: Any, dynamodb: Any, table: str) -> None:
        self._s3 = s3
        self._dynamodb = dynamodb
        self._table = table

    def fetch(self, ref: ObjectRef, max_bytes: int) -> Fetched:
        """The object, or only its size if that is above `max_bytes`. Raises Gone, AwsFailure."""
        with _own_errors("GetObject", ref):
            answer = self._s3.get_object(**_address(ref))
            size, etag = int(answer["ContentLength"]), answer["ETag"].strip('"')
            # Closing unread gives the connection up, and nothing is downloaded. No `with answer["Body"]`: it
            # yields urllib3's stream, and only botocore's notices when half a body is all there is.
            with closing(answer["Body"]) as body:
                return Fetched(body.read() if size <= max_bytes else None, size, etag)

    def read_tags(self, ref: ObjectRef) -> list[Tag]:
        """The object's tags. Raises Gone, AwsFailure."""
        with _own_errors("GetObjectTagging", ref):
            answer = self._s3.get_object_tagging(**_address(ref))
            return [Tag(Key=tag["Key"], Value=tag["Value"]) for tag in answer["TagSet"]]

    def write_tags(self, ref: ObjectRef, tags: Sequence[Tag]) -> None:
        """Replace all tags of the object. Raises Gone, AwsFailure."""
        with _own_errors("PutObjectTagging", ref):
            self._s3.put_object_tagging(**_address(ref), Tagging={"TagSet": list(tags)})

    def put_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> bool:
        """Write the row of records.item_for; False if it already holds the result of a later event.

        Raises AwsFailure. An equal sequencer overwrites: the same event may come twice.
        """
        serialise = TypeSerializer().serialize
        with _own_errors("PutItem", ref):
            try:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={name: serialise(value) for name, value in item.items()},
                    ConditionExpression="attribute_not_exists(sequencer) OR sequencer <= :sequencer",
                    ExpressionAttributeValues={":sequencer": serialise(item["sequencer"])},
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return False
            return True


def connect(table: str) -> Storage:
    """Storage with clients for the region and credentials of the environment. Slow: keep the result."""
    return Storage(boto3.client("s3", config=_CONFIG), boto3.client("dynamodb", config=_CONFIG), table)


def _address(ref: ObjectRef) -> dict[str, str]:
    address = {"Bucket": ref.bucket, "Key": ref.key}
    return {**address, "VersionId": ref.version_id} if ref.version_id else address


@contextmanager
def _own_errors(call: str, ref: ObjectRef) -> Iterator[None]:
    version = f" (version {ref.version_id})" if ref.version_id else ""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        message = f"{call} for {ref.path}{version}: {code}: {error}"
        raise (Gone if code in _GONE and call != "PutItem" else AwsFailure)(message) from error
    except BotoCoreError as error:  # no answer at all: connections, timeouts, half a body, no credentials
        raise AwsFailure(f"{call} for {ref.path}{version}: {type(error).__name__}: {error}") from error
