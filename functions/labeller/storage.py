"""The only module of the functions that calls AWS: objects and tags in S3, rows in DynamoDB, events to EventBridge.

AWS's errors become the project's own here and nowhere else: Gone for an object that exists no longer, a Refusal for
one that S3 will not hand out, Denied and Archived where tags may not be touched, AwsFailure for all that a retry, or
a person, may mend.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from labeller.events import ObjectRef
from labeller.pipeline import ensure_time
from labeller.records import Tag

if TYPE_CHECKING:
    from botocore.session import Session

# The standard mode retries throttling, 5xx and broken connections, after up to 1 s and then up to 2 s: at most
# twice, since SQS brings back what still fails. The timeouts are far above what S3 and DynamoDB take in one region.
# So a call ends within 3 x (2 + 5) + 1 + 2 = 24 s, whatever happens, and even two of an object's calls that hang
# throughout leave it time to fail alone within the function's 60 s. (Reading a body has 5 s for each piece of it.)
_CONFIG: dict[str, Any] = {  # of botocore.config.Config
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 2,
    "read_timeout": 5,
    "max_pool_connections": 16,  # as many objects as are worked on at once (classify.lanes)
}

_SERVICES = ("s3", "dynamodb", "events")

# MethodNotAllowed is S3's answer when the version asked for is a delete marker; "404" where there is no body, and
# "405" likewise. Without the permission s3:ListBucket S3 says AccessDenied instead of NoSuchKey.
_GONE = {"NoSuchKey", "NoSuchVersion", "404", "405", "NotFound", "MethodNotAllowed"}
_DENIED = {"AccessDenied", "403", "Forbidden"}
# KMS's own errors, as S3 passes them on, that stay until somebody mends the key. KMS.ThrottlingException is none.
_KEY_UNUSABLE = {"KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"}

MAX_ENTRIES = 10  # of one PutEvents call; EventBridge user guide, "PutEvents"
MAX_ENTRIES_BYTES = 256 * 1024  # of all entries of a call together, same page
EVENT_SOURCE = "image-labeller"
EVENT_TYPE = "ImageClassified"


class Gone(Exception):
    """The object, or this version of it, was deleted after the event was sent."""


class AwsFailure(Exception):
    """A call to AWS failed, botocore's own retries included. The message names object and error code."""


class Denied(AwsFailure):
    """The function may not do this to this object."""


class Archived(AwsFailure):
    """S3 does not do this to an object in an archive class."""


class Refusal(StrEnum):
    """Why S3 does not hand out an object that is there, and will not when asked again."""

    ARCHIVED = "ARCHIVED"
    ENCRYPTED = "ENCRYPTED"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object as it is now, or why it cannot be had."""

    data: bytes | None  # None: larger than asked for and not downloaded, or refused
    size: int | None  # bytes; this and the ETag are not known of what is refused
    etag: str | None  # without quotation marks
    version_id: str | None = None  # of what was fetched; None in a bucket without versioning
    tags: int | None = None  # how many it has; None: none, or not to be known
    refusal: Refusal | None = None
    detail: str = ""  # S3's words for the refusal


class Storage:
    """Objects, tags, rows and result events, through the clients given. `connect` makes the real ones."""

    def __init__(
        self,
        s3: Any,
        dynamodb: Any,
        table: str,
        events: Any = None,
        bus: str = "default",
        trust_tag_count: bool = True,  # False for an object store that may leave it out though there are tags
    ) -> None:
        self._s3 = s3
        self._dynamodb = dynamodb
        self._table = table
        self._events = events
        self._bus = bus
        self._trust_tag_count = trust_tag_count
        self._tags_readable: set[str] = set()  # buckets whose tags this process has been able to read

    # ---- objects ------------------------------------------------------------------------------------------

    def fetch(self, ref: ObjectRef, max_bytes: int) -> Fetched:
        """The object, or only its size if that is above `max_bytes`. Raises Gone, AwsFailure."""
        with _own_errors("GetObject", ref):
            try:
                answer = self._s3.get_object(**_address(ref))
            except ClientError as error:
                refusal = self._refusal(ref, error)
                if refusal is None:
                    raise
                version = ref.version_id or self._current_version(ref)
                return Fetched(None, None, None, version_id=version, refusal=refusal, detail=str(error))
            size = int(answer["ContentLength"])
            # Closing unread gives the connection up, and nothing is downloaded. No `with answer["Body"]`: it
            # yields urllib3's stream, and only botocore's notices when half a body is all there is.
            with closing(answer["Body"]) as body:
                data = body.read() if size <= max_bytes else None
            return Fetched(data, size, answer["ETag"].strip('"'), _version(answer), tags=answer.get("TagCount"))

    def is_unchanged(self, ref: ObjectRef, fetched: Fetched) -> bool:
        """Whether the object is still what was fetched. Raises Gone, AwsFailure."""
        if fetched.refusal is not None:  # there is no ETag to compare with
            return self.fetch(ref, 0).refusal is fetched.refusal
        return bool(self._head(ref)["ETag"].strip('"') == fetched.etag)

    def look_at(self, ref: ObjectRef) -> Fetched:
        """What the object is, without its bytes and tags. Raises Gone, AwsFailure."""
        with _own_errors("HeadObject", ref):
            answer = self._s3.head_object(**_address(ref))
        version = answer.get("VersionId")
        etag = answer["ETag"].strip('"')
        return Fetched(None, int(answer["ContentLength"]), etag, version_id=None if version == "null" else version)

    def exists(self, ref: ObjectRef) -> bool:
        """Whether there is such an object, or version, now. Raises AwsFailure."""
        try:
            self._head(ref)
        except Gone:
            return False
        return True

    def _head(self, ref: ObjectRef) -> dict[str, Any]:
        with _own_errors("HeadObject", ref):
            return dict(self._s3.head_object(**_address(ref)))

    def _current_version(self, ref: ObjectRef) -> str | None:
        """The version that a request without one means now; None where there are none, or it may not be known."""
        try:
            return _version(self._head(ref))
        except Denied:
            return None

    def _refusal(self, ref: ObjectRef, error: ClientError) -> Refusal | None:
        """Why GetObject was refused, where that is the object's own state; None for all that may pass.

        A key that may not be used is reported as AccessDenied, mostly in words that name KMS, but at times as a bare
        "Access Denied" (boto3 issue 2952). Then HeadObject, which decrypts nothing, tells whether KMS is in it.
        Without its customer's key, an object of SSE-C is an InvalidRequest.
        """
        code, message = _code(error), error.response.get("Error", {}).get("Message", "")
        if code == "InvalidObjectState":
            return Refusal.ARCHIVED
        if code in _KEY_UNUSABLE:
            return Refusal.ENCRYPTED
        if code == "InvalidRequest" and "Server Side Encryption" in message:
            return Refusal.ENCRYPTED
        if code not in _DENIED:
            return None
        if "kms:" in message or "customer master key" in message:
            return Refusal.ENCRYPTED
        try:
            head = self._head(ref)
        except (Gone, AwsFailure):
            return None  # the first error is the one to tell of
        return Refusal.ENCRYPTED if str(head.get("ServerSideEncryption", "")).startswith("aws:kms") else None

    # ---- tags ---------------------------------------------------------------------------------------------

    def read_tags(self, ref: ObjectRef, fetched: Fetched | None = None) -> list[Tag]:
        """The object's tags. Raises Gone, Denied, AwsFailure.

        The call is spared if S3 gave no count of tags with the object: there are none, or the function may not
        know (GetObject leaves the count out in both cases), which is ruled out by its having read tags in this
        bucket before.
        """
        untagged = fetched and fetched.refusal is None and fetched.tags is None and ref.bucket in self._tags_readable
        if untagged and self._trust_tag_count:
            return []
        with _own_errors("GetObjectTagging", ref):
            answer = self._s3.get_object_tagging(**_address(ref))
        self._tags_readable.add(ref.bucket)
        return [Tag(Key=tag["Key"], Value=tag["Value"]) for tag in answer["TagSet"]]

    def write_tags(self, ref: ObjectRef, tags: Sequence[Tag]) -> None:
        """Replace all tags of the object. Raises Gone, Denied, AwsFailure."""
        with _own_errors("PutObjectTagging", ref):
            self._s3.put_object_tagging(**_address(ref), Tagging={"TagSet": list(tags)})

    # ---- rows ---------------------------------------------------------------------------------------------

    def read_sequencer(self, ref: ObjectRef) -> str:
        """The sequencer of the object's row, "" where there is no row, or none in it. Raises AwsFailure."""
        return self.read_row(ref, "sequencer").get("sequencer", "")

    def read_row(self, ref: ObjectRef, *names: str) -> dict[str, str]:
        """Those of the row's texts that there are, by name; empty where there is no row. Raises AwsFailure."""
        aliases = {f"#{name}": name for name in names}  # some are words of DynamoDB's own
        with _own_errors("GetItem", ref):
            answer = self._dynamodb.get_item(
                TableName=self._table,
                Key={"object": {"S": ref.path}, "version": {"S": ref.version_id or "null"}},
                ProjectionExpression=", ".join(aliases),
                ExpressionAttributeNames=aliases,
                ConsistentRead=True,
            )
            return {name: str(value["S"]) for name, value in answer.get("Item", {}).items() if "S" in value}

    def put_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> bool:
        """Write the row of records.item_for; False if it already holds the result of a later event.

        Raises AwsFailure. An equal sequencer overwrites: the same event may come twice.
        """
        return self._put(ref, item, "attribute_not_exists(sequencer) OR sequencer <= :sequencer")

    def replace_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> bool:
        """Write the row if its sequencer is still the item's, or still missing; False if an event has changed it.

        Raises AwsFailure. For what was asked for without an event, and so has no place in the order of events.
        """
        known = "sequencer" in item
        return self._put(ref, item, "sequencer = :sequencer" if known else "attribute_not_exists(sequencer)")

    def _put(self, ref: ObjectRef, item: Mapping[str, Any], condition: str) -> bool:
        values = {":sequencer": _attribute(item["sequencer"])} if ":sequencer" in condition else None
        with _own_errors("PutItem", ref):
            try:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={name: _attribute(value) for name, value in item.items()},
                    ConditionExpression=condition,
                    **({"ExpressionAttributeValues": values} if values else {}),
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return False
            return True

    # ---- result events ------------------------------------------------------------------------------------

    def put_events(self, details: Sequence[Mapping[str, Any]]) -> list[AwsFailure | None]:
        """Publish up to MAX_ENTRIES details as ImageClassified; for each, None or why EventBridge did not take it."""
        entries = [self._entry(detail) for detail in details]
        paths = [f"{detail['bucket']}/{detail['key']}" for detail in details]
        try:
            answer = self._events.put_events(Entries=entries)
        except (ClientError, BotoCoreError) as error:
            what = f"{_code(error)}: {error}" if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
            return [AwsFailure(f"PutEvents for {path}: {what}") for path in paths]
        return [
            AwsFailure(f"PutEvents for {path}: {entry['ErrorCode']}: {entry.get('ErrorMessage', '')}")
            if entry.get("ErrorCode")
            else None
            for path, entry in zip(paths, answer["Entries"], strict=True)
        ]

    def _entry(self, detail: Mapping[str, Any]) -> dict[str, str]:
        return {
            "Source": EVENT_SOURCE,
            "DetailType": EVENT_TYPE,
            "Detail": json.dumps(detail, ensure_ascii=False),
            "EventBusName": self._bus,
        }


def new_session() -> Session:
    """A session of botocore's for the region and credentials of the environment."""
    # Here and not above, so that in a cold start another thread does it: it takes 0.15 s. Not boto3, which is this and
    # S3's transfer manager, resources and multiprocessing, 20 ms more.
    from botocore.loaders import Loader
    from botocore.session import Session

    class OwnServices(Loader):
        """Knows what it is for, and does not look into the folders of all 400 services to learn which there are."""

        def list_available_services(self, type_name: str) -> list[str]:
            return list(_SERVICES)

    session = Session()
    session.register_component("data_loader", OwnServices())
    return session


def connect(table: str, bus: str = "default", trust_tag_count: bool = True) -> Storage:
    """Storage with clients for the region and credentials of the environment. Slow: keep the result."""
    session = new_session()
    from botocore import __version__
    from botocore.config import Config

    # A name of our own: botocore would compose one of all that it uses, twice for each request.
    config = Config(**_CONFIG, user_agent=f"{EVENT_SOURCE} Botocore/{__version__}")
    s3, dynamodb, events = (session.create_client(name, config=config) for name in _SERVICES)
    for client in (s3, dynamodb, events):
        # Before each attempt, so also before one that botocore makes when Lambda resumes a process in which an
        # object was given up: by then another invocation may have labelled what came in its place.
        client.meta.events.register_first("before-send", lambda **_: ensure_time())
    return Storage(s3, dynamodb, table, events, bus, trust_tag_count)


def _address(ref: ObjectRef) -> dict[str, str]:
    address = {"Bucket": ref.bucket, "Key": ref.key}
    return {**address, "VersionId": ref.version_id} if ref.version_id else address


def _attribute(value: str | Decimal | Mapping[str, Any]) -> dict[str, Any]:
    """A value of records.item_for as DynamoDB's API has it. boto3's serializer would load boto3."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, Decimal):
        return {"N": str(value)}
    return {"M": {name: _attribute(each) for name, each in value.items()}}


def _version(answer: Mapping[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in (None, "null") else str(version)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def _own_errors(call: str, ref: ObjectRef) -> Iterator[None]:
    version = f" (version {ref.version_id})" if ref.version_id else ""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        message = f"{call} for {ref.path}{version}: {code}: {error}"
        if code in _GONE and call not in ("PutItem", "GetItem"):
            raise Gone(message) from error
        kind = Denied if code in _DENIED else Archived if code == "InvalidObjectState" else AwsFailure
        raise kind(message) from error
    except BotoCoreError as error:  # no answer at all: connections, timeouts, half a body, no credentials
        raise AwsFailure(f"{call} for {ref.path}{version}: {type(error).__name__}: {error}") from error
