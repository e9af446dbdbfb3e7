"""A result -> object tags and a DynamoDB row. Pure: `storage` reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

from labeller.events import ObjectRef

if TYPE_CHECKING:  # model.py reads RESERVED_LABELS, and images.py loads Pillow
    from labeller.images import Decoded, Unreadable
    from labeller.model import Prediction

MAX_TAGS = 10  # S3 user guide, "Categorizing your objects using tags"
MAX_TAG_VALUE = 256  # characters, same page
TAG_SUFFIXES = ("", "-confidence", "-model")
SEQUENCER_LENGTH = 32  # S3's have 16 to 18 digits; the rest is room

# Letters and digits of any script, space, and + - = . _ : / @ (S3 API reference, "Tag").
_NOT_IN_TAGS = re.compile(r"[^\w +\-=.:/@]")


class Status(StrEnum):
    """What became of an object. The values are stored in rows and tags: do not rename them."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"  # the confidence is below the model's threshold
    UNREADABLE = "UNREADABLE"  # no picture that could be decoded; the reason says why


RESERVED_LABELS = frozenset({Status.UNSURE.value, Status.UNREADABLE.value})


class Tagging(StrEnum):
    """What became of the object's tags."""

    WRITTEN = "WRITTEN"
    NO_ROOM = "NO_ROOM"  # the object has so many tags of others that ours would exceed S3's limit


class Tag(TypedDict):
    """An object tag as S3's API has it."""

    Key: str
    Value: str


@dataclass(frozen=True, slots=True)
class Result:
    """The label of one object, or why it has none."""

    status: Status
    model: str  # version of the model that was asked, or would have been
    prediction: Prediction | None = None  # None if and only if UNREADABLE
    width: int | None = None  # of the picture as displayed, in pixels
    height: int | None = None
    format: str | None = None
    reason: str | None = None  # images.Reason, if and only if UNREADABLE
    detail: str | None = None  # the reason in words


def labelled(prediction: Prediction, decoded: Decoded, model: str, threshold: float) -> Result:
    """The result for a decoded picture: LABELLED from `threshold` (0..1) of confidence on, else UNSURE."""
    status = Status.LABELLED if prediction.confidence >= threshold else Status.UNSURE
    return Result(status, model, prediction, decoded.width, decoded.height, decoded.format)


def unreadable(error: Unreadable, model: str) -> Result:
    """The result for something that cannot be decoded."""
    return Result(Status.UNREADABLE, model, reason=error.reason.value, detail=error.detail)


def is_tag_text(text: str) -> bool:
    """Whether S3 accepts `text` in a tag, its length aside."""
    return bool(text) and not _NOT_IN_TAGS.search(text)


def tag_value(text: str) -> str:
    """`text` with "_" for every character that S3 does not accept, cut to S3's length."""
    return _NOT_IN_TAGS.sub("_", text)[:MAX_TAG_VALUE]


def tags_for(result: Result, prefix: str) -> list[Tag]:
    """Our tags: <prefix> is the label, UNSURE or UNREADABLE; -confidence 0.0000 to 1.0000; -model version."""
    prediction = result.prediction
    label = prediction.label if prediction and result.status is Status.LABELLED else result.status.value
    tags = [Tag(Key=prefix, Value=tag_value(label))]
    if prediction:
        tags.append(Tag(Key=f"{prefix}-confidence", Value=f"{prediction.confidence:.4f}"))
    return [*tags, Tag(Key=f"{prefix}-model", Value=tag_value(result.model))]


def merge_tags(existing: Iterable[Tag], ours: Iterable[Tag], prefix: str) -> list[Tag] | None:
    """Everybody else's tags in their order, then `ours` in place of any earlier ones of `prefix`.

    None if that makes more than S3's ten: then the object's tags are to be left as they are.
    """
    names = {prefix + suffix for suffix in TAG_SUFFIXES}
    merged = [*(tag for tag in existing if tag["Key"] not in names), *ours]
    return merged if len(merged) <= MAX_TAGS else None


def padded(sequencer: str) -> str:
    """A sequencer made comparable as text: S3 says to fill the shorter one with zeros on the right."""
    return sequencer.upper().ljust(SEQUENCER_LENGTH, "0")


def item_for(
    ref: ObjectRef,
    result: Result,
    tagging: Tagging,
    *,
    etag: str,
    size: int,
    classified_at: datetime,
    ttl_days: int,
) -> dict[str, Any]:
    """The row: what is known, numbers as Decimal, nothing for what is not known.

    `etag` and `size` (bytes) are those of the content that was looked at. `classified_at` must know its time
    zone. `label` is the likeliest label for UNSURE too, so the row keeps what the tag does not say.
    `expires_at` (seconds since 1970) is left out if `ttl_days` is 0.
    """
    prediction = result.prediction
    item: dict[str, Any] = {
        "object": ref.path,
        "version": ref.version_id or "null",  # S3's own name for the version of an unversioned object
        "bucket": ref.bucket,
        "key": ref.key,
        "status": result.status.value,
        "label": prediction.label if prediction else None,
        "confidence": _number(prediction.confidence) if prediction else None,
        "scores": {k: _number(v) for k, v in prediction.scores.items()} if prediction else None,
        "model": result.model,
        "etag": etag,
        "size": Decimal(size),
        "width": None if result.width is None else Decimal(result.width),
        "height": None if result.height is None else Decimal(result.height),
        "format": result.format,
        "reason": result.reason,
        "detail": result.detail,
        "sequencer": padded(ref.sequencer),
        "event_time": ref.event_time or None,
        "classified_at": classified_at.isoformat(timespec="milliseconds"),
        "tagging": tagging.value,
    }
    if ttl_days:
        item["expires_at"] = Decimal(int((classified_at + timedelta(days=ttl_days)).timestamp()))
    return {name: value for name, value in item.items() if value is not None}


def _number(value: float) -> Decimal:
    return Decimal(f"{value:.6f}")
