"""The uploads of a stack: queues from the table's index, pictures from the bucket, answers by `reviewing`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from evaluation.metrics import wilson_interval
from evaluation.storage import row_of, rows_of_day
from labeller.aws_errors import Gone, aws_errors
from labeller.events import ObjectRef
from labeller.images import Unreadable
from labeller.inference import decode_fetched, infer
from labeller.pipeline import WorkerPool
from labeller.records import ref_of
from labeller.results import OTHER, Prediction, Status
from labeller.settings import Settings
from labeller.storage import Fetched
from labeller.text import printable
from ops.agreement import draw_sample
from ops.labels import LabelRow
from ops.review.desk import Item, NotFound, Queue, as_jpeg, display_size
from ops.review.model import ReviewModel
from ops.review.reviewing import Reviewer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SAMPLE = "SAMPLE"
DISAGREEMENTS = "DISAGREEMENTS"
OF_LABEL = "LABEL:"
SAMPLED = 1000  # pictures of the random sample; 1,000 answers give the error rate to within 1 or 2 points
COMPARED = 500  # uploads on which the model is compared with the rows; at 384 pixels 20 s on two cores
MOST_ROWS = 20_000  # of the index that a queue reads
BATCH = 100  # keys of a BatchGetItem call; DynamoDB developer guide, "BatchGetItem"
_SCORES = 5  # that the page shows

Key = tuple[str, str, str, str, int, int]
"""Bucket, key, version and ETag of an upload, and its size in pixels: what an item's id holds."""


@dataclass(slots=True)
class UploadQueue:
    """The rows of a queue. Those that need no look any more are left out when they are read in full."""

    desk: Uploads
    name: str
    rows: Sequence[LabelRow]  # of the index
    answers: dict[str, str] = field(default_factory=dict)  # of the random sample: item -> a person's label
    sample: list[Item] = field(default_factory=list)  # of the random sample, read in full, in its random order
    seen_here: set[str] = field(default_factory=set)  # items that were answered in the random sample

    @property
    def total(self) -> int:
        """The number of rows."""
        return len(self.rows)

    async def items(self, after: int, limit: int) -> tuple[list[Item], int]:
        """As `desk.Opened`."""
        items: list[Item] = []
        while after < len(self.rows) and len(items) < limit:
            batch = self.rows[after : after + min(BATCH, limit - len(items))]
            full = await self.desk.aws_pool(self.desk.read_rows, batch)
            unseen = [row for row in full if self.needs_a_look(row)]
            after += len(batch)
            if self.name == DISAGREEMENTS:
                return await self.desk.contradicted(unseen), after  # a batch takes a second: the page asks for the next
            items += [self.desk.item_of(row) for row in unseen]
        return items, after

    def needs_a_look(self, row: Mapping[str, Any]) -> bool:
        """Whether nobody has labelled the picture, and it is still one of this queue."""
        if "human_label" in row or "etag" not in row:
            return False
        if self.name in (Status.UNSURE, Status.UNKNOWN):
            return bool(row["status"] == self.name)
        if self.name == DISAGREEMENTS:
            return "label" in row and row.get("model") != self.desk.model
        return bool(row["status"] == Status.LABELLED)

    async def read_sample(self) -> None:
        """Read the random sample in full."""
        for start in range(0, len(self.rows), BATCH):
            for row in await self.desk.aws_pool(self.desk.read_rows, self.rows[start : start + BATCH]):
                if row["status"] == Status.LABELLED and "etag" in row:
                    item = self.desk.item_of(row)
                    self.sample.append(item)
                    if item.human_label is not None:
                        self.answers[item.id] = item.human_label
                    if any(entry.get("queue") == SAMPLE for entry in row.get("reviews", ())):
                        self.seen_here.add(item.id)

    def note(self, item_id: str, label: str | None) -> None:
        """As `desk.Opened`."""
        if label is None:
            self.answers.pop(item_id, None)
            self.seen_here.discard(item_id)
        else:
            self.answers[item_id] = label
            self.seen_here.add(item_id)

    def figures(self) -> str:
        """The error rate of the labels, from the part of the random sample that was gone through.

        An answer from another queue counts if the sample has come to its picture: counting others would favour what
        people chose to look at.
        """
        last = max((number for number, item in enumerate(self.sample) if item.id in self.seen_here), default=-1)
        passed = self.sample[: last + 1]
        judged = [item for item in passed if item.id in self.answers]
        if not judged:
            return ""
        wrong = sum(self.answers[item.id] != item.label for item in judged)
        interval = wilson_interval(wrong, len(judged))
        skipped = f", {len(passed) - len(judged)} skipped" if len(passed) > len(judged) else ""
        return (
            f"Wrong labels: {wrong} of {len(judged)}, {wrong / len(judged):.1%} "
            f"({interval.low:.1%} to {interval.high:.1%} at 95%{skipped})"
        )


@dataclass(frozen=True, slots=True)
class Uploads:
    """The desk for the uploads of a stack."""

    title: str
    labels: Sequence[str]
    dates: Sequence[date]  # UTC, the newest first
    buckets: frozenset[str]
    table: str
    dynamodb: DynamoDBClient
    reviewer: Reviewer
    settings: Settings
    asked: ReviewModel
    aws_pool: WorkerPool
    cpu_pool: WorkerPool

    @property
    def model(self) -> str:
        """As `desk.Desk`."""
        return self.asked.manifest.model_version

    @property
    def days(self) -> list[str]:
        """The days as the page names them."""
        return [str(day) for day in self.dates]

    def queues(self) -> list[Queue]:
        """As `desk.Desk`."""
        return [
            Queue(Status.UNSURE.value, "UNSURE: the model hesitates"),
            Queue(Status.UNKNOWN.value, "UNKNOWN: unlike every label"),
            Queue(SAMPLE, "Random sample: how many labels are wrong"),
            Queue(DISAGREEMENTS, f"Disagreements: {self.model} gives another label"),
            *(Queue(OF_LABEL + label, f"Labelled {label}") for label in self.labels),
        ]

    async def open(self, queue: str, day: str) -> UploadQueue:
        """As `desk.Desk`."""
        if queue not in {known.name for known in self.queues()} or day not in ("", *self.days):
            raise NotFound(f"there is no queue {queue!r} of {day!r}")
        opened = UploadQueue(self, queue, await self.aws_pool(self._rows, queue, day))
        if queue == SAMPLE:
            await opened.read_sample()
        return opened

    def _rows(self, queue: str, day: str) -> list[LabelRow]:
        labels = list(self.labels) if queue in (SAMPLE, DISAGREEMENTS) else [queue.removeprefix(OF_LABEL)]
        labels += [Status.UNSURE.value, Status.UNKNOWN.value] if queue == DISAGREEMENTS else []

        def newest_first() -> Iterator[LabelRow]:
            for of_day in self.dates:
                for label in labels if day in ("", str(of_day)) else ():
                    with aws_errors("Query", f"{label} of {of_day}"):
                        rows = list(rows_of_day(self.dynamodb, self.table, label, of_day))
                    yield from (row for row in reversed(rows) if row["bucket"] in self.buckets)

        rows = [row for row, _ in zip(newest_first(), range(MOST_ROWS), strict=False)]
        sizes = {SAMPLE: SAMPLED, DISAGREEMENTS: COMPARED}
        return draw_sample(rows, sizes[queue]) if queue in sizes else rows

    def read_rows(self, rows: Iterable[LabelRow]) -> list[dict[str, Any]]:
        """The whole rows, in this order; those that are gone are left out. Raises AwsFailure."""
        keys = [{"object": {"S": row["object"]}, "version": {"S": row["version"]}} for row in rows]
        full: dict[tuple[str, str], dict[str, Any]] = {}
        request: Mapping[str, Any] = {self.table: {"Keys": keys, "ConsistentRead": True}} if keys else {}
        while request:
            with aws_errors("BatchGetItem", self.table):
                response = self.dynamodb.batch_get_item(RequestItems=request)
            for item in response["Responses"].get(self.table, []):
                row = row_of(item)
                full[row["object"], row["version"]] = row
            request = response.get("UnprocessedKeys", {})
        found = (full.get((key["object"]["S"], key["version"]["S"])) for key in keys)
        return [row for row in found if row is not None]

    async def picture(self, item_id: str) -> bytes:
        """As `desk.Desk`."""
        fetched = await self._fetch(item_id)
        decoded = await self.cpu_pool(decode_fetched, fetched, self._object(item_id)[2], self.settings)
        return await self.cpu_pool(as_jpeg, decoded.pixels)

    async def why(self, item_id: str, label: str) -> bytes:
        """As `desk.Desk`."""
        fetched = await self._fetch(item_id)
        return await self.cpu_pool(self.asked.shade, lambda size: decode_fetched(fetched, size, self.settings), label)

    async def answer(self, item_id: str, label: str, queue: str) -> dict[str, Any]:
        """As `desk.Desk`."""
        ref, etag, _ = self._object(item_id)
        if label not in (*self.labels, OTHER):
            raise NotFound(f"there is no label {label!r}")
        answer, review = await self.reviewer.answer(ref, etag, label, queue=queue)
        return {"answer": answer, "at": review and review.at}

    async def undo(self, item_id: str, at: str) -> dict[str, Any]:
        """As `desk.Desk`."""
        ref, etag, _ = self._object(item_id)
        answer, review = await self.reviewer.undo(ref, etag, at)
        return {"answer": answer, "at": review and review.at}

    async def training_picture(self, path: str) -> bytes:
        """As `desk.Desk`."""
        return await self.cpu_pool(self.asked.training_picture, path)

    async def contradicted(self, rows: Sequence[Mapping[str, Any]]) -> list[Item]:
        """The rows whose label is another than the model's, with what that says. Raises AwsFailure, ModelError."""
        predictions = await asyncio.gather(*(self._predict(row) for row in rows))
        return [
            replace(item, details=[(f"{self.model} says", f"{now.label} {now.confidence:.1%}"), *item.details])
            for row, now in zip(rows, predictions, strict=True)
            if now and now.label != row["label"]
            for item in [self.item_of(row)]
        ]

    async def _predict(self, row: Mapping[str, Any]) -> Prediction | None:
        """What the model says of the upload; None if it is gone, replaced or unreadable."""
        ref = ref_of(row)
        try:
            fetched = await self.aws_pool(self.reviewer.storage.fetch, ref, self.settings.max_image_bytes)
            if fetched.etag != row["etag"]:
                return None
            inference = await self.cpu_pool(lambda: infer(fetched, self.asked.classifier, self.settings, {}))
        except (Gone, Unreadable):
            return None
        return inference.prediction

    def item_of(self, row: Mapping[str, Any]) -> Item:
        """A row as the page shows it."""
        nearest = [near for near in row.get("nearest", ()) if self.asked.has_picture(near["path"])]
        captions = [(near["path"], printable(f"{near['label']} {float(near['similarity']):.2f}")) for near in nearest]
        return replace(item_of(row), nearest=captions)

    async def _fetch(self, item_id: str) -> Fetched:
        """The upload. Raises NotFound if it has other content now."""
        ref, etag, _ = self._object(item_id)
        fetched = await self.aws_pool(self.reviewer.storage.fetch, ref, self.settings.max_image_bytes)
        if fetched.etag != etag:
            raise NotFound(f"{ref.name} was replaced")
        return fetched

    def _object(self, item_id: str) -> tuple[ObjectRef, str, tuple[int, int]]:
        """The object, its ETag, and height and width that it is shown with."""
        try:
            bucket, key, version, etag, width, height = json.loads(base64.urlsafe_b64decode(item_id))
            if bucket not in self.buckets:
                raise ValueError(f"{bucket} is none of the stack's")
            ref = ObjectRef(bucket, str(key), None if version == "null" else str(version))
            return ref, str(etag), display_size(int(width), int(height))
        except (ValueError, TypeError) as error:
            raise NotFound("the page names no picture") from error


def item_of(row: Mapping[str, Any]) -> Item:
    """A row as the page shows it."""
    key: Key = (
        row["bucket"],
        row["key"],
        row["version"],
        row["etag"],
        int(row.get("width", 1)),
        int(row.get("height", 1)),
    )
    scores = sorted(row.get("scores", {}).items(), key=lambda score: -score[1])[:_SCORES]
    nearest = [f"{near['path']} ({float(near['similarity']):.2f})" for near in row.get("nearest", ())]
    details = {
        "nearest in training": ", ".join(nearest),
        "familiarity": f"{float(row['familiarity']):.3f}" if "familiarity" in row else "",
        "size": f"{row['width']} x {row['height']} {row['format']}" if "width" in row else "",
        "model": row.get("model", ""),
        "labelled": row["classified_at"],
    }
    return Item(
        id=base64.urlsafe_b64encode(json.dumps(key).encode()).decode(),
        name=printable(row["key"]),
        label=row.get("label"),
        status=row["status"],
        confidence=float(row["confidence"]) if "confidence" in row else None,
        scores=[(label, float(score)) for label, score in scores],
        details=[(name, printable(value)) for name, value in details.items() if value],
        human_label=row.get("human_label"),
    )
