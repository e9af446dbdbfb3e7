"""The vocabulary of results: what the network answers for an object, and what becomes of the object and its tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome for an object. The values are stored in rows and tags: do not rename them."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"  # the confidence is below the threshold
    UNKNOWN = "UNKNOWN"  # the picture is unlike the pictures of every label: its familiarity is below the threshold
    UNREADABLE = "UNREADABLE"  # the content cannot be decoded as a picture; the reason says why
    DELETED = "DELETED"  # the object, or this version of it, no longer exists


RESERVED_LABELS = frozenset(status.value for status in Status if status is not Status.LABELLED)
"""Names that no label of a model may have, because they mark results without a label."""

OTHER = "other"
"""Name of the folder beside the labels' folders that holds pictures of none of them."""


class Tagging(StrEnum):
    """The outcome for the object's tags. The values are stored in rows: do not rename them."""

    WRITTEN = "WRITTEN"
    NO_ROOM = "NO_ROOM"  # with the object's other tags, ours would exceed S3's limit
    ARCHIVED = "ARCHIVED"  # S3 does not change the tags of an archived object
    DENIED = "DENIED"  # the function may not read or write the object's tags; the event is retried
    OFF = "OFF"  # the stack writes no tags (parameter Write)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training picture that resembles a picture."""

    path: str  # within the training pictures: label/name
    label: str
    similarity: float  # cosine of the two pictures' features, -1..1


@dataclass(frozen=True, slots=True)
class Prediction:
    """The network's answer for one picture."""

    label: str  # the most likely one
    confidence: float  # its probability, 0..1
    scores: Mapping[str, float]  # the probability of every label, in the manifest's order; they add up to 1
    familiarity: float | None = None  # 0..1: the share of validation pictures that are stranger; None: an older model
    nearest: tuple[Neighbour, ...] = ()  # the most similar training pictures, if the model names them


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds in force: the operator's, or else the model's own."""

    confidence: float  # 0..1
    familiarity: float | None  # 0..1; None: no picture is UNKNOWN

    def status(self, prediction: Prediction) -> Status:
        """UNKNOWN below the familiarity, else UNSURE below the confidence, else LABELLED.

        UNKNOWN wins: the confidence of a picture that is unlike all labels means nothing.
        """
        familiarity = prediction.familiarity
        if familiarity is not None and self.familiarity is not None and familiarity < self.familiarity:
            return Status.UNKNOWN
        return Status.UNSURE if prediction.confidence < self.confidence else Status.LABELLED


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
