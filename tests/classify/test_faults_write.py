"""Every call to AWS fails once, for each value of WRITE but the full one, which test_faults.py plays in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.classify.conftest import BUCKET, Service, writing
from tests.classify.wire import LASTING, Call, Wire, failing
from tests.classify.world import ALL, WRITES
from tests.support import RED, encoded, notification, plain, sqs_batch

DONE: dict[str, Any] = {"batchItemFailures": []}
RETRIED = {"batchItemFailures": [{"itemIdentifier": "message-0"}]}


def done_but_denied(request: Any, send: Callable[[], Any]) -> Any:
    """The request is carried out, and the answer is an error that botocore does not try again."""
    send()
    return LASTING["denied"](request, send)


class Uploads:
    """Pictures that replace others, one at a time, with a tag of Ann's, under one value of WRITE."""

    def __init__(self, service: Service, write: str) -> None:
        self.service, self.write, self.key = service, write.split(","), ""
        self.number = 0

    def next(self) -> dict[str, Any]:
        """A red picture in the place of a blue one, whose row, if rows are written, is there."""
        self.number += 1
        self.key = f"{'-'.join(self.write)}-{self.number}.png"
        event = sqs_batch(notification(self.service.upload(self.key, encoded(plain(RED)), tags="owner=Ann")))
        if "row" in self.write:
            row = {"object": f"{BUCKET}/{self.key}", "version": "null", "key": self.key, "label": "blue"}
            self.service.table.put_item(Item=row | {"etag": "of the blue one", "sequencer": "0" * 32})
        return event

    def is_right(self) -> None:
        """What shall be written is there, and nothing else."""
        label = {"image-label": "red"} if "tags" in self.write else {}
        tags = self.service.tags(self.key)
        assert {name: tags[name] for name in ("owner", *label)} == {"owner": "Ann"} | label
        assert ("image-label" in tags) is ("tags" in self.write)
        row = self.service.rows().get(self.key, {})
        tagging = "WRITTEN" if "tags" in self.write else "OFF"
        assert (row.get("label"), row.get("tagging")) == (("red", tagging) if "row" in self.write else (None, None))
        labels = {event["detail"]["label"] for event in self.service.published()}
        assert labels == ({"red"} if "event" in self.write else set())


@pytest.mark.parametrize("write", [write for write in WRITES if write != ALL])
def test_whatever_is_written_a_fault_of_any_call_is_mended_by_the_next_delivery(
    service: Service, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    wire, uploads = Wire(monkeypatch), Uploads(service, write)
    with writing(monkeypatch, write):
        event = uploads.next()
        with wire.watched(uploads.key):
            assert service.invoke(event) == DONE
        uploads.is_right()
        places = [(call.name, call.number) for call in wire.calls]
        assert len(places) == len(set(places)) > 1

        for place in places:

            def is_at(call: Call, place: tuple[str, int] = place) -> bool:
                return (call.name, call.number) == place

            event = uploads.next()
            with wire.watched(uploads.key, plan=failing(is_at, done_but_denied, attempts=99)):
                assert service.invoke(event) == RETRIED, place
            assert service.tags(uploads.key)["owner"] == "Ann"
            assert service.invoke(event) == DONE
            uploads.is_right()
