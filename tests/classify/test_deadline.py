from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from classify import app
from labeller.events import ObjectRef
from labeller.pipeline import Deadline, OutOfTime, WorkerPool, run
from labeller.records import Tag
from labeller.storage import Fetched, Storage
from tests.classify.conftest import LambdaContext, Service
from tests.support import RED, Printed, encoded, notification, plain, sqs_batch


def invoke(service: Service, event: object, seconds: float) -> dict[str, object]:
    return app.lambda_handler(event, LambdaContext(remaining_ms=round(seconds * 1000)))  # type: ignore[arg-type]


def test_an_object_that_s3_sends_too_late_fails_alone_and_is_written_nowhere(
    service: Service, monkeypatch: pytest.MonkeyPatch, printed: Callable[[], Printed]
) -> None:
    event = sqs_batch(*(notification(service.upload(f"{n}.png", encoded(plain(RED)))) for n in ("a", "slow", "b")))
    fetch, release = Storage.fetch, threading.Event()

    def slow(storage: Storage, ref: ObjectRef, max_bytes: int) -> Fetched:
        if ref.key == "slow.png":
            release.wait(20)
        return fetch(storage, ref, max_bytes)

    monkeypatch.setattr(Storage, "fetch", slow)
    app.get_labeller()  # the cold start takes time of its own
    start = time.monotonic()

    answer = invoke(service, event, seconds=app._SECONDS_TO_ANSWER + 3)

    assert 2.5 < time.monotonic() - start < 4.5  # with time left to answer
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert set(service.rows()) == {"a.png", "b.png"}
    release.set()
    app.get_labeller().aws_pool._threads.shutdown(wait=True)
    assert set(service.rows()) == {"a.png", "b.png"}  # the fetch came to its end, and nothing followed
    output = printed()
    assert output.metrics == {"Labelled": 2, "OutOfTime": 1, "Failed": 1}
    (line,) = [line for line in output.logs if line["message"] == "out of time"]
    assert line["delivery_id"] == "message-1"
    assert line["objects"] == [{"bucket": "uploads", "key": "slow.png", "version": None}]


def test_with_too_little_time_nothing_is_started_and_every_message_is_retried(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [service.upload(f"{number}.png", encoded(plain(RED))) for number in range(3)]
    event = sqs_batch(*map(notification, records))
    monkeypatch.setattr(Storage, "fetch", lambda *_: pytest.fail("an object was begun"))

    answer = invoke(service, event, seconds=app._SECONDS_TO_ANSWER)

    assert answer == {"batchItemFailures": [{"itemIdentifier": f"message-{number}"} for number in range(3)]}
    assert service.rows() == {}


def test_of_a_minute_two_seconds_are_for_the_answer_and_twelve_for_the_last_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labeller.pipeline.monotonic", lambda: 1000.0)
    assert app._deadline(LambdaContext(remaining_ms=60_000)) == Deadline(begin=1046.0, end=1058.0)  # type: ignore[arg-type]


def test_retried_messages_succeed(service: Service) -> None:
    event = sqs_batch(notification(service.upload("a.png", encoded(plain(RED)))))

    assert invoke(service, event, seconds=app._SECONDS_TO_ANSWER)["batchItemFailures"]
    assert invoke(service, event, seconds=60) == {"batchItemFailures": []}
    assert service.rows()["a.png"]["label"] == "red"


def test_a_resumed_call_for_an_abandoned_object_sends_nothing(service: Service) -> None:
    service.upload("a.png", encoded(plain(RED)))
    storage, pool = app.get_labeller().storage, WorkerPool(1, "aws")
    resumed, said = threading.Event(), []

    def write() -> None:
        resumed.wait(20)
        try:
            storage.write_tags(ref, [Tag(Key="image-label", Value="late")])
        except OutOfTime as error:
            said.append(error)

    ref = ObjectRef("uploads", "a.png", None, "0A")
    (end,) = asyncio.run(
        run([write], pool, in_flight=1, deadline=Deadline.in_seconds(0.1))  # given up while it waits
    )
    resumed.set()
    asyncio.run(pool(abs, 1))  # until the pool's one thread is free

    assert isinstance(end, OutOfTime)
    assert len(said) == 1
    assert service.tags("a.png") == {}
