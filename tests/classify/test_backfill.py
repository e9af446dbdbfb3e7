"""Objects that are there already: tasks of S3 Batch Operations, and which of them are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest

from classify import app
from tests.classify.conftest import BUCKET, TABLE, Service
from tests.support import BLUE, RED, Printed, encoded, notification, plain, write_model


def job(*keys: str, only_stale: bool = False) -> dict[str, Any]:
    """An invocation as S3 sends it: user guide, "Invoke AWS Lambda function", schema 2.0."""
    return {
        "invocationSchemaVersion": "2.0",
        "invocationId": "invocation",
        "job": {"id": "job", "userArguments": {"onlyStale": "true" if only_stale else "false"}},
        "tasks": [
            {"taskId": f"task-{key}", "s3Key": quote_plus(key, safe="/"), "s3VersionId": None, "s3Bucket": BUCKET}
            for key in keys
        ],
    }


def results(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {result["taskId"]: (result["resultCode"], result["resultString"]) for result in answer["results"]}


def use_model(service: Service, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("MODEL_DIR", str(write_model(tmp_path / version, model_version=version)))
    app.get_labeller.cache_clear()


def test_a_label_of_the_current_model_is_skipped_without_downloading_the_object(
    service: Service, calls: list[str]
) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    calls.clear()
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "CURRENT")}
    assert calls == ["HeadObject", "GetItem"]


def test_without_only_stale_every_object_is_labelled_again(service: Service, calls: list[str]) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    calls.clear()
    assert results(service.invoke(job("a.png"))) == {"task-a.png": ("Succeeded", "LABELLED")}
    assert "GetObject" in calls


def test_an_object_that_was_never_labelled_is_stale(service: Service) -> None:
    service.upload("a.png", encoded(plain(RED)))
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "LABELLED")}
    assert service.tags("a.png")["image-label"] == "red"


def test_a_label_of_another_model_is_stale(service: Service, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    use_model(service, tmp_path, monkeypatch, "colour-2")
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "LABELLED")}
    assert service.rows()["a.png"]["model"] == service.tags("a.png")["image-label-model"] == "colour-2"


def test_a_label_of_earlier_content_is_stale(service: Service) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    service.upload("a.png", encoded(plain(BLUE)))
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "LABELLED")}
    assert service.rows()["a.png"]["label"] == "blue"


def test_an_object_whose_tags_were_denied_is_stale(service: Service) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    boto3.resource("dynamodb").Table(TABLE).update_item(
        Key={"object": f"{BUCKET}/a.png", "version": "null"},
        UpdateExpression="SET tagging = :denied",
        ExpressionAttributeValues={":denied": "DENIED"},
    )
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "LABELLED")}


def test_in_a_versioned_bucket_the_row_of_the_current_version_decides(service: Service) -> None:
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "CURRENT")}
    service.upload("a.png", encoded(plain(RED)))  # the same bytes, but a version that has no row
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "LABELLED")}
    assert len(service.rows()) == 2


def test_a_deleted_object_is_gone_rather_than_failed(service: Service) -> None:
    assert results(service.invoke(job("a.png", only_stale=True))) == {"task-a.png": ("Succeeded", "GONE")}


def test_the_result_of_a_concurrent_upload_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.upload("a.png", encoded(plain(RED)))
    storage = app.get_labeller().storage
    fetch = storage.fetch

    def fetch_and_be_overtaken(ref: Any, limit: int) -> Any:
        fetched = fetch(ref, limit)
        if not ref.sequencer:  # the backfill's; the upload's own event comes in between
            monkeypatch.setattr(type(storage), "fetch", lambda self, ref, limit: fetch(ref, limit))
            service.invoke(notification(service.upload("a.png", encoded(plain(BLUE)))))
        return fetched

    monkeypatch.setattr(type(storage), "fetch", lambda self, ref, limit: fetch_and_be_overtaken(ref, limit))
    service.invoke(job("a.png", only_stale=True))
    row = service.rows()["a.png"]
    assert (row["label"], service.tags("a.png")["image-label"]) == ("blue", "blue")
    assert row["sequencer"].startswith("0055AED6DCD90281E5")


def test_a_skipped_object_is_counted_and_logged(service: Service, printed: Callable[[], Printed]) -> None:
    service.upload("a.png", encoded(plain(RED)))
    service.invoke(job("a.png"))
    printed()
    service.invoke(job("a.png", only_stale=True))
    said = printed()
    assert said.metrics == {"Current": 1}
    assert (said.logs[-1]["message"], said.logs[-1]["key"]) == ("current", "a.png")
