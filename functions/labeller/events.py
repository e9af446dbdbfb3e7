"""Parse any event about objects into a Request. No other module sees a raw event.

    SQS batch        messages that hold an S3 or EventBridge event, or an SNS envelope around one (raw delivery off)
    S3               a notification, {"Records": [{"eventSource": "aws:s3", ...}]}
    EventBridge      "Object Created" or "Object Deleted" of the source aws.s3
    SNS              {"Records": [{"EventSource": "aws:sns", ...}]} around a notification
    Batch Operations tasks, invocation schema 1.0 (bucket's ARN) and 2.0 (bucket's name)

Formats: Amazon S3 user guide, "Event message structure", "EventBridge event message structure", "Invoke AWS Lambda
function"; SNS developer guide, "Fanout to Amazon SQS queues". The event's version is not checked: known members are
read and unknown ones ignored, as S3 asks of receivers of its 2.x events.
"""

import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

ONLY_STALE = "onlyStale"  # argument of an S3 Batch Operations job; only the value "true" turns it on
_LONGEST_TIME = 64  # characters; an ISO 8601 time has 24
_LONGEST_RESULT = 1024  # characters of a task's result in the report of a job


class MalformedEvent(Exception):
    """The event is of an unknown kind, or lacks a required member."""


class Source(StrEnum):
    """Who invokes the function. It decides the form of the answer."""

    SQS = "SQS"
    S3 = "S3"
    SNS = "SNS"
    EVENTBRIDGE = "EVENTBRIDGE"
    BATCH_OPERATIONS = "BATCH_OPERATIONS"


class Change(StrEnum):
    """What happened to an object."""

    CREATED = "CREATED"  # put, copied or uploaded in parts; or named in a Batch Operations task
    DELETED = "DELETED"  # permanently: an object of an unversioned bucket, or the named version
    DELETE_MARKER = "DELETE_MARKER"  # hidden by the delete marker whose version is named; older versions remain


class TaskResult(StrEnum):
    """The result code of an S3 Batch Operations task."""

    SUCCEEDED = "Succeeded"
    TEMPORARY_FAILURE = "TemporaryFailure"  # the job retries the task
    PERMANENT_FAILURE = "PermanentFailure"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """The object that an event is about."""

    bucket: str
    key: str  # decoded: the key in S3
    version_id: str | None = None  # None in a bucket without versioning
    sequencer: str = ""  # hexadecimal; orders the events of one key; "" if the sender gives none
    event_time: str = ""  # ISO 8601, UTC; "" if the sender gives none
    change: Change = Change.CREATED

    @property
    def path(self) -> str:
        """bucket/key, as the row's key."""
        return f"{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The path and the version, if there is one, for messages."""
        return f"{self.path} (version {self.version_id})" if self.version_id else self.path


@dataclass(frozen=True, slots=True)
class Delivery:
    """The objects of one message or task: the smallest unit that its sender can retry."""

    id: str | None  # SQS and SNS message id, EventBridge event id, task id; None for a direct S3 notification
    refs: tuple[ObjectRef, ...]  # in the sender's order
    malformed: tuple[MalformedEvent, ...] = ()  # one for each record that cannot be parsed


@dataclass(frozen=True, slots=True)
class Request:
    """One invocation of the function."""

    source: Source
    deliveries: tuple[Delivery, ...]
    # Batch Operations only. The answer repeats the first two.
    schema_version: str = ""
    invocation_id: str = ""
    only_stale: bool = False  # the job's argument `onlyStale`: skip objects that this model has labelled

    @property
    def refs(self) -> tuple[ObjectRef, ...]:
        """The objects of all deliveries."""
        return tuple(ref for delivery in self.deliveries for ref in delivery.refs)


def parse_request(event: object) -> Request:
    """Parse a raw Lambda event. Raises MalformedEvent if the event as a whole has no known shape.

    A message, task or record that cannot be parsed is in `malformed` of its Delivery and does not affect the others.
    S3's test event, events of other kinds (tagging, restoring) and keys that end in "/" (folders made by consoles)
    give no refs.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"the event must be a JSON object, not {type(event).__name__}")
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
    """The answer to S3 Batch Operations. `results`: by task id, the result code and the text for the job's report."""
    return {
        "invocationSchemaVersion": request.schema_version,
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": request.invocation_id,
        "results": [
            {"taskId": task, "resultCode": result.value, "resultString": text[:_LONGEST_RESULT]}
            for task, (result, text) in results.items()
        ],
    }


# ---- envelopes --------------------------------------------------------------------------------------------


def _message(record: Mapping[str, Any]) -> Delivery:
    try:
        identity, body = record["messageId"], record["body"]
    except (KeyError, TypeError) as error:
        raise MalformedEvent(f"a message of the SQS batch lacks messageId or body: {error!r}") from error
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
        return Delivery(identity, (), (MalformedEvent(f"the SNS record is malformed: {error!r}"),))
    except MalformedEvent as error:
        return Delivery(identity, (), (error,))
    return _delivery(identity, content)


def _batch_operations(event: Mapping[str, Any]) -> Request:
    tasks = event["tasks"]
    if not isinstance(tasks, list) or not all(map(_has_id, tasks)):
        raise MalformedEvent("a task of S3 Batch Operations lacks its taskId, a text")
    job = event.get("job")
    arguments = job.get("userArguments") if isinstance(job, Mapping) else None  # schema 2.0 only
    return Request(
        Source.BATCH_OPERATIONS,
        tuple(_collect(task["taskId"], [task], _task) for task in tasks),
        schema_version=str(event.get("invocationSchemaVersion", "1.0")),
        invocation_id=str(event.get("invocationId", "")),
        only_stale=isinstance(arguments, Mapping) and arguments.get(ONLY_STALE) == "true",
    )


def _has_id(task: object) -> bool:
    return isinstance(task, Mapping) and isinstance(task.get("taskId"), str) and task["taskId"] != ""


# ---- records ----------------------------------------------------------------------------------------------


def _delivery(identity: str | None, content: object) -> Delivery:
    """The objects of an S3 notification or of an EventBridge event."""
    if not isinstance(content, Mapping):
        error = MalformedEvent(f"a notification must be a JSON object, not {type(content).__name__}")
        return Delivery(identity, (), (error,))
    if content.get("Event") == "s3:TestEvent":
        return Delivery(identity, ())  # sent once when a notification is configured
    if "detail-type" in content:
        return _collect(identity, [content], _event)
    records = content.get("Records")
    if not isinstance(records, list):
        error = MalformedEvent(
            f"no list of Records in the notification: {', '.join(map(str, content))[:200] or 'none'}"
        )
        return Delivery(identity, (), (error,))
    return _collect(identity, records, _record)


def _collect(identity: str | None, records: list[Any], read: Any) -> Delivery:
    refs, malformed = [], []
    for record in records:
        try:
            refs += [ref for ref in read(record) if not ref.key.endswith("/")]
        except MalformedEvent as error:
            malformed.append(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            malformed.append(MalformedEvent(f"the record is malformed: {error!r}"))
    return Delivery(identity, tuple(refs), tuple(malformed))


def _record(record: Mapping[str, Any]) -> Iterator[ObjectRef]:
    """One record of a notification. Its key is encoded like an HTML form: "+" is a space, "%2B" a plus sign."""
    source, name = record.get("eventSource"), record.get("eventName")
    if source != "aws:s3" or not isinstance(name, str):
        raise MalformedEvent(f"the record is not from an S3 notification: eventSource {source!r}, eventName {name!r}")
    change = _change(name.removeprefix("s3:"))
    if change is not None:
        item = record["s3"]["object"]
        yield _reference(
            bucket=record["s3"]["bucket"]["name"],
            key=unquote_plus(item["key"], errors="strict"),
            version_id=item.get("versionId"),
            sequencer=item.get("sequencer"),
            time=record.get("eventTime"),
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
    """One EventBridge event. Its key is not encoded."""
    if event.get("source") != "aws.s3":
        raise MalformedEvent(f"the EventBridge event is from {event.get('source')!r}, not from aws.s3")
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
            change=change,
        )


def _task(task: Mapping[str, Any]) -> Iterator[ObjectRef]:
    """One task of Batch Operations. Its key is encoded as in a notification; it has no time and no sequencer."""
    bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
    key = unquote_plus(task["s3Key"], errors="strict")
    yield _reference(bucket, key, task.get("s3VersionId"), None, None, Change.CREATED)


def _reference(bucket: Any, key: Any, version_id: Any, sequencer: Any, time: Any, change: Change) -> ObjectRef:
    if not isinstance(bucket, str) or not bucket or not isinstance(key, str) or not key:
        raise MalformedEvent(f"the record lacks a bucket or a key: bucket {bucket!r}, key {key!r}")
    f"{bucket}{key}{version_id}".encode()  # ValueError for a lone surrogate, which no S3 name contains
    sequencer, time = sequencer or "", time or ""
    if not isinstance(sequencer, str) or not set(sequencer) <= set(string.hexdigits):
        raise MalformedEvent(f"the sequencer of {bucket}/{key} is not hexadecimal: {sequencer!r}")
    if not isinstance(time, str) or len(time) > _LONGEST_TIME:
        raise MalformedEvent(f"the event for {bucket}/{key} has no valid time: {str(time)[:80]!r}")
    if not isinstance(version_id or "", str):
        raise MalformedEvent(f"the version of {bucket}/{key} is not text: {version_id!r}")
    # "null" is S3's version id for an object written without versioning, which may be replaced.
    version_id = None if version_id in (None, "", "null") else version_id
    return ObjectRef(bucket, key, version_id, sequencer, time, change)


def _json(text: Any) -> object:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedEvent(f"the message is not JSON: {error}") from error
