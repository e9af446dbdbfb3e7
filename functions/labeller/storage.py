"""AWS calls for single objects: content and tags in S3, rows in DynamoDB (`rows`), events to EventBridge.

Raises the exceptions of `aws_errors`. An object that S3 does not hand out, because of its own state, is no error:
`Fetched` names the Refusal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from labeller.aws_errors import DENIED, AwsFailure, Denied, Gone, aws_errors, describe, error_code
from labeller.clients import make_clients
from labeller.events import ObjectRef
from labeller.records import Tag
from labeller.rows import Rows

if TYPE_CHECKING:  # the stubs are not in Lambda
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

# KMS's errors, as S3 passes them on, that last until the key is repaired. KMS.ThrottlingException does not.
_KEY_UNUSABLE = {"KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"}

MAX_ENTRIES = 10  # of one PutEvents call, 256 KB together; EventBridge user guide, "PutEvents"
EVENT_SOURCE = "image-labeller"
EVENT_TYPE, REVIEW_EVENT = "ImageClassified", "ImageReviewed"


class Refusal(StrEnum):
    """The reason why S3 does not hand out an existing object, and will not on a retry."""

    ARCHIVED = "ARCHIVED"
    ENCRYPTED = "ENCRYPTED"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object as it is now, or the reason why S3 does not hand it out."""

    data: bytes | None  # None: larger than allowed and not downloaded, or refused
    size: int | None  # bytes; size and ETag are unknown if refused
    etag: str | None  # without quotation marks
    version_id: str | None = None  # of what was fetched; None in a bucket without versioning
    refusal: Refusal | None = None
    detail: str = ""  # S3's message for the refusal
    encoding: str = ""  # its Content-Encoding


class Storage(Rows):
    """Objects, tags, rows and result events, through the given clients. `connect` makes the real ones."""

    def __init__(
        self,
        s3: S3Client,
        dynamodb: DynamoDBClient,
        table: str,
        events: EventBridgeClient,
        bus: str = "default",
    ) -> None:
        super().__init__(dynamodb, table)
        self._s3 = s3
        self._events = events
        self._bus = bus

    # ---- objects ------------------------------------------------------------------------------------------

    def fetch(self, ref: ObjectRef, max_bytes: int) -> Fetched:
        """The object, without its content if that is larger than `max_bytes`. Raises Gone, AwsFailure."""
        fetched = self._get(ref, max_bytes)
        if fetched.refusal is None or ref.version_id:
            return fetched
        return replace(fetched, version_id=self._current_version(ref))

    def _get(self, ref: ObjectRef, max_bytes: int) -> Fetched:
        """As `fetch`, but of a refused object only the version that was asked for."""
        with _object_errors("GetObject", ref):
            try:
                response = self._s3.get_object(**_address(ref))
            except ClientError as error:
                refusal = self._refusal(ref, error)
                if refusal is None:
                    raise
                return Fetched(None, None, None, version_id=ref.version_id, refusal=refusal, detail=str(error))
            size = int(response["ContentLength"])
            # Closing an unread body drops the connection and downloads nothing. No `with response["Body"]`: that
            # yields urllib3's stream, and only botocore's notices an incomplete body.
            with closing(response["Body"]) as body:
                data = body.read() if size <= max_bytes else None
            etag, encoding = response["ETag"].strip('"'), response.get("ContentEncoding", "")
            return Fetched(data, size, etag, _version(response), encoding=encoding)

    def head(self, ref: ObjectRef) -> Fetched:
        """Size, ETag and version of the object, without its content and tags. Raises Gone, AwsFailure."""
        response = self._head(ref)
        return Fetched(None, int(response["ContentLength"]), response["ETag"].strip('"'), _version(response))

    def is_unchanged(self, ref: ObjectRef, fetched: Fetched) -> bool:
        """Whether the object is still what was fetched. Raises Gone, AwsFailure."""
        if fetched.refusal is not None:  # there is no ETag to compare
            return self._get(ref, 0).refusal is fetched.refusal
        return self._head(ref)["ETag"].strip('"') == fetched.etag

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object, or version, exists now. Raises AwsFailure."""
        try:
            self._head(ref)
        except Gone:
            return False
        return True

    def _head(self, ref: ObjectRef) -> HeadObjectOutputTypeDef:
        with _object_errors("HeadObject", ref):
            return self._s3.head_object(**_address(ref))

    def _current_version(self, ref: ObjectRef) -> str | None:
        """The current version; None without versioning or without the permission to ask."""
        try:
            return _version(self._head(ref))
        except Denied:
            return None

    def _refusal(self, ref: ObjectRef, error: ClientError) -> Refusal | None:
        """The reason of a failed GetObject if it is the object's own state; None for an error that may pass.

        An unusable key is reported as AccessDenied, usually in a message that names KMS, but at times as a bare
        "Access Denied" (boto3 issue 2952). HeadObject, which decrypts nothing, then says whether KMS is involved.
        An SSE-C object requested without its customer's key is an InvalidRequest.
        """
        code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
        if code == "InvalidObjectState":
            return Refusal.ARCHIVED
        if code in _KEY_UNUSABLE:
            return Refusal.ENCRYPTED
        if code == "InvalidRequest" and "Server Side Encryption" in message:
            return Refusal.ENCRYPTED
        if code not in DENIED:
            return None
        if "kms:" in message or "customer master key" in message:
            return Refusal.ENCRYPTED
        try:
            head = self._head(ref)
        except (Gone, AwsFailure):
            return None  # the first error is the one to report
        return Refusal.ENCRYPTED if head.get("ServerSideEncryption", "").startswith("aws:kms") else None

    # ---- tags ---------------------------------------------------------------------------------------------

    def read_tags(self, ref: ObjectRef) -> list[Tag]:
        """The object's tags. Raises Gone, Denied, AwsFailure.

        They are read even if GetObject sends no number of tags: S3 leaves it out if there are none, and also if the
        function may not read those of this object. Some stores never send it.
        """
        with _object_errors("GetObjectTagging", ref):
            response = self._s3.get_object_tagging(**_address(ref))
        return [Tag(Key=tag["Key"], Value=tag["Value"]) for tag in response["TagSet"]]

    def write_tags(self, ref: ObjectRef, tags: Sequence[Tag]) -> None:
        """Replace all tags of the object. Raises Gone, Denied, AwsFailure."""
        with _object_errors("PutObjectTagging", ref):
            self._s3.put_object_tagging(**_address(ref), Tagging={"TagSet": list(tags)})

    # ---- result events ------------------------------------------------------------------------------------

    def put_events(
        self, details: Sequence[Mapping[str, Any]], detail_type: str = EVENT_TYPE
    ) -> list[AwsFailure | None]:
        """Publish up to MAX_ENTRIES details; for each, None or its failure."""
        named = [(f"{detail['bucket']}/{detail['key']}", detail) for detail in details]
        return publish_events(self._events, self._bus, detail_type, named)


def publish_events(
    client: EventBridgeClient, bus: str, detail_type: str, events: Sequence[tuple[str, Mapping[str, Any]]]
) -> list[AwsFailure | None]:
    """Publish (name, detail) pairs in one PutEvents call; for each, None or its failure. A name is for the message."""
    entries: list[PutEventsRequestEntryTypeDef] = [
        {
            "Source": EVENT_SOURCE,
            "DetailType": detail_type,
            "Detail": json.dumps(detail, ensure_ascii=False),
            "EventBusName": bus,
        }
        for _, detail in events
    ]
    try:
        response = client.put_events(Entries=entries)
    except (ClientError, BotoCoreError) as error:
        return [AwsFailure(f"PutEvents for {name}: {describe(error)}") for name, _ in events]
    return [
        AwsFailure(f"PutEvents for {name}: {entry['ErrorCode']}: {entry.get('ErrorMessage', '')}")
        if entry.get("ErrorCode")
        else None
        for (name, _), entry in zip(events, response["Entries"], strict=True)
    ]


def connect(table: str, bus: str = "default") -> Storage:
    """Storage with clients for the region and credentials of the environment. Slow: keep the result."""
    s3, dynamodb, events = make_clients(EVENT_SOURCE)
    return Storage(s3, dynamodb, table, events, bus)


class _Address(TypedDict):
    """The arguments of an S3 call that name an object."""

    Bucket: str
    Key: str
    VersionId: NotRequired[str]


def _address(ref: ObjectRef) -> _Address:
    address = _Address(Bucket=ref.bucket, Key=ref.key)
    if ref.version_id:
        address["VersionId"] = ref.version_id
    return address


def _version(response: GetObjectOutputTypeDef | HeadObjectOutputTypeDef) -> str | None:
    version = response.get("VersionId")
    return None if version in (None, "null") else version


def _object_errors(call: str, ref: ObjectRef) -> AbstractContextManager[None]:
    return aws_errors(call, ref.name, of_object=True)
