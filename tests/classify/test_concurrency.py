"""How much is worked on at once: as many pictures as processors, and as many objects as fit into memory."""

from __future__ import annotations

from typing import Any

import pytest

from classify import app
from classify.labelling import Labeller
from labeller.classifier import Classifier
from labeller.storage import Storage
from tests.classify.conftest import Service
from tests.support import RED, Crowd, encoded, notification, plain, sqs_batch

DONE: dict[str, Any] = {"batchItemFailures": []}


def uploads(service: Service, number: int) -> dict[str, Any]:
    return sqs_batch(*(notification(service.upload(f"{n}.png", encoded(plain(RED)))) for n in range(number)))


def test_a_picture_runs_on_one_processor(service: Service) -> None:
    options = service.labeller().classifier.thorough._session.get_session_options()
    assert options.intra_op_num_threads == 1  # 0 would be one for each core
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("processors", [1, 3])
def test_as_many_pictures_run_at_once_as_there_are_processors(
    service: Service, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setenv("ONNX_THREADS", str(processors))
    crowd, predict = Crowd(processors), Classifier.predict
    app.get_labeller()  # its self-check is no picture
    monkeypatch.setattr(Classifier, "predict", lambda *arguments: crowd(predict, *arguments))

    assert service.invoke(uploads(service, 6)) == DONE

    assert crowd.most == processors


def test_as_many_objects_are_in_flight_as_fit_into_memory(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_IMAGE_BYTES", "133000000")  # three of them are 400 MB
    crowd, fetch, handle = Crowd(3), Storage.fetch, Labeller.handle
    in_flight, most = 0, 0

    async def counted(*arguments: Any) -> Any:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        try:
            return await handle(*arguments)
        finally:
            in_flight -= 1

    monkeypatch.setattr(Storage, "fetch", lambda *arguments: crowd(fetch, *arguments))
    monkeypatch.setattr(Labeller, "handle", counted)

    assert service.invoke(uploads(service, 6)) == DONE

    assert (most, crowd.most) == (3, 3)
