"""What of a result is written, as WRITE says: tags, row, event."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.classify.conftest import Service, writing
from tests.classify.world import WRITES
from tests.support import RED, batch_job, encoded, notification, plain, record, sqs_batch

TAGS = ["GetObjectTagging", "PutObjectTagging"]
DONE = {"batchItemFailures": []}


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Undone before `service` ends, which asks for the function's own get_labeller."""
    with monkeypatch.context() as context:
        yield context


def test_an_upload_takes_the_calls_for_what_is_written(
    service: Service, calls: list[str], patch: pytest.MonkeyPatch
) -> None:
    for write in WRITES:
        key = f"{write}.png"
        upload = notification(service.upload(key, encoded(plain(RED)), tags="owner=Ann"))
        calls.clear()
        with writing(patch, write):
            assert service.invoke(sqs_batch(upload)) == DONE
        expected = ["GetObject"]
        expected += TAGS if "tags" in write else []
        expected += ["PutItem"] if "row" in write else ["HeadObject"]  # no row tells whether anybody else was there
        expected += ["PutEvents"] if "event" in write else []
        assert sorted(calls) == sorted(expected), write
        assert service.tags(key).get("image-label") == ("red" if "tags" in write else None)
        assert (key in service.rows()) is ("row" in write)
        published = [event["detail"]["tagging"] for event in service.published()]
        assert published == (["WRITTEN" if "tags" in write else "OFF"] if "event" in write else [])


def test_without_rows_a_deletion_takes_no_call(service: Service, calls: list[str], patch: pytest.MonkeyPatch) -> None:
    removal = notification(record("red.png", event_name="ObjectRemoved:Delete"))
    calls.clear()
    with writing(patch, "tags,event"):
        assert service.invoke(sqs_batch(removal)) == DONE
    assert calls == []


def test_a_label_without_tags_is_stale_once_tags_are_written(service: Service, patch: pytest.MonkeyPatch) -> None:
    service.upload("red.png", encoded(plain(RED)))
    job = batch_job("red.png", schema="2.0")
    job["job"] = {"id": "j", "userArguments": {"onlyStale": "true"}}

    def labelled(write: str) -> str:
        with writing(patch, write):
            (result,) = service.invoke(job)["results"]
        return str(result["resultString"])

    assert [labelled("row"), labelled("row"), labelled("tags,row"), labelled("tags,row"), labelled("row")] == [
        "LABELLED",
        "CURRENT",
        "LABELLED",
        "CURRENT",
        "CURRENT",
    ]
    assert service.tags("red.png")["image-label"] == "red"
