"""One object: fetch, decode, ask the network, tag, write the row, publish.

Order. Events come more than once, late and out of order; what counts is the bucket. So what is looked at is never
what an event says, but the object as it is now (or the version named), and three rules keep tags and row true:

1. A row is written on a condition: not over that of a later event (S3's sequencer). Where there is no sequencer
   (Batch Operations), not over what any event has written since the row was read, before the object was.
2. S3 cannot tag on a condition. So after tags and row are written, an object that may be replaced is looked at once
   more: if it is not what was fetched, everything is done again with what is there now. Whoever writes last has
   looked afterwards, or has crashed, and then the event comes again.
3. A version that is named cannot change. A request without a version that meets one (Batch Operations in a versioned
   bucket) goes on with that version by name.

The result event of what has a sequencer goes out while rule 2 looks: its receivers know by the sequencer what counts.
If the object was replaced in these milliseconds, it is as if it had been just after them: the event of that comes, with
a later sequencer, and its result too. Without a sequencer nothing would tell the two apart, so there it waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np

from classify.lanes import Lanes
from labeller import records
from labeller.classifier import Classifier
from labeller.events import Change, ObjectRef
from labeller.images import Unreadable
from labeller.inference import decode_fetched, threshold_in_force
from labeller.observability import stage
from labeller.results import Result, Tagging
from labeller.settings import Settings
from labeller.storage import Archived, AwsFailure, Denied, Fetched, Gone, Storage

MAX_ROUNDS = 4  # times that an object is looked at anew because it was replaced meanwhile; then the event comes again

Publish = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Begins at once; what it returns waits for the end."""


class Ending(StrEnum):
    """How the work on one object ended. All of these are final: the message is done."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"
    UNREADABLE = "UNREADABLE"
    DELETED = "DELETED"  # so the event said, and so the row says now
    GONE = "GONE"  # deleted before it was looked at; the event of that deletion marks the row
    STALE = "STALE"  # the row holds the result of a later event, and stays
    CURRENT = "CURRENT"  # only stale labels were asked for, and this one is of this model and of this content
    FILTERED = "FILTERED"  # its key is not among those to be labelled; nothing was asked of AWS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one object, for the log and the metrics."""

    ending: Ending
    ref: ObjectRef  # with the version that was found
    result: Result | None = None  # None if nothing was looked at
    tagging: Tagging | None = None
    durations: dict[str, float] = field(default_factory=dict)  # milliseconds, by stage


@dataclass(frozen=True, slots=True)
class Labeller:
    """All that labelling takes, made once for the life of the process."""

    settings: Settings
    classifier: Classifier
    storage: Storage
    lanes: Lanes
    only_stale: bool = False  # leave objects alone whose label is of this model

    async def handle(self, ref: ObjectRef, publish: Publish) -> Outcome:
        """Make tags and row say what is true of the object now, and publish its result.

        Safe to repeat and to break off anywhere: the same content leads to the same tags and row. Raises
        storage.AwsFailure if the event must come again.
        """
        if not self.settings.wants(ref.key):
            return Outcome(Ending.FILTERED, ref)
        if ref.change is not Change.CREATED:
            return await self.mark_deleted(ref)
        if self.only_stale and await self.is_current(ref):
            return Outcome(Ending.CURRENT, ref)
        return await self.label(ref, publish)

    async def is_current(self, ref: ObjectRef) -> bool:
        """Whether the row is of this model and of the object as it is now, told without downloading it.

        What waits for a permission to be tagged is not current. Raises AwsFailure.
        """
        aws = self.lanes.aws
        try:
            now = await aws(self.storage.look_at, ref)
        except Gone:
            return False  # `label` says what comes of it
        version = ref.version_id or now.version_id
        row = await aws(self.storage.read_row, replace(ref, version_id=version), "model", "etag", "tagging")
        return (row.get("model"), row.get("etag")) == (self.classifier.version, now.etag) and (
            row.get("tagging") != Tagging.DENIED
        )

    async def label(self, ref: ObjectRef, publish: Publish) -> Outcome:
        """Label the object, as often as it is replaced meanwhile."""
        durations: dict[str, float] = {}
        try:
            for _ in range(MAX_ROUNDS):
                done = await self._round(ref, publish, durations)
                if isinstance(done, Outcome):
                    return done
                ref = done
        except Gone:
            return Outcome(Ending.GONE, ref, durations=durations)
        raise AwsFailure(f"{ref.path} was replaced {MAX_ROUNDS} times while it was being labelled; it comes again")

    async def mark_deleted(self, ref: ObjectRef) -> Outcome:
        """Write the row of an object, or version, that is no more, unless a later event has written it."""
        aws, basis = self.lanes.aws, ref
        if not ref.sequencer:  # S3 always gives one; an event that somebody made may have none
            basis = replace(ref, sequencer=await aws(self.storage.read_sequencer, ref))
            if ref.change is Change.DELETED and await aws(self.storage.exists, ref):
                return Outcome(Ending.STALE, ref)
        item = records.deleted_item(basis, deleted_at=datetime.now(UTC), ttl_days=self.settings.row_ttl_days)
        put = self.storage.put_row if ref.sequencer else self.storage.replace_row
        return Outcome(Ending.DELETED if await aws(put, ref, item) else Ending.STALE, ref)

    async def _round(self, ref: ObjectRef, publish: Publish, durations: dict[str, float]) -> Outcome | ObjectRef:
        """Look at the object and record what it is; a ref to go on with if that must be done again."""
        aws, basis = self.lanes.aws, ref
        with stage("fetch", durations):
            if not ref.sequencer:
                basis = replace(ref, sequencer=await aws(self.storage.read_sequencer, ref))
            fetched = await aws(self.storage.fetch, ref, self.settings.max_image_bytes)
        if fetched.version_id and not ref.version_id:
            return replace(ref, version_id=fetched.version_id, sequencer="")  # the event's was perhaps another's
        result = await self._result(fetched, durations)
        with stage("write", durations):
            tagging, denied = await self._tag(ref, fetched, result)
            item = records.item_for(
                basis,
                result,
                tagging,
                etag=fetched.etag,
                size=fetched.size,
                classified_at=datetime.now(UTC),
                ttl_days=self.settings.row_ttl_days,
            )
            put = self.storage.put_row if ref.sequencer else self.storage.replace_row
            written = await aws(put, ref, item)
            event = records.event_detail(item)
            told = publish(event) if written and ref.sequencer else None
            if not ref.version_id and not await self._is_unchanged(ref, fetched, told):
                return ref
        if written:
            with stage("publish", durations):
                await (told or publish(event))
        if denied:
            raise denied  # the label is safe in the row; the tags wait for a permission
        return Outcome(Ending(result.status) if written else Ending.STALE, ref, result, tagging, durations)

    async def _is_unchanged(self, ref: ObjectRef, fetched: Fetched, told: Awaitable[None] | None) -> bool:
        """Whether the object is still what was fetched; if not, or if nobody knows, `told` has ended too."""
        try:
            unchanged = await self.lanes.aws(self.storage.is_unchanged, ref, fetched)
        except Exception:
            if told is not None:
                await told
            raise
        if not unchanged and told is not None:
            await told
        return bool(unchanged)

    async def _result(self, fetched: Fetched, durations: dict[str, float]) -> Result:
        try:
            return await self.lanes.cpu(self._look, fetched, durations)
        except Unreadable as error:
            return records.unreadable(error, self.classifier.version)

    def _look(self, fetched: Fetched, durations: dict[str, float]) -> Result:
        with stage("decode", durations):
            decoded = decode_fetched(fetched, self.classifier.input_size, self.settings)
        with stage("inference", durations):
            (prediction,) = self.classifier.predict(decoded.pixels[np.newaxis])
        threshold = threshold_in_force(self.classifier.confidence_threshold, self.settings)
        return records.labelled(prediction, decoded, self.classifier.version, threshold)

    async def _tag(self, ref: ObjectRef, fetched: Fetched, result: Result) -> tuple[Tagging, Denied | None]:
        aws, prefix = self.lanes.aws, self.settings.tag_prefix
        try:
            existing = await aws(self.storage.read_tags, ref, fetched)
            merged = records.merge_tags(existing, records.tags_for(result, prefix), prefix)
            if merged is None:
                return Tagging.NO_ROOM, None
            await aws(self.storage.write_tags, ref, merged)
        except Archived:
            return Tagging.ARCHIVED, None
        except Denied as denied:
            return Tagging.DENIED, denied
        return Tagging.WRITTEN, None
