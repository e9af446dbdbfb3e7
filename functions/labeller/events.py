"""S3 event notifications -> ObjectRef. Beyond this module no raw event is passed around.

Format: Amazon S3 user guide, "Event message structure" (versions 2.x).
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus


class MalformedEvent(Exception):
    """This is no S3 notification, or one that lacks what is needed."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object that S3 says was created."""

    bucket: str
    key: str  # decoded, as S3 itself knows it
    version_id: str | None  # None in a bucket without versioning
    sequencer: str  # hexadecimal; orders the events of one key; "" where the sender gives none
    event_time: str  # ISO 8601, UTC
    size: int | None  # bytes, at the time of the event
    etag: str | None

    @property
    def path(self) -> str:
        """bucket/key, for messages and as the row's key."""
        return f"{self.bucket}/{self.key}"


def parse_event(event: object) -> list[ObjectRef]:
    """The created objects that one notification tells of, in its order.

    `event` is a raw Lambda event or the parsed body of an SQS message. S3's test event, events other than
    ObjectCreated and keys ending in "/" (what consoles make for folders) give nothing. Raises MalformedEvent.
    """
    if not isinstance(event, Mapping):
        raise MalformedEvent(f"an S3 notification is a JSON object, this is {type(event).__name__}")
    if event.get("Event") == "s3:TestEvent":
        return []  # sent once when a notification is configured
    records = event.get("Records")
    if not isinstance(records, list):
        raise MalformedEvent(f"no list of Records; members: {', '.join(map(str, event)) or 'none'}")
    references = (_reference(record) for record in records if _is_created(record))
    return [reference for reference in references if not reference.key.endswith("/")]


def _is_created(record: object) -> bool:
    if not isinstance(record, Mapping):
        raise MalformedEvent(f"a record is a JSON object, this is {type(record).__name__}")
    source, name = record.get("eventSource"), record.get("eventName")
    if source != "aws:s3" or not isinstance(name, str):
        raise MalformedEvent(f"not of an S3 notification: eventSource {source!r}, eventName {name!r}")
    return name.removeprefix("s3:").startswith("ObjectCreated:")


def _reference(record: Mapping[str, Any]) -> ObjectRef:
    try:
        bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
        # S3 encodes keys as HTML forms do: "+" is a space, "%2B" a plus sign.
        key = unquote_plus(item["key"], errors="strict")
        size = item.get("size")
        reference = ObjectRef(
            bucket=bucket,
            key=key,
            version_id=item.get("versionId") or None,
            sequencer=item.get("sequencer") or "",
            event_time=record.get("eventTime") or "",
            size=None if size is None else int(size),
            etag=item.get("eTag") or None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedEvent(f"a record of an S3 notification is not as it should be: {error!r}") from error
    if not isinstance(bucket, str) or not bucket or not key:
        raise MalformedEvent(f"a record names bucket {bucket!r} and key {key!r}")
    if not isinstance(reference.sequencer, str) or not set(reference.sequencer) <= set(string.hexdigits):
        raise MalformedEvent(f"the sequencer of {reference.path} is not hexadecimal: {reference.sequencer!r}")
    return reference
