"""The vocabulary of results: what the network answers for an object, and what becomes of the object and its tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome for an object. The values are stored in rows and tags: do not rename them."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"  # the confidence is below the threshold
    UNREADABLE = "UNREADABLE"  # the content cannot be decoded as a picture; the reason says why
    DELETED = "DELETED"  # the object, or this version of it, no longer exists


RESERVED_LABELS = frozenset(status.value for status in Status if status is not Status.LABELLED)
"""Names that no label of a model may have, because they mark results without a label."""


class Tagging(StrEnum):
    """The outcome for the object's tags. The values are stored in rows: do not rename them."""

    WRITTEN = "WRITTEN"
    NO_ROOM = "NO_ROOM"  # with the object's other tags, ours would exceed S3's limit
    ARCHIVED = "ARCHIVED"  # S3 does not change the tags of an archived object
    DENIED = "DENIED"  # the function may not read or write the object's tags; the event is retried


@dataclass(frozen=True, slots=True)
class Prediction:
    """The network's answer for one picture."""

    label: str  # the most likely one
    confidence: float  # its probability, 0..1
    scores: Mapping[str, float]  # the probability of every label, in the manifest's order; they add up to 1


@dataclass(frozen=True, slots=True)
class Result:
    """The label of one object, or the reason why it has none."""

    status: Status
    model: str  # the model's version
    prediction: Prediction | None = None  # None if and only if UNREADABLE
    width: int | None = None  # of the picture as displayed, in pixels
    height: int | None = None
    format: str | None = None
    reason: str | None = None  # images.Reason, if and only if UNREADABLE
    detail: str | None = None  # the reason in words
