"""Any event that tells of objects -> Request. Beyond this module no raw event is passed around.

    SQS batch        messages holding any of the three below, or an SNS envelope around one (raw delivery off)
    S3               a notification, {"Records": [{"eventSource": "aws:s3", ...}]}
    EventBridge      "Object Created" or "Object Deleted" of the source aws.s3
    SNS              {"Records": [{"EventSource": "aws:sns", ...}]} around a notification
    Batch Operations tasks, invocation schema 1.0 (bucket's ARN) and 2.0 (bucket's name)

Formats: Amazon S3 user guide, "Event message structure", "EventBridge event message structure", "Invoke AWS Lambda
function"; SNS developer guide, "Fanout to Amazon SQS queues". Versions are not looked at: members that are known
are read, others ignored, as S3 asks of those who receive its 2.x events.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

ONLY_STALE = "onlyStale"  # argument of a job of S3 Batch Operations; "true" or anything else
_LONGEST_TIME = 64  # characters; an ISO 8601 time has 24
_LONGEST_RESULT = 1024  # characters of a task's result in the report of a job


class MalformedEvent(Exception):
    """This is no event that this service knows, or one that lacks what is needed."""


class Source(StrEnum):
    """Who calls, and so what is to be answered."""

    SQS = "SQS"
    S3 = "S3"
    SNS = "SNS"
    EVENTBRIDGE = "EVENTBRIDGE"
    BATCH_OPERATIONS = "BATCH_OPERATIONS"


class Change(StrEnum):
    """What happened to an object."""

    CREATED = "CREATED"  # put, copied, uploaded in parts; or, by Batch Operations, just named
    DELETED = "DELETED"  # for good: an object of an unversioned bucket, or the version named
    DELETE_MARKER = "DELETE_MARKER"  # hidden by the delete marker whose version is named; its versions remain


class TaskResult(StrEnum):
    """How a task of S3 Batch Operations ended."""

    SUCCEEDED = "Succeeded"
    TEMPORARY_FAILURE = "TemporaryFailure"  # the job tries the task again
    PERMANENT_FAILURE = "PermanentFailure"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object that something happened to."""

    bucket: str
    key: str  # decoded, as S3 itself knows it
    version_id: str | None  # None in a bucket without versioning
    sequencer: str  # hexadecimal; orders the events of one key; "" where the sender gives none
    event_time: str  # ISO 8601, UTC
    size: int | None  # bytes, at the time of the event
    etag: str | None
    change: Change = Change.CREATED

    @property
    def path(self) -> str:
        """bucket/key, for messages and as the row's key."""
        return f"{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one message or task tells of: the least that its sender can be asked to bring again."""

    id: str | None  # SQS and SNS message id, EventBridge event id, task id; None for S3's own notification
    refs: tuple[ObjectRef, ...]  # in the order of the sender
    malformed: tuple[MalformedEvent, ...] = ()  # one for each record that could not be understood


@dataclass(frozen=True, slots=True)
class Request:
    """One invocation of the function."""

    source: Source
    deliveries: tuple[Delivery, ...]
    schema_version: str = ""  # this and all below of Batch Operations only; these two it wants back
    invocation_id: str = ""
    only_stale: bool = False  # the job's argument `onlyStale`: objects whose label is of this model are left alone

    @property
    def refs(self) -> tuple[ObjectRef, ...]:
        """The objects of all deliveries."""
        return tuple(ref for delivery in self.deliveries for ref in delivery.refs)


def parse_request(event: object) -> Request:
    """What a raw Lambda event asks for. MalformedEvent where it is of no known shape as a whole.

    A message, task or record that cannot be understood is told of in its Delivery, beside the sound ones. S3's
    test event, events of other kinds (tagging, restoring) and keys ending in "/" (what consoles make for folders)
    give no refs.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"an event is a JSON object, this is {type(event).__name__}")
    if "tasks" in event:
        return _batch_operations(event)
    records = event.get("Records")
    if isinstance(records, list) and records and isinstance(records[0], Mapping):
        if records[0].get("eventSource") == "aws:sqs":
            return Request(Source.SQS, tuple(map(_message, records)))
        if records[0].get("EventSource") == "aws:sns":
            return Request(Source.SNS, tuple(map(_topic_message, records)))
    if "detail-type" in event:
        return Request(Source.EVENTBRIDGE, (_delivery(event.get("id"), event),))
    return Request(Source.S3, (_delivery(None, event),))


def batch_operations_answer(request: Request, results: Mapping[str | None, tuple[TaskResult, str]]) -> dict[str, Any]:
    """What S3 Batch Operations wants back; `results` holds, by task id, how it ended and what the report shall say."""
    return {
        "invocationSchemaVersion": request.schema_version,
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": request.invocation_id,
        "results": [
            {"taskId": task, "resultCode": result.value, "resultString": said[:_LONGEST_RESULT]}
            for task, (result, said) in results.items()
        ],
    }


# ---- who calls --------------------------------------------------------------------------------------------


def _message(record: Mapping[str, Any]) -> Delivery:
    try:
        identity, body = record["messageId"], record["body"]
    except (KeyError, TypeError) as error:
        raise MalformedEvent(f"a message of an SQS batch without messageId or body: {error!r}") from error
    try:
        content = _json(body)
        if isinstance(content, Mapping) and content.get("Type") == "Notification" and "Message" in content:
            content = _json(content["Message"])
    except MalformedEvent as error:
        return Delivery(identity, (), (error,))
    return _delivery(identity, content)


def _topic_message(record: Mapping[str, Any]) -> Delivery:
    identity = None
    try:
        identity = record["Sns"].get("MessageId")
        content = _json(record["Sns"]["Message"])
    except (KeyError, TypeError, AttributeError) as error:
        return Delivery(identity, (), (MalformedEvent(f"an SNS record is not as it should be: {error!r}"),))
    except MalformedEvent as error:
        return Delivery(identity, (), (error,))
    return _delivery(identity, content)


def _batch_operations(event: Mapping[str, Any]) -> Request:
    tasks = event["tasks"]
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) and task.get("taskId") for task in tasks):
        raise MalformedEvent("an invocation by S3 Batch Operations whose tasks have no taskId")
    job = event.get("job")
    arguments = job.get("userArguments") if isinstance(job, Mapping) else None  # schema 2.0 only
    return Request(
        Source.BATCH_OPERATIONS,
        tuple(_collect(task["taskId"], [task], _task) for task in tasks),
        schema_version=str(event.get("invocationSchemaVersion", "1.0")),
        invocation_id=str(event.get("invocationId", "")),
        only_stale=isinstance(arguments, Mapping) and arguments.get(ONLY_STALE) == "true",
    )


# ---- what is told -----------------------------------------------------------------------------------------


def _delivery(identity: str | None, content: object) -> Delivery:
    """What a notification of S3's or an event of EventBridge's tells of."""
    if not isinstance(content, Mapping):
        error = MalformedEvent(f"a notification is a JSON object, this is {type(content).__name__}")
        return Delivery(identity, (), (error,))
    if content.get("Event") == "s3:TestEvent":
        return Delivery(identity, ())  # sent once when a notification is configured
    if "detail-type" in content:
        return _collect(identity, [content], _event)
    records = content.get("Records")
    if not isinstance(records, list):
        error = MalformedEvent(f"no list of Records; members: {', '.join(map(str, content))[:200] or 'none'}")
        return Delivery(identity, (), (error,))
    return _collect(identity, records, _record)


def _collect(identity: str | None, records: list[Any], read: Any) -> Delivery:
    refs, malformed = [], []
    for record in records:
        try:
            refs += [ref for ref in read(record) if not ref.key.endswith("/")]
        except MalformedEvent as error:
            malformed.append(error)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            malformed.append(MalformedEvent(f"a record is not as it should be: {error!r}"))
    return Delivery(identity, tuple(refs), tuple(malformed))


def _record(record: Mapping[str, Any]) -> Iterator[ObjectRef]:
    """One record of a notification. Keys are encoded as HTML forms are: "+" is a space, "%2B" a plus sign."""
    source, name = record.get("eventSource"), record.get("eventName")
    if source != "aws:s3" or not isinstance(name, str):
        raise MalformedEvent(f"not of an S3 notification: eventSource {source!r}, eventName {name!r}")
    change = _change(name.removeprefix("s3:"))
    if change is not None:
        item = record["s3"]["object"]
        yield _reference(
            bucket=record["s3"]["bucket"]["name"],
            key=unquote_plus(item["key"], errors="strict"),
            version_id=item.get("versionId"),
            sequencer=item.get("sequencer"),
            time=record.get("eventTime"),
            size=item.get("size"),
            etag=item.get("eTag"),
            change=change,
        )


def _change(name: str) -> Change | None:
    kind, _, what = name.partition(":")
    if kind == "ObjectCreated":
        return Change.CREATED
    if kind in ("ObjectRemoved", "LifecycleExpiration"):
        return Change.DELETE_MARKER if what == "DeleteMarkerCreated" else Change.DELETED
    return None


def _event(event: Mapping[str, Any]) -> Iterator[ObjectRef]:
    """One event of EventBridge's. Keys come as they are."""
    if event.get("source") != "aws.s3":
        raise MalformedEvent(f"an EventBridge event of {event.get('source')!r}, not of aws.s3")
    kind, detail = event["detail-type"], event["detail"]
    if kind in ("Object Created", "Object Deleted"):
        change = Change.CREATED
        if kind == "Object Deleted":
            marker = detail.get("deletion-type") == "Delete Marker Created"
            change = Change.DELETE_MARKER if marker else Change.DELETED
        item = detail["object"]
        yield _reference(
            bucket=detail["bucket"]["name"],
            key=item["key"],
            version_id=item.get("version-id"),
            sequencer=item.get("sequencer"),
            time=event.get("time"),
            size=item.get("size"),
            etag=item.get("etag"),
            change=change,
        )


def _task(task: Mapping[str, Any]) -> Iterator[ObjectRef]:
    """One task of Batch Operations. Keys are encoded as in a notification; there is neither time nor sequencer."""
    bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
    key = unquote_plus(task["s3Key"], errors="strict")
    yield _reference(bucket, key, task.get("s3VersionId"), None, None, None, None, Change.CREATED)


def _reference(
    bucket: Any, key: Any, version_id: Any, sequencer: Any, time: Any, size: Any, etag: Any, change: Change
) -> ObjectRef:
    if not isinstance(bucket, str) or not bucket or not isinstance(key, str) or not key:
        raise MalformedEvent(f"a record names bucket {bucket!r} and key {key!r}")
    f"{bucket}{key}{version_id}".encode()  # ValueError for half a surrogate pair, which no name in S3 has
    sequencer, time = sequencer or "", time or ""
    if not isinstance(sequencer, str) or not set(sequencer) <= set(string.hexdigits):
        raise MalformedEvent(f"the sequencer of {bucket}/{key} is not hexadecimal: {sequencer!r}")
    if not isinstance(time, str) or len(time) > _LONGEST_TIME:
        raise MalformedEvent(f"the time of the event for {bucket}/{key} is {str(time)[:80]!r}")
    if not isinstance(version_id or "", str) or not isinstance(etag or "", str):
        raise MalformedEvent(f"version or ETag of {bucket}/{key} is no text: {version_id!r}, {etag!r}")
    return ObjectRef(
        bucket=bucket,
        key=key,
        # "null" is S3's name for what was written while versioning was off, which may be replaced.
        version_id=None if version_id in (None, "", "null") else version_id,
        sequencer=sequencer,
        event_time=time,
        size=None if size is None else int(size),
        etag=etag or None,
        change=change,
    )


def _json(text: Any) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedEvent(f"the message is not JSON: {error}") from error
