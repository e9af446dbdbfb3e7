"""A result -> object tags, a DynamoDB row, a result event. Pure: `storage` reads and writes them."""

import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict

from labeller.events import Change, ObjectRef
from labeller.results import Prediction, Result, Status, Tagging
from labeller.reviews import Review

MAX_TAGS = 10  # S3 user guide, "Categorizing your objects using tags"
MAX_TAG_VALUE = 256  # characters, same page
TAG_SUFFIXES = ("", "-confidence", "-model", "-source")
HUMAN = "human"  # value of the tag -source
SEQUENCER_LENGTH = 32  # S3's have 16 to 18 digits; the rest is room

INDEX = "by-label-and-day"
# Partitions of the index for one label and day; each takes 1,000 writes a second (DynamoDB developer guide, "Using
# write sharding"). May be raised but not lowered: existing rows stay in their partitions, and queries read these only.
INDEX_SHARDS = 8

# A DynamoDB item has at most 400 KB. S3's values are bounded (a key has 1,024 bytes); labels are not.
MAX_SCORES = 100  # the highest
_SHARES = ("confidence", "familiarity")  # members of the event that are numbers
_LONGEST_TEXT = 500  # characters of details and labels; 4 bytes each in UTF-8 at most

# Letters and digits of any script, space, and + - = . _ : / @ (S3 API reference, "Tag").
_NOT_IN_TAGS = re.compile(r"[^\w +\-=.:/@]")


class Tag(TypedDict):
    """An object tag as S3's API has it."""

    Key: str
    Value: str


def is_tag_text(text: str) -> bool:
    """Whether S3 accepts `text` in a tag, its length aside."""
    return bool(text) and not _NOT_IN_TAGS.search(text)


def tag_value(text: str) -> str:
    """`text` with "_" for every character that S3 does not accept, cut to S3's length."""
    return _NOT_IN_TAGS.sub("_", text)[:MAX_TAG_VALUE]


def tags_for(result: Result, prefix: str, human_label: str | None = None) -> list[Tag]:
    """Our tags: <prefix> (the label or a status), -confidence (0.0000 to 1.0000) and -model (version).

    With a human's label: <prefix> and -source.
    """
    prediction = result.prediction
    label, confidence = (prediction.label, prediction.confidence) if prediction else (None, None)
    return _tags(prefix, result.status, label, confidence, result.model, human_label)


def tags_of_row(row: Mapping[str, Any], prefix: str) -> list[Tag]:
    """Our tags as the row demands: those of `tags_for`."""
    return _tags(
        prefix, row["status"], row.get("label"), row.get("confidence"), row.get("model", ""), row.get("human_label")
    )


def _tags(
    prefix: str, status: str, label: str | None, confidence: Any, model: str, human_label: str | None
) -> list[Tag]:
    if human_label is not None:
        return [Tag(Key=prefix, Value=tag_value(human_label)), Tag(Key=f"{prefix}-source", Value=HUMAN)]
    tags = [Tag(Key=prefix, Value=tag_value(label if label and status == Status.LABELLED else status))]
    if confidence is not None:
        tags.append(Tag(Key=f"{prefix}-confidence", Value=f"{confidence:.4f}"))
    return [*tags, Tag(Key=f"{prefix}-model", Value=tag_value(model))]


def says_human(tags: Iterable[Tag], prefix: str) -> bool:
    """Whether the tags claim that a human gave the label; whoever may tag the object can claim it."""
    return Tag(Key=f"{prefix}-source", Value=HUMAN) in tags


def merge_tags(existing: Iterable[Tag], ours: Iterable[Tag], prefix: str) -> list[Tag] | None:
    """The others' tags in their order, then `ours`, which replace earlier tags of `prefix`.

    None if these exceed S3's ten: then the object's tags must not be changed.
    """
    names = {prefix + suffix for suffix in TAG_SUFFIXES}
    merged = [*(tag for tag in existing if tag["Key"] not in names), *ours]
    return merged if len(merged) <= MAX_TAGS else None


def padded(sequencer: str) -> str:
    """A sequencer in comparable form: S3 says to pad the shorter one with zeros on the right."""
    return sequencer.upper().ljust(SEQUENCER_LENGTH, "0")


def item_for(
    ref: ObjectRef,
    result: Result,
    tagging: Tagging,
    *,
    etag: str | None,
    size: int | None,
    classified_at: datetime,
    ttl_days: int,
    review: Review | None = None,
) -> dict[str, Any]:
    """The row of a labelled or unreadable object. Numbers are Decimal, unknown values are left out.

    `etag` and `size` (bytes) belong to the fetched content. `classified_at` must be time zone aware.

        object, version   the table's key: bucket/key, and the version id, or S3's own "null"
        bucket, key
        status            LABELLED, UNSURE, UNKNOWN, UNREADABLE; DELETED in the rows of `deleted_item`
        label             the most likely one, for UNSURE and UNKNOWN too, where the tag does not say it
        confidence        of that label, 0..1
        scores            label -> 0..1, the 100 highest
        familiarity       0..1, see `Prediction`; left out if the model has none
        nearest           of UNSURE and UNKNOWN: [{path, label, similarity}, ...], the most similar training pictures,
                          if the model names them
        model             version
        etag, size        of the content; left out if it could not be fetched (ARCHIVED, ENCRYPTED)
        width, height     in pixels, as displayed
        format            JPEG, PNG, ...
        reason, detail    of UNREADABLE: images.Reason, and in words; of DELETED: DELETE_MARKER, if it is one
        sequencer         of the last event that wrote the row, padded; left out before the first such event
        event_time        of that event, as its sender wrote it
        classified_at     time of writing, ISO 8601, UTC
        tagging           WRITTEN, NO_ROOM, ARCHIVED, DENIED, OFF
        human_label       the label of `review`, a person's of this content; and its others, see `Review.attributes`
        label_day         the index's key, see `index_keys`: of what the model says
        expires_at        when DynamoDB deletes the row, seconds since 1970; left out if `ttl_days` is 0
    """
    prediction = result.prediction
    best = sorted(prediction.scores.items(), key=lambda score: -score[1])[:MAX_SCORES] if prediction else []
    item = {
        "label": prediction.label[:_LONGEST_TEXT] if prediction else None,
        "confidence": _number(prediction.confidence) if prediction else None,
        "scores": {label[:_LONGEST_TEXT]: _number(score) for label, score in best} or None,
        "familiarity": None
        if prediction is None or prediction.familiarity is None
        else _number(prediction.familiarity),
        "nearest": _nearest(prediction) if prediction and result.status is not Status.LABELLED else None,
        "model": result.model,
        "etag": etag,
        "size": None if size is None else Decimal(size),
        "width": None if result.width is None else Decimal(result.width),
        "height": None if result.height is None else Decimal(result.height),
        "format": result.format,
        "reason": result.reason,
        "detail": None if result.detail is None else result.detail[:_LONGEST_TEXT],
        "tagging": tagging.value,
        **(review.attributes() if review else {}),
    }
    name = prediction.label if prediction and result.status is Status.LABELLED else result.status.value
    return _row(ref, result.status, name, item, classified_at, ttl_days)


def deleted_item(ref: ObjectRef, *, deleted_at: datetime, ttl_days: int) -> dict[str, Any]:
    """The row of a deleted object or version.

    It keeps nothing about the picture, as its deletion demands. A delete marker has its own row, under its own
    version; the rows of the hidden versions stay, as the versions themselves do.
    """
    reason = Change.DELETE_MARKER.value if ref.change is Change.DELETE_MARKER else None
    return _row(ref, Status.DELETED, Status.DELETED.value, {"reason": reason}, deleted_at, ttl_days)


def index_keys(label: str, day: date) -> list[str]:
    """The index's partitions for a label and a day (UTC), each sorted by classified_at: query all of them and merge.

    `label`: one of the model's, or UNSURE, UNKNOWN, UNREADABLE, DELETED.
    """
    return [_index_key(label, day, shard) for shard in range(INDEX_SHARDS)]


def event_detail(item: Mapping[str, Any]) -> dict[str, Any]:
    """The result event for a row of item_for, as in docs/image-classified.schema.json. It has no scores: with many
    labels they would not fit."""
    names = (
        "bucket",
        "key",
        "status",
        "label",
        "confidence",
        "familiarity",
        "model",
        "reason",
        "etag",
        "sequencer",
        "tagging",
        "human_label",
    )
    return {"schema": 1, "version": item["version"], **_members(item, names), "time": item["classified_at"]}


def review_event_detail(row: Mapping[str, Any], review: Review) -> dict[str, Any]:
    """The event for a review of the row's content, as in docs/image-reviewed.schema.json."""
    names = ("bucket", "key", "status", "label", "confidence", "familiarity", "model", "etag", "sequencer")
    human = {} if review.label is None else {"human_label": review.label}
    detail = {"schema": 1, "version": row["version"], **_members(row, names), **human}
    return {**detail, "reviewed_by": review.by, "time": review.at}


def _members(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: float(item[name]) if name in _SHARES else item[name] for name in names if name in item}


def _nearest(prediction: Prediction) -> list[dict[str, Any]] | None:
    return [
        {
            "path": neighbour.path[:_LONGEST_TEXT],
            "label": neighbour.label[:_LONGEST_TEXT],
            "similarity": _number(neighbour.similarity),
        }
        for neighbour in prediction.nearest
    ] or None


def _row(
    ref: ObjectRef, status: Status, index_name: str, known: Mapping[str, Any], now: datetime, ttl_days: int
) -> dict[str, Any]:
    shard = zlib.crc32(ref.path.encode()) % INDEX_SHARDS
    item = {
        "object": ref.path,
        "version": ref.version_id or "null",  # S3's name for the version of an unversioned object
        "bucket": ref.bucket,
        "key": ref.key,
        "status": status.value,
        **known,
        "sequencer": padded(ref.sequencer) if ref.sequencer else None,
        "event_time": ref.event_time or None,
        "classified_at": now.isoformat(timespec="milliseconds"),
        "label_day": _index_key(index_name, now.date(), shard),
    }
    if ttl_days:
        item["expires_at"] = Decimal(int((now + timedelta(days=ttl_days)).timestamp()))
    return {name: value for name, value in item.items() if value is not None}


def _index_key(label: str, day: date, shard: int) -> str:
    return f"{label[:_LONGEST_TEXT]}#{day.isoformat()}#{shard}"


def _number(value: float) -> Decimal:
    return Decimal(f"{value:.6f}")


def ref_of(row: Mapping[str, Any]) -> ObjectRef:
    """The object of a row, without a place in the order of events."""
    return ObjectRef(row["bucket"], row["key"], None if row["version"] == "null" else row["version"])
