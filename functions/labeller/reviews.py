"""A person's answer for one picture, kept in its row beside the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ATTRIBUTES = ("human_label", "reviewed_by", "reviewed_at", "reviewed_etag", "reviews")
MAX_HISTORY = 50
"""Answers that a row keeps, the newest: a DynamoDB item has at most 400 KB."""


@dataclass(frozen=True, slots=True)
class Review:
    """The last answer for a picture, and all before it."""

    label: str | None  # None: the answer was withdrawn
    by: str
    at: str  # ISO 8601 with microseconds, UTC
    etag: str  # of the content that the person saw
    history: tuple[Mapping[str, str], ...] = ()  # oldest first, this answer last: label (unless withdrawn), by, at, ...

    def attributes(self) -> dict[str, Any]:
        """The attributes of the row."""
        values = (self.label, self.by, self.at, self.etag, [dict(entry) for entry in self.history])
        return {name: value for name, value in zip(ATTRIBUTES, values, strict=True) if value is not None}


def following(before: Review | None, label: str | None, by: str, at: str, etag: str, **more: str) -> Review:
    """The review that follows `before`; `more` is kept in its entry of the history."""
    entry = {"by": by, "at": at, **more} | ({} if label is None else {"label": label})
    history = (*(before.history if before else ()), entry)[-MAX_HISTORY:]
    return Review(label, by, at, etag, history)


def review_of(row: Mapping[str, Any], etag: str | None, sequencer: str | None) -> Review | None:
    """The row's review if it is of the content with this ETag; None if there is none, or of other content.

    Where S3 does not say the ETag (of an archived object), content with the row's sequencer is the same.
    """
    if "reviewed_at" not in row:
        return None
    is_same = row["reviewed_etag"] == etag if etag else bool(sequencer) and row.get("sequencer") == sequencer
    if not is_same:
        return None
    history = tuple(row["reviews"])
    return Review(row.get("human_label"), row["reviewed_by"], row["reviewed_at"], row["reviewed_etag"], history)
