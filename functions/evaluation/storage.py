"""AWS calls of the score function: the bucket of test set and reports, the results index, and announcements.

All errors of AWS become AwsFailure, as in labeller.storage, which handles single objects.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

from evaluation.drift import UploadRow
from labeller.aws_errors import aws_errors
from labeller.records import INDEX, index_keys
from labeller.results import Status
from labeller.storage import publish_events

if TYPE_CHECKING:  # the stubs are not in Lambda
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import QueryInputPaginateTypeDef

# More attempts than classify's, because the next report comes a day later. The pauses between them are at most 1, 2, 4
# and 8 s, so a call ends within 5 x (2 + 5) + 15 = 50 s; score.nightly reserves time for that.
_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=2, read_timeout=5)
# For links: S3 refuses older signatures for objects that are encrypted with KMS, and in newer regions for all.
_SIGNED = _CONFIG.merge(Config(signature_version="s3v4"))

REPORT_EVENT = "AccuracyReported"
_MAX_SUBJECT = 100  # characters; SNS API reference, Publish: less than 100, ASCII, no line breaks


class ReportStorage:
    """The bucket, the index of the results table, the event bus and the topic. Slow to make: keep it."""

    def __init__(self, bucket: str, table: str, bus: str = "", topic: str = "") -> None:
        self._s3 = boto3.client("s3", config=_SIGNED)
        self._dynamodb = boto3.client("dynamodb", config=_CONFIG)
        self._events = boto3.client("events", config=_CONFIG)
        self._sns = boto3.client("sns", config=_CONFIG)
        self.bucket = bucket
        self.region = self._s3.meta.region_name
        self._table, self._bus, self._topic = table, bus, topic

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects under `prefix`, in order. Raises AwsFailure."""
        with aws_errors("ListObjectsV2", f"{self.bucket}/{prefix}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                yield from (item["Key"] for item in page.get("Contents", []))

    def list_folders(self, prefix: str) -> list[str]:
        """Names of the "folders" directly under `prefix`, in order. Raises AwsFailure."""
        with aws_errors("ListObjectsV2", f"{self.bucket}/{prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
            folders = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
        return [folder.removeprefix(prefix).rstrip("/") for folder in folders]

    def read(self, key: str) -> bytes | None:
        """The object's content; None if it does not exist. Raises AwsFailure."""
        with aws_errors("GetObject", f"{self.bucket}/{key}"):
            try:
                response = self._s3.get_object(Bucket=self.bucket, Key=key)
            except self._s3.exceptions.NoSuchKey:
                return None
            with closing(response["Body"]) as body:
                return bytes(body.read())

    def write(self, key: str, content: bytes, content_type: str) -> None:
        """Put the object; S3 replaces an earlier one atomically. Raises AwsFailure."""
        with aws_errors("PutObject", f"{self.bucket}/{key}"):
            self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, CacheControl="no-cache"
            )

    def delete(self, key: str) -> None:
        """Delete the object, if it exists. Raises AwsFailure."""
        with aws_errors("DeleteObject", f"{self.bucket}/{key}"):
            self._s3.delete_object(Bucket=self.bucket, Key=key)

    def uploads_of_day(self, label: str, day: date) -> Iterator[UploadRow]:
        """The uploads that the index lists under `label` or a status without a label, on that day (UTC).

        Rows with a status of a newer version, which this one cannot count, are left out. Raises AwsFailure.
        """
        with aws_errors("Query", f"{label} of {day}"):
            for row in rows_of_day(self._dynamodb, self._table, label, day, ("status", "label", "confidence")):
                if row["status"] not in Status.__members__:
                    continue
                confidence = row.get("confidence")
                yield UploadRow(
                    Status(row["status"]), row.get("label"), None if confidence is None else float(confidence)
                )

    def announce(self, detail: Mapping[str, Any]) -> None:
        """Publish AccuracyReported. Raises AwsFailure."""
        (failure,) = publish_events(self._events, self._bus, REPORT_EVENT, [(REPORT_EVENT, detail)])
        if failure is not None:
            raise failure

    def presigned_link(self, key: str, seconds: int) -> str:
        """A link that reads the object without a login, for `seconds` or until this role's session ends."""
        target = {"Bucket": self.bucket, "Key": key}
        return str(self._s3.generate_presigned_url("get_object", Params=target, ExpiresIn=seconds))

    def mail(self, subject: str, text: str) -> None:
        """Publish to the topic, which mails its subscribers. Raises AwsFailure."""
        subject = " ".join(subject.split()).encode("ascii", "replace").decode()
        if len(subject) >= _MAX_SUBJECT:
            subject = subject[: _MAX_SUBJECT - 4] + "..."
        with aws_errors("Publish", self._topic):
            self._sns.publish(TopicArn=self._topic, Subject=subject, Message=text)


def row_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB returns it, as a row: values without their types, numbers as Decimal."""
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


def rows_of_day(
    dynamodb: DynamoDBClient, table: str, label: str, day: date, attributes: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of the index for a label or a status without one, on a day (UTC): oldest first, read page by page.

    `attributes` limits what is read of a row; without it a row has all that the index holds. Numbers are Decimal.
    Raises botocore's errors.
    """
    names = {f"#{number}": name for number, name in enumerate(("classified_at", *attributes))}

    def partition_rows(partition: str) -> Iterator[dict[str, Any]]:
        query: QueryInputPaginateTypeDef = {
            "TableName": table,
            "IndexName": INDEX,
            "KeyConditionExpression": "label_day = :partition",
            "ExpressionAttributeValues": {":partition": {"S": partition}},
        }
        if attributes:
            query |= {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        for page in dynamodb.get_paginator("query").paginate(**query):
            yield from map(row_of, page["Items"])

    return heapq.merge(*map(partition_rows, index_keys(label, day)), key=lambda row: row["classified_at"])
