"""One object: fetch, decode, ask the network, tag, write the row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from labeller import records
from labeller.events import ObjectRef
from labeller.images import Decoded, Reason, Unreadable, decode
from labeller.model import Classifier
from labeller.observability import stage
from labeller.records import Result, Tagging
from labeller.settings import Settings
from labeller.storage import Fetched, Gone, Storage


class Ending(StrEnum):
    """How the work on one object ended. All of these are final: the message is done."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"
    UNREADABLE = "UNREADABLE"
    GONE = "GONE"  # deleted meanwhile; nothing was written
    STALE = "STALE"  # the row holds the result of a later event, and stays


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one object, for the log and the metrics."""

    ending: Ending
    result: Result | None = None  # None if it was gone
    tagging: Tagging | None = None
    durations: dict[str, float] = field(default_factory=dict)  # milliseconds, by stage


@dataclass(frozen=True, slots=True)
class Labeller:
    """All that labelling takes, made once for the life of the process."""

    settings: Settings
    classifier: Classifier
    storage: Storage

    def label(self, ref: ObjectRef) -> Outcome:
        """Label the object and record it in its tags and its row.

        Safe to repeat: the same event leads to the same tags and the same row. The row is written last, so
        where there is one, the tags had been dealt with. S3 cannot tag on a condition: if an unversioned
        object is replaced while both its contents are being labelled, the last to write wins the tags, while
        the row's condition keeps the later event's result. Raises storage.AwsFailure if the event must come
        again.
        """
        durations: dict[str, float] = {}
        try:
            with stage("fetch", durations):
                fetched = self.storage.fetch(ref, self.settings.max_image_bytes)
            result = self._result(fetched, durations)
            with stage("write", durations):
                tagging = self._tag(ref, result)
        except Gone:
            return Outcome(Ending.GONE, durations=durations)
        item = records.item_for(
            ref,
            result,
            tagging,
            etag=fetched.etag,
            size=fetched.size,
            classified_at=datetime.now(UTC),
            ttl_days=self.settings.row_ttl_days,
        )
        with stage("write", durations):
            written = self.storage.put_row(ref, item)
        return Outcome(Ending(result.status) if written else Ending.STALE, result, tagging, durations)

    def _result(self, fetched: Fetched, durations: dict[str, float]) -> Result:
        model = self.classifier.version
        try:
            with stage("decode", durations):
                decoded = self._decode(fetched)
        except Unreadable as error:
            return records.unreadable(error, model)
        with stage("inference", durations):
            (prediction,) = self.classifier.predict(decoded.pixels[np.newaxis])
        threshold = self.settings.confidence_threshold
        if threshold is None:
            threshold = self.classifier.confidence_threshold
        return records.labelled(prediction, decoded, model, threshold)

    def _decode(self, fetched: Fetched) -> Decoded:
        if fetched.data is None:
            limit = self.settings.max_image_bytes
            raise Unreadable(Reason.TOO_LARGE, f"{fetched.size} bytes, more than the limit of {limit}")
        return decode(fetched.data, self.classifier.input_size, self.settings.max_image_pixels)

    def _tag(self, ref: ObjectRef, result: Result) -> Tagging:
        prefix = self.settings.tag_prefix
        merged = records.merge_tags(self.storage.read_tags(ref), records.tags_for(result, prefix), prefix)
        if merged is None:
            return Tagging.NO_ROOM
        self.storage.write_tags(ref, merged)
        return Tagging.WRITTEN
