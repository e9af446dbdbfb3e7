"""One answer of a person: the row, then the tags, then the event ImageReviewed.

The row's update is the decision; everything after it can be repeated. Tags have no condition in S3, so they are written
from the row, and row and object are checked afterwards: if either has changed, they are written again. If this process
ends in between, the answer is not confirmed, and giving it again repairs the tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from labeller import records
from labeller.aws_errors import Archived, AwsFailure, Denied, Gone
from labeller.events import ObjectRef
from labeller.pipeline import WorkerPool
from labeller.results import Tagging
from labeller.reviews import ATTRIBUTES, Review, following, review_of
from labeller.storage import REVIEW_EVENT, Storage

MAX_ROUNDS = 4  # attempts on a row or an object that somebody else changes again and again

_READ = (
    *("bucket", "key", "version", "status", "label", "confidence", "familiarity", "model", "etag", "sequencer"),
    *("tagging", "classified_at", *ATTRIBUTES),
)


class Answer(StrEnum):
    """What became of an answer."""

    ACCEPTED = "ACCEPTED"
    UNTAGGED = "UNTAGGED"  # row and event have it, but these credentials may not change the object's tags
    REPLACED = "REPLACED"  # the object has other content than the person saw, or is gone
    OVERTAKEN = "OVERTAKEN"  # an undo came too late: somebody has answered since


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Everything that answers need."""

    storage: Storage
    prefix: str  # of the tags
    by: str
    aws_pool: WorkerPool
    write: frozenset[str] = frozenset({"tags", "row", "event"})  # what the stack writes of a result; always the row
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def answer(self, ref: ObjectRef, etag: str, label: str | None, **more: str) -> tuple[Answer, Review | None]:
        """Give the content with this ETag the label, or withdraw it (None); `more` is kept in the history.

        Returns the review that the row has now. The last of several people wins, and the history has all. Raises
        AwsFailure if the answer must be given again.
        """
        return await self._answer(ref, etag, lambda _: label, None, more)

    async def undo(self, ref: ObjectRef, etag: str, at: str) -> tuple[Answer, Review | None]:
        """Bring back the label before the answer given at `at`, or none, unless somebody has answered since."""
        return await self._answer(ref, etag, _label_before, at, {"undo": at})

    async def _answer(
        self,
        ref: ObjectRef,
        etag: str,
        choose: Callable[[Review | None], str | None],
        expected_at: str | None,
        more: Mapping[str, str],
    ) -> tuple[Answer, Review | None]:
        for _ in range(MAX_ROUNDS):
            row = await self.aws_pool(self.storage.read_row, ref, *_READ)
            if row.get("etag") != etag:
                if "tags" in self.write:
                    await self.write_tags_of_row(ref)  # an interrupted attempt may have tagged the new content
                return Answer.REPLACED, None
            before = review_of(row, etag, None)
            if before and self._is_last(before, more if expected_at else {**more, "label": choose(before)}):
                written = before  # an attempt that was interrupted, or whose answer was lost
                break
            if expected_at and (before is None or before.at != expected_at):
                return Answer.OVERTAKEN, before
            at = self.now().isoformat(timespec="microseconds")
            written = following(before, choose(before), self.by, at, etag, **more)
            if await self.aws_pool(self.storage.write_review, ref, written, before.at if before else None):
                break
        else:
            raise AwsFailure(f"{ref.name} was changed {MAX_ROUNDS} times meanwhile; answer again")
        tagging = await self.write_tags_of_row(ref) if "tags" in self.write else None
        if tagging and tagging != row.get("tagging"):
            await self.aws_pool(self.storage.write_tagging, ref, tagging.value, written.at)
        if "event" in self.write:
            detail = records.review_event_detail(row, written)
            (failure,) = await self.aws_pool(self.storage.put_events, [detail], REVIEW_EVENT)
            if failure:
                raise failure
        return (Answer.UNTAGGED if tagging is Tagging.DENIED else Answer.ACCEPTED), written

    def _is_last(self, review: Review, said: Mapping[str, str | None]) -> bool:
        """Whether this person has just said this."""
        last = review.history[-1]
        return last["by"] == self.by and all(last.get(name) == value for name, value in said.items())

    async def write_tags_of_row(self, ref: ObjectRef) -> Tagging | None:
        """Make the object's tags those of its row; None if the object is gone.

        Raises AwsFailure, also while the row is still of earlier content: then the tags are not the labeller's yet.
        """
        try:
            for _ in range(MAX_ROUNDS):
                tagging = await self._write_tags_once(ref)
                if tagging is not None:
                    return tagging
        except Gone:
            return None
        raise AwsFailure(f"{ref.name} was replaced or is being labelled; answer again")

    async def _write_tags_once(self, ref: ObjectRef) -> Tagging | None:
        """The outcome; None if row or object were changed meanwhile."""
        row = await self.aws_pool(self.storage.read_row, ref, *_READ)
        before = await self.aws_pool(self.storage.head, ref)
        tagging, is_current = Tagging.WRITTEN, row.get("etag") == before.etag
        try:
            existing = await self.aws_pool(self.storage.read_tags, ref)
            if not is_current and not records.says_human(existing, self.prefix):
                return tagging  # the tags are not ours
            ours = records.tags_of_row(row, self.prefix) if is_current else []
            merged = records.merge_tags(existing, ours, self.prefix)
            if merged is None:
                tagging = Tagging.NO_ROOM
            elif merged != existing:
                await self.aws_pool(self.storage.write_tags, ref, merged)
        except Archived:
            return Tagging.ARCHIVED
        except Denied:
            return Tagging.DENIED
        now = await self.aws_pool(self.storage.read_row, ref, "classified_at", "reviewed_at")
        after = await self.aws_pool(self.storage.head, ref)
        same = all(row.get(name) == now.get(name) for name in ("classified_at", "reviewed_at"))
        return tagging if is_current and same and after.etag == before.etag else None


def _label_before(review: Review | None) -> str | None:
    """The label before the last answer of the history that was neither undone nor an undo."""
    labels: list[str | None] = [None]
    for entry in review.history if review else ():
        if "undo" in entry:
            labels[1:] = labels[1:-1]
        else:
            labels.append(entry.get("label"))
    return labels[-2] if len(labels) > 1 else None
