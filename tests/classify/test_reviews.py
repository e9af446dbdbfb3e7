"""A person's answer, and everything that may come after it: redeliveries, backfills, new models, other people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from labeller.aws_errors import AwsFailure
from labeller.events import ObjectRef
from labeller.storage import Storage
from ops.review.reviewing import Answer, Reviewer
from tests.classify.conftest import BUCKET, Service
from tests.classify.test_against_template import ACTIONS
from tests.classify.test_backfill import use_model
from tests.support import BLUE, RED, ROOT, batch_job, encoded, notification, plain, record, sqs_batch
from tests.template import as_list
from tests.test_operations import policy_of

KEY = "red.png"
RED_PNG, BLUE_PNG = encoded(plain(RED)), encoded(plain(BLUE))
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SCHEMA = json.loads((ROOT / "docs/image-reviewed.schema.json").read_text(encoding="utf-8"))
HUMAN = {"image-label": "cat", "image-label-source": "human"}


class Desk:
    """People who look at the uploads of a service, each a second after the last."""

    def __init__(self, service: Service) -> None:
        self.service, self.seconds = service, 0
        self.write = frozenset({"tags", "row", "event"})

    def label(self, data: bytes = RED_PNG, sequencer: str = "0A", tags: str = "") -> str:
        """Upload and label; returns the ETag."""
        version = self.service.upload(KEY, data, tags)["s3"]["object"].get("versionId")
        self.deliver(sequencer, version)
        return str(self.service.s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"].strip('"'))

    def deliver(self, sequencer: str = "0A", version: str | None = None) -> None:
        event = sqs_batch(notification(record(KEY, sequencer=sequencer, version_id=version)))
        assert self.service.invoke(event) == {"batchItemFailures": []}

    def reviewer(self, by: str = "Ann") -> Reviewer:
        self.seconds += 1
        now, labeller = NOON + timedelta(seconds=self.seconds), self.service.labeller()
        return Reviewer(labeller.storage, "image-label", by, labeller.aws_pool, self.write, lambda: now)

    def answer(self, etag: str, label: str | None = "cat", by: str = "Ann", version: str | None = None) -> Answer:
        ref = ObjectRef(BUCKET, KEY, version)
        return asyncio.run(self.reviewer(by).answer(ref, etag, label, queue="UNSURE"))[0]

    def undo(self, etag: str, at: str, by: str = "Ann") -> Answer:
        return asyncio.run(self.reviewer(by).undo(ObjectRef(BUCKET, KEY), etag, at))[0]

    @property
    def row(self) -> dict[str, Any]:
        return self.service.rows()[KEY]

    @property
    def tags(self) -> dict[str, str]:
        return self.service.tags(KEY)

    def reviews(self) -> list[dict[str, Any]]:
        """The details of the events since the last call, checked."""
        details = [e["detail"] for e in self.service.published() if e["detail-type"] == "ImageReviewed"]
        for detail in details:
            jsonschema.validate(detail, SCHEMA)
        return details


@pytest.fixture
def desk(service: Service) -> Desk:
    return Desk(service)


def at(second: int) -> str:
    return f"2026-11-26T12:00:{second:02}.000000+00:00"


def test_an_answer_is_in_row_tags_and_event_beside_what_the_model_said(desk: Desk) -> None:
    etag = desk.label(tags="owner=Ann")
    said = desk.row

    assert desk.answer(etag) is Answer.ACCEPTED

    assert desk.row == said | {
        "human_label": "cat",
        "reviewed_by": "Ann",
        "reviewed_at": at(1),
        "reviewed_etag": etag,
        "reviews": [{"label": "cat", "by": "Ann", "at": at(1), "queue": "UNSURE"}],
    }
    assert desk.tags == {"owner": "Ann", **HUMAN}
    assert desk.reviews() == [
        {
            "schema": 1,
            "bucket": BUCKET,
            "key": KEY,
            "version": "null",
            "status": "LABELLED",
            "label": "red",
            "confidence": float(said["confidence"]),
            "model": said["model"],
            "etag": etag,
            "sequencer": said["sequencer"],
            "human_label": "cat",
            "reviewed_by": "Ann",
            "time": at(1),
        }
    ]


def redelivered(desk: Desk) -> None:
    desk.deliver()


def backfilled(desk: Desk) -> None:
    answer = desk.service.invoke(batch_job(KEY))
    assert answer["results"][0]["resultString"] == "LABELLED"


def uploaded_again(desk: Desk) -> None:
    desk.label(sequencer="0B")


@pytest.mark.parametrize("event", [redelivered, backfilled, uploaded_again])
def test_no_event_about_the_same_content_takes_an_answer_back(desk: Desk, event: Callable[[Desk], None]) -> None:
    desk.answer(desk.label())
    before = desk.row

    event(desk)

    kept = {"human_label", "reviewed_by", "reviewed_at", "reviewed_etag", "reviews", "label", "label_day"}
    assert {name: desk.row[name] for name in kept} == {name: before[name] for name in kept}
    assert desk.tags == HUMAN
    last = [event["detail"] for event in desk.service.published() if event["detail-type"] == "ImageClassified"][-1]
    assert (last["label"], last["human_label"]) == ("red", "cat")


def test_a_new_model_says_what_it_thinks_beside_the_answer(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answer(desk.label())
    use_model(desk.service, tmp_path, monkeypatch, "vgg16-new")

    backfilled(desk)

    assert (desk.row["model"], desk.row["human_label"]) == ("vgg16-new", "cat")
    assert desk.tags == HUMAN


def test_other_content_is_another_picture(desk: Desk) -> None:
    first = desk.label()
    desk.answer(first)

    second = desk.label(BLUE_PNG, "0B")

    assert not {name for name in desk.row if "review" in name or "human" in name}
    assert (desk.row["label"], desk.tags["image-label"], desk.tags.get("image-label-source")) == ("blue", "blue", None)
    assert desk.answer(first) is Answer.REPLACED  # a page that was opened before
    assert desk.answer(second) is Answer.ACCEPTED


def test_each_version_has_its_own_answer(desk: Desk) -> None:
    desk.service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    desk.label()
    desk.label(sequencer="0B")
    old, new = sorted(desk.service.rows().values(), key=lambda row: row["sequencer"])

    assert desk.answer(old["etag"], version=old["version"]) is Answer.ACCEPTED

    assert desk.service.tags(KEY, VersionId=old["version"]) == HUMAN
    assert desk.service.tags(KEY, VersionId=new["version"])["image-label"] == "red"
    rows = {row["version"]: row.get("human_label") for row in desk.service.rows().values()}
    assert rows == {old["version"]: "cat", new["version"]: None}


def test_tags_that_only_claim_a_persons_label_are_replaced(desk: Desk) -> None:
    desk.label(tags="image-label=cat&image-label-source=human")

    assert desk.tags["image-label"] == "red"
    assert "image-label-source" not in desk.tags


def test_of_two_people_the_last_wins_and_the_history_has_both(desk: Desk) -> None:
    etag = desk.label()

    desk.answer(etag, "dog", by="Ann")
    desk.answer(etag, "cat", by="Bob")

    assert (desk.row["human_label"], desk.row["reviewed_by"]) == ("cat", "Bob")
    assert [(entry["by"], entry["label"]) for entry in desk.row["reviews"]] == [("Ann", "dog"), ("Bob", "cat")]
    assert desk.tags == HUMAN
    assert [detail["human_label"] for detail in desk.reviews()] == ["dog", "cat"]


def test_an_undo_brings_back_what_was_before(desk: Desk) -> None:
    etag = desk.label()
    machine = desk.tags
    desk.answer(etag, "cat")
    desk.answer(etag, "dog")

    assert desk.undo(etag, at(2)) is Answer.ACCEPTED
    assert (desk.row["human_label"], desk.tags) == ("cat", HUMAN)
    assert desk.undo(etag, at(3)) is Answer.ACCEPTED
    assert "human_label" not in desk.row
    assert desk.tags == machine
    assert [detail.get("human_label") for detail in desk.reviews()] == ["cat", "dog", "cat", None]
    assert len(desk.row["reviews"]) == 4
    desk.deliver()  # and what the model says counts again
    assert desk.tags == machine


def test_an_undo_does_not_take_back_somebody_elses_answer(desk: Desk) -> None:
    etag = desk.label()
    desk.answer(etag, "dog", by="Ann")
    desk.answer(etag, "cat", by="Bob")

    assert desk.undo(etag, at(1), by="Ann") is Answer.OVERTAKEN
    assert desk.row["human_label"] == "cat"


@pytest.mark.parametrize("call", ["write_tags", "put_events"])
def test_an_interrupted_answer_or_undo_is_given_again(desk: Desk, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: Any) -> None:
        raise AwsFailure("not now")

    etag = desk.label()
    machine = desk.tags
    for undo in (False, True):
        last = desk.row.get("reviewed_at", "")

        def step(undo: bool = undo, last: str = last) -> Answer:
            return desk.undo(etag, last) if undo else desk.answer(etag)

        with monkeypatch.context() as broken:
            broken.setattr(Storage, call, fail)
            with pytest.raises(AwsFailure):
                step()
        assert step() is Answer.ACCEPTED
        assert desk.reviews()[-1].get("human_label") == desk.row.get("human_label")
    assert [entry.get("label") for entry in desk.row["reviews"]] == ["cat", None]
    assert desk.tags == machine


def test_an_answer_whose_tags_may_not_be_written_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    etag = desk.label()
    crowd = [{"Key": f"k{number}", "Value": "v"} for number in range(9)]
    desk.service.s3.put_object_tagging(Bucket=BUCKET, Key=KEY, Tagging={"TagSet": crowd})

    assert desk.answer(etag) is Answer.ACCEPTED

    assert (desk.row["human_label"], desk.row["tagging"]) == ("cat", "NO_ROOM")
    assert len(desk.tags) == 9


def test_a_stack_that_writes_rows_alone_gets_rows_alone(desk: Desk) -> None:
    etag = desk.label()
    machine, desk.write = desk.tags, frozenset({"row"})

    assert desk.answer(etag) is Answer.ACCEPTED

    assert (desk.row["human_label"], desk.tags, desk.reviews()) == ("cat", machine, [])


def test_an_answer_for_a_deleted_object_comes_too_late(desk: Desk) -> None:
    etag = desk.label()
    desk.answer(etag)
    desk.service.s3.delete_object(Bucket=BUCKET, Key=KEY)
    removed = record(KEY, sequencer="0B", event_name="ObjectRemoved:Delete")
    desk.service.invoke(sqs_batch(notification(removed)))

    assert desk.answer(etag) is Answer.REPLACED
    assert not {"human_label", "reviews"} & desk.row.keys()  # a deletion forgets what people said, too


def test_a_reviewed_row_is_listed_under_what_the_model_said(desk: Desk) -> None:
    """So drift counts what the model says of uploads, whoever looks at them."""
    etag = desk.label()
    before = desk.row["label_day"]

    desk.answer(etag)

    assert desk.row["label_day"] == before
    assert desk.row["status"] == "LABELLED"


def test_an_answer_needs_no_more_than_the_documented_policy_allows(desk: Desk, calls: list[str]) -> None:
    etag = desk.label()
    calls.clear()
    desk.answer(etag)
    desk.undo(etag, at(1))

    needed = {action for call in calls for action in ACTIONS[call] if action}
    statements = policy_of("Review")["Statement"]
    allowed = {action for statement in statements for action in as_list(statement["Action"])}
    assert needed <= allowed
    assert allowed - needed == {  # of the page
        "cloudformation:DescribeStacks",
        "dynamodb:Query",
        "dynamodb:BatchGetItem",
        "s3:ListBucket",
    }
