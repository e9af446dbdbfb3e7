"""What happens at once until the first label, and what waits for what."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from snapshot_restore_py import get_before_snapshot

from classify import app
from labeller.classifier import Classifier
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from labeller.storage import Storage
from tests.classify.conftest import Service
from tests.support import RED, colour_network, encoded, notification, plain, record, sqs_batch, write_model

DONE: dict[str, Any] = {"batchItemFailures": []}
SECONDS = 10  # for what never happens


def test_the_first_picture_is_fetched_and_runs_beside_the_self_check(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNX_THREADS", "2")
    has_run, check, predict = threading.Event(), Classifier.check_itself, Classifier.predict
    upload = sqs_batch(notification(service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")))

    def late(classifier: Classifier) -> float:
        assert has_run.wait(SECONDS), "the first picture waits for the self-check"
        return check(classifier)

    def observed(*arguments: Any) -> Any:
        predictions = predict(*arguments)
        has_run.set()
        return predictions

    monkeypatch.setattr(Classifier, "check_itself", late)
    monkeypatch.setattr(Classifier, "predict", observed)

    assert service.invoke(upload) == DONE
    assert service.tags("red.png")["image-label"] == "red"


def test_nothing_is_written_if_the_self_check_fails(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deleted = record("gone.png", event_name="ObjectRemoved:Delete", sequencer="0F")
    uploads = [service.upload("red.png", encoded(plain(RED))), service.upload("text.jpg", b"text, only"), deleted]
    golden = Manifest.from_file(write_model(tmp_path / "right") / MANIFEST_FILE).golden
    swapped = colour_network((8, 8), gain=-1 / 25.5)  # says blue of red
    monkeypatch.setenv("MODEL_DIR", str(write_model(tmp_path / "wrong", swapped, golden=golden)))

    with pytest.raises(ModelError, match="fails its self-check"):
        service.invoke(sqs_batch(*map(notification, uploads)))

    assert service.rows() == {}
    assert (service.tags("red.png"), service.tags("text.jpg")) == ({}, {})
    assert service.published() == []


def test_the_self_check_tells_how_long_the_network_takes(service: Service) -> None:
    seconds = app.get_ready_labeller().pace.seconds

    assert seconds is not None
    assert 0 < seconds < SECONDS


def test_tags_of_the_first_picture_are_read_ahead_though_the_self_check_ends_later_than_it_begins(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONNX_THREADS", "2")
    has_begun, are_read = threading.Event(), threading.Event()
    check, predict, read_tags = Classifier.check_itself, Classifier.predict, Storage.read_tags
    upload = sqs_batch(notification(service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")))

    def late_check(classifier: Classifier) -> float:
        assert has_begun.wait(SECONDS)
        return check(classifier)

    def late(*arguments: Any) -> Any:
        has_begun.set()
        assert are_read.wait(SECONDS), "the tags are read only after the network"
        return predict(*arguments)

    def observed(*arguments: Any) -> Any:
        tags = read_tags(*arguments)
        are_read.set()
        return tags

    monkeypatch.setattr(Classifier, "check_itself", late_check)
    monkeypatch.setattr(Classifier, "predict", late)
    monkeypatch.setattr(Storage, "read_tags", observed)

    assert service.invoke(upload) == DONE
    assert service.tags("red.png")["owner"] == "Ann"


def test_a_snapshot_holds_the_checked_model(service: Service) -> None:
    for function, arguments, options in get_before_snapshot():
        function(*arguments, **options)

    assert app.get_labeller.cache_info().currsize == 1
    assert app.get_labeller().self_check.done()


def test_no_snapshot_is_taken_of_a_model_that_fails_its_self_check(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Classifier) -> float:
        raise ModelError("fails its self-check")

    monkeypatch.setattr(Classifier, "check_itself", fails)

    for function, arguments, options in get_before_snapshot():
        with pytest.raises(ModelError, match="fails its self-check"):
            function(*arguments, **options)
    assert app.get_labeller.cache_info().currsize == 0
