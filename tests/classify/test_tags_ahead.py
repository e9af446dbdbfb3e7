"""Others' tags are read while the network runs, and again if that was too early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from classify import app, tags_ahead
from classify.tags_ahead import Pace, TagsAhead
from labeller.classifier import Classifier
from labeller.events import ObjectRef
from tests.classify.conftest import BUCKET, Service
from tests.classify.wire import Call, Wire
from tests.support import RED, encoded, notification, plain, sqs_batch

DONE: dict[str, Any] = {"batchItemFailures": []}
READ = "GetObjectTagging"


@pytest.fixture
def wire(service: Service, monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


class Network:
    """Runs only after the tags have been read, and calls `meanwhile` before it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.tags_were_read = threading.Event()
        predict = Classifier.predict

        def late(*arguments: Any) -> Any:
            assert self.tags_were_read.wait(10), "the tags are read only after the network"
            meanwhile()
            return predict(*arguments)

        app.get_ready_labeller().pace.seconds = 0.0
        monkeypatch.setattr(Classifier, "predict", late)

    def plan(self, call: Call, _attempt: int, _request: Any, send: Callable[[], Any]) -> Any:
        answer = send()
        if call.name == READ:
            self.tags_were_read.set()
        return answer


def test_tags_are_read_while_the_network_runs(service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_ahead, "_LONGEST_WAIT", 60.0)
    upload = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")

    with wire.watched("red.png", plan=Network(monkeypatch).plan):
        assert service.invoke(sqs_batch(notification(upload))) == DONE

    assert [call.name for call in wire.calls].count(READ) == 1
    assert service.tags("red.png")["owner"] == "Ann"
    assert service.tags("red.png")["image-label"] == "red"


def test_tags_that_were_read_too_early_are_read_again(
    service: Service, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags_ahead, "_LONGEST_WAIT", -1.0)
    upload = service.upload("red.png", encoded(plain(RED)))

    def somebody_tags() -> None:
        service.s3.put_object_tagging(
            Bucket=BUCKET, Key="red.png", Tagging={"TagSet": [{"Key": "owner", "Value": "Ann"}]}
        )

    with wire.watched("red.png", plan=Network(monkeypatch, somebody_tags).plan):
        assert service.invoke(sqs_batch(notification(upload))) == DONE

    assert service.tags("red.png")["owner"] == "Ann"
    assert service.tags("red.png")["image-label"] == "red"


def test_tags_that_are_not_due_before_the_network_ends_are_read_at_its_end(service: Service) -> None:
    app.get_ready_labeller().pace.seconds = 3600.0
    upload = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")

    assert service.invoke(sqs_batch(notification(upload))) == DONE

    assert service.tags("red.png")["owner"] == "Ann"


@pytest.mark.parametrize(("expected", "delays"), [(None, []), (0.0, [-0.025]), (0.072, [0.047])])
def test_the_read_is_due_25_ms_before_the_expected_end(expected: float | None, delays: list[float]) -> None:
    asked: list[float] = []
    pool: Any = SimpleNamespace(begin=lambda _function, delay: asked.append(delay))

    TagsAhead(None, pool, ObjectRef("uploads", "k")).begin(expected)  # type: ignore[arg-type]

    assert asked == pytest.approx(delays)


def test_the_expected_time_follows_the_network() -> None:
    pace = Pace()
    pace.add(0.1)
    assert pace.seconds == 0.1
    pace.add(0.2)
    assert pace.seconds == pytest.approx(0.12)
