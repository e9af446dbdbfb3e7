"""One object: fetch, decode, run the network, tag, write the row, publish. Settings say which of the three to write.

Events arrive more than once, late and out of order. An event therefore only says which object to label; the result
describes the object as it is now (or the named version). Four rules keep tags and row true:

1. A row is written on a condition: not over the row of a later event (by S3's sequencer). A request without a
   sequencer (Batch Operations) does not overwrite a row that an event has written since the row was read, which was
   before the object was fetched.
2. S3 cannot tag on a condition. So tags are written before the row, and the row that was there tells whether somebody
   else may have tagged the object meanwhile. If there was none, or one of the same content, nobody has: whoever tagged
   earlier content has still to write the row, and finds this one there. Otherwise, object and tags are checked after
   tags and row are written: if they are no longer what was fetched and written, everything is repeated. So the last
   writer has checked after writing, or has crashed, and then its event is redelivered. Without tags, an event with a
   sequencer needs no check: whatever replaced the object has a later event, whose row replaces this one by rule 1 and
   is never replaced by it. Without rows or without a sequencer, an object that can be replaced is always checked.
3. A named version cannot change. A request without a version (Batch Operations) that meets one, in a versioned bucket,
   continues with that version by name.
4. A person's label of this content stays. The row is written on the condition that its review is the one that the new
   row and the tags have; otherwise both are written again. Other content loses the review: it is another picture.

With a sequencer, the result event is published during the check of rule 2: receivers order events by the sequencer.
An object that is replaced in these milliseconds is treated as if it had been replaced just afterwards: its own event
follows, with a later sequencer. Without a sequencer nothing orders the two results, so publishing waits for the check.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Any

from classify.tags_ahead import Pace, TagsAhead
from labeller import records
from labeller.aws_errors import Archived, AwsFailure, Denied, Gone
from labeller.classifier import Classifier
from labeller.decoder_process import TooSlow
from labeller.events import Change, ObjectRef
from labeller.images import Unreadable
from labeller.inference import Inference, answer, decode_fetched_apart, infer_ordinary, unreadable
from labeller.pipeline import WorkerPool, stage
from labeller.results import Result, Tagging
from labeller.reviews import ATTRIBUTES as REVIEW_ATTRIBUTES
from labeller.reviews import Review, review_of
from labeller.rows import ReviewChanged
from labeller.settings import Settings
from labeller.storage import Fetched, Storage

MAX_ROUNDS = 4  # attempts on an object that is replaced again and again; then the event is retried

Publish = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Begins to publish an event at once; the awaitable is done when the event is accepted."""


class Ending(StrEnum):
    """The outcome of the work on one object. All of these are final: the message is done."""

    LABELLED = "LABELLED"
    UNSURE = "UNSURE"
    UNKNOWN = "UNKNOWN"
    UNREADABLE = "UNREADABLE"
    DELETED = "DELETED"  # the event reported a deletion, and the row, if rows are written, is marked
    GONE = "GONE"  # deleted before it was fetched; the event of the deletion marks the row
    STALE = "STALE"  # the row holds the result of a later event and stays
    CURRENT = "CURRENT"  # only stale labels were requested, and this label is of this model and this content
    FILTERED = "FILTERED"  # the key does not match the filters; no AWS call was made


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one object, for the log and the metrics."""

    ending: Ending
    ref: ObjectRef  # with the version that was labelled
    result: Result | None = None  # None if the object was not fetched
    tagging: Tagging | None = None
    durations: dict[str, float] = field(default_factory=dict)  # milliseconds by stage


def _passed() -> "Future[None]":
    check: Future[None] = Future()
    check.set_result(None)
    return check


@dataclass(frozen=True, slots=True)
class Labeller:
    """Everything that labelling needs, made once for the life of the process."""

    settings: Settings
    classifier: Classifier
    storage: Storage
    aws_pool: WorkerPool
    cpu_pool: WorkerPool
    decoder_pool: WorkerPool  # waits for decoder processes
    pace: Pace = field(default_factory=Pace)
    self_check: "Future[None]" = field(default_factory=_passed)  # of the network; until it passes nothing is written
    only_stale: bool = False  # skip objects whose label is of this model

    async def handle(self, ref: ObjectRef, publish: Publish) -> Outcome:
        """Bring tags and row up to date with the object, and publish the result.

        May be repeated or interrupted anywhere: the same content leads to the same tags and row. Raises AwsFailure if
        the event must be retried.
        """
        if not self.settings.wants(ref.key):
            return Outcome(Ending.FILTERED, ref)
        if ref.change is not Change.CREATED:
            return await self.mark_deleted(ref)
        if self.only_stale and "row" in self.settings.write and await self.is_current(ref):
            return Outcome(Ending.CURRENT, ref)
        return await self.label(ref, publish)

    async def is_current(self, ref: ObjectRef) -> bool:
        """Whether the row is of this model and of the object as it is now, without downloading the object.

        An object whose tags still lack a permission, or were switched off until now, is not current. Raises AwsFailure.
        """
        try:
            now = await self.aws_pool(self.storage.head, ref)
        except Gone:
            return False  # `label` handles it
        version = replace(ref, version_id=ref.version_id or now.version_id)
        row = await self.aws_pool(self.storage.read_row, version, "model", "etag", "tagging")
        is_untagged = "tags" in self.settings.write and row.get("tagging") in (Tagging.DENIED, Tagging.OFF)
        return (row.get("model"), row.get("etag")) == (self.classifier.version, now.etag) and not is_untagged

    async def label(self, ref: ObjectRef, publish: Publish) -> Outcome:
        """Label the object, again each time it is replaced meanwhile. Raises AwsFailure."""
        durations: dict[str, float] = {}
        try:
            for _ in range(MAX_ROUNDS):
                outcome_or_ref = await self._round(ref, publish, durations)
                if isinstance(outcome_or_ref, Outcome):
                    return outcome_or_ref
                ref = outcome_or_ref
        except Gone:
            return Outcome(Ending.GONE, ref, durations=durations)
        raise AwsFailure(f"{ref.path} was replaced {MAX_ROUNDS} times while it was being labelled; it will be retried")

    async def mark_deleted(self, ref: ObjectRef) -> Outcome:
        """Mark the row of a deleted object or version, unless a later event has written it. Raises AwsFailure."""
        if "row" not in self.settings.write:
            return Outcome(Ending.DELETED, ref)
        await self._ensure_checked()
        basis = ref
        if not ref.sequencer:  # S3 always sends one; a handmade event may lack it
            basis = replace(ref, sequencer=await self.aws_pool(self.storage.read_sequencer, ref))
            if ref.change is Change.DELETED and await self.aws_pool(self.storage.exists, ref):
                return Outcome(Ending.STALE, ref)
        item = records.deleted_item(basis, deleted_at=datetime.now(UTC), ttl_days=self.settings.row_ttl_days)
        stays = await self._write_row(ref, item) is None
        return Outcome(Ending.STALE if stays else Ending.DELETED, ref)

    async def _round(self, ref: ObjectRef, publish: Publish, durations: dict[str, float]) -> Outcome | ObjectRef:
        """Label the object once; returns a ref if everything must be repeated with it."""
        basis = ref
        with stage("fetch", durations):
            if not ref.sequencer and "row" in self.settings.write:
                basis = replace(ref, sequencer=await self.aws_pool(self.storage.read_sequencer, ref))
            fetched = await self.aws_pool(self.storage.fetch, ref, self.settings.max_image_bytes)
        if fetched.version_id and not ref.version_id:
            # The event's sequencer may belong to another version.
            return replace(ref, version_id=fetched.version_id, sequencer="")
        ahead = TagsAhead(self.storage, self.aws_pool, ref)
        result = await self._result(fetched, ahead, durations)
        await self._ensure_checked()
        with stage("write", durations):
            tags, item, before = await self._write(ref, basis, fetched, result, ahead)
            event = records.event_detail(item)
            written = before is not None
            publishes = written and "event" in self.settings.write
            publishing = publish(event) if publishes and ref.sequencer else None
            can_be_outdated = self._can_be_outdated(ref, fetched, before)
            if can_be_outdated and not await self._is_unchanged(ref, fetched, tags if before else None, publishing):
                return ref
        if publishes:
            with stage("publish", durations):
                await (publishing or publish(event))
        if tags.denied:
            raise tags.denied  # the row has the label; the tags need a permission
        return Outcome(Ending(result.status) if written else Ending.STALE, ref, result, tags.tagging, durations)

    async def _ensure_checked(self) -> None:
        """Wait for the network's self-check. Raises ModelError if it fails."""
        if not self.self_check.done():  # another object's cancellation must not cancel it
            await asyncio.shield(asyncio.wrap_future(self.self_check))
        self.self_check.result()

    def _can_be_outdated(self, ref: ObjectRef, fetched: Fetched, before: Mapping[str, Any] | None) -> bool:
        """Whether rule 2 demands a check. `before`: the row that was there, {} if there was none, None if it stayed."""
        if ref.version_id:
            return False
        if not ref.sequencer or "tags" not in self.settings.write:
            return not ref.sequencer
        if "row" not in self.settings.write or before is None or fetched.etag is None:
            return True
        return bool(before) and before.get("etag") != fetched.etag

    async def _is_unchanged(
        self, ref: ObjectRef, fetched: Fetched, tags: "_Tags | None", publishing: Awaitable[None] | None
    ) -> bool:
        """Whether the object is still what was fetched, and has these `tags`.

        If not, or if that fails, waits for `publishing` first.
        """
        try:
            unchanged = await self.aws_pool(self.storage.is_unchanged, ref, fetched)
            if unchanged and tags and tags.ours:
                unchanged = await self._are_tags_kept(ref, tags)
        except Exception:
            if publishing is not None:
                await publishing
            raise
        if not unchanged and publishing is not None:
            await publishing
        return unchanged

    async def _are_tags_kept(self, ref: ObjectRef, tags: "_Tags") -> bool:
        """Whether the object has the tags that it should have. Raises Gone, AwsFailure."""
        existing = await self.aws_pool(self.storage.read_tags, ref)
        merged = records.merge_tags(existing, tags.ours, self.settings.tag_prefix)
        return merged is None or _by_key(merged) == _by_key(existing)

    async def _result(self, fetched: Fetched, ahead: TagsAhead, durations: dict[str, float]) -> Result:
        def begin() -> None:
            if "tags" in self.settings.write:
                began = monotonic()
                self.self_check.add_done_callback(lambda _: ahead.begin(self.pace.after(monotonic() - began)))

        own: dict[str, float] = {}
        try:
            inference = await self._infer(fetched, own, begin)
        except Unreadable as error:
            return unreadable(error, self.classifier.version)
        finally:
            ahead.end()
            durations |= {name: durations.get(name, 0.0) + value for name, value in own.items()}
        self.pace.add(own["inference_ms"] / 1000)
        return inference.result

    async def _infer(self, fetched: Fetched, durations: dict[str, float], on_decoded: Callable[[], None]) -> Inference:
        """Decode the object and run the network. Raises Unreadable.

        Only an ordinary picture is decoded in a thread of the network: whatever others cost, it waits for none of them.
        And of those, the ones that take long wait for all others.
        """
        more = (self.classifier, self.settings, durations, on_decoded)
        inference = await self.cpu_pool(infer_ordinary, fetched, *more)
        if inference is not None:
            return inference
        request = (fetched, self.classifier.input_size, self.settings, durations)
        try:
            decoded = await self.decoder_pool(decode_fetched_apart, *request, True)
        except TooSlow:
            decoded = await self.decoder_pool(decode_fetched_apart, *request, False)
        return await self.cpu_pool(answer, decoded, *more)

    async def _write(
        self, ref: ObjectRef, basis: ObjectRef, fetched: Fetched, result: Result, ahead: TagsAhead
    ) -> tuple["_Tags", dict[str, Any], Mapping[str, Any] | None]:
        """Write tags and row, again each time a person reviews the picture meanwhile.

        Returns the tags, the row, and the one that was there: {} if there was none, None if it stays. Raises
        AwsFailure.
        """
        review: Review | None = None
        for _ in range(MAX_ROUNDS):
            tags = await self._tag(ref, basis, fetched, result, review, ahead)
            review = tags.review
            item = records.item_for(
                basis,
                result,
                tags.tagging,
                etag=fetched.etag,
                size=fetched.size,
                classified_at=datetime.now(UTC),
                ttl_days=self.settings.row_ttl_days,
                review=review,
            )
            try:
                return tags, item, await self._write_row(ref, item)
            except ReviewChanged as changed:
                review = changed.review
        raise AwsFailure(f"{ref.path} was reviewed {MAX_ROUNDS} times while it was being labelled; it will be retried")

    async def _write_row(self, ref: ObjectRef, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The row that was there, {} if there was none; None if it holds the result of a later event and stays.

        Of a request without a sequencer, which is always followed by a check, {} even if there was one.
        """
        if "row" not in self.settings.write:
            return {}
        if ref.sequencer:
            return await self.aws_pool(self.storage.exchange_row, ref, item)
        return {} if await self.aws_pool(self.storage.replace_row, ref, item) else None

    async def _tag(
        self,
        ref: ObjectRef,
        basis: ObjectRef,
        fetched: Fetched,
        result: Result,
        review: Review | None,
        ahead: TagsAhead,
    ) -> "_Tags":
        """Write the tags. Tags that claim a human's label are believed if the row has a review of this content."""
        if "tags" not in self.settings.write:
            return _Tags(Tagging.OFF, review)
        prefix = self.settings.tag_prefix
        try:
            existing = await ahead.read()
            if review is None and records.says_human(existing, prefix):
                if "row" not in self.settings.write:
                    return _Tags(Tagging.WRITTEN, None)  # a person's label, of the time when rows were written
                row = await self.aws_pool(self.storage.read_row, ref, *REVIEW_ATTRIBUTES, "sequencer")
                review = review_of(row, fetched.etag, basis.sequencer and records.padded(basis.sequencer))
            ours = records.tags_for(result, prefix, review.label if review else None)
            merged = records.merge_tags(existing, ours, prefix)
            if merged is None:
                return _Tags(Tagging.NO_ROOM, review, ours)
            await self.aws_pool(self.storage.write_tags, ref, merged)
        except Archived:
            return _Tags(Tagging.ARCHIVED, review)
        except Denied as denied:
            return _Tags(Tagging.DENIED, review, denied=denied)
        return _Tags(Tagging.WRITTEN, review, ours)


@dataclass(frozen=True, slots=True)
class _Tags:
    """What became of the tags."""

    tagging: Tagging
    review: Review | None  # whose label they have
    ours: Sequence[records.Tag] = ()  # what they must be; empty if they can be neither written nor checked
    denied: Denied | None = None


def _by_key(tags: Sequence[records.Tag]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
