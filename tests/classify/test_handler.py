from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from classify import app
from labeller.aws_errors import AwsFailure
from labeller.events import MalformedEvent
from labeller.manifest import MANIFEST_FILE, GoldenExample, Manifest, ModelError
from labeller.settings import SettingsError
from tests.classify.conftest import BUCKET, TABLE, Service
from tests.support import (
    BLUE,
    GREEN,
    GREY,
    RED,
    ROOT,
    TEST_EVENT,
    YELLOW,
    Printed,
    batch_job,
    colour_network,
    encoded,
    eventbridge_event,
    exif_orientation,
    notification,
    photo_like,
    plain,
    record,
    sns_envelope,
    sns_event,
    sqs_batch,
    write_familiar_model,
    write_model,
)

DONE: dict[str, Any] = {"batchItemFailures": []}


def failed(*messages: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": f"message-{number}"} for number in messages]}


# ---- the deployed path ------------------------------------------------------------------------------------


def test_an_uploaded_picture_is_tagged_and_recorded(service: Service) -> None:
    event = service.upload("red.png", encoded(plain(RED, 32, 24)))

    assert service.invoke(sqs_batch(notification(event))) == DONE

    assert service.tags("red.png") == {
        "image-label": "red",
        "image-label-confidence": "1.0000",
        "image-label-model": "colour-1",
    }
    row = service.rows()["red.png"]
    classified_at = row.pop("classified_at")
    assert row.pop("label_day").startswith(f"red#{classified_at[:10]}#")
    assert row == {
        "object": "uploads/red.png",
        "version": "null",
        "bucket": "uploads",
        "key": "red.png",
        "status": "LABELLED",
        "label": "red",
        "confidence": Decimal("1.000000"),  # 1 / (1 + exp(-20)), to six digits
        "scores": {"red": Decimal("1.000000"), "blue": Decimal("0.000000")},
        "model": "colour-1",
        "etag": service.s3.head_object(Bucket=BUCKET, Key="red.png")["ETag"].strip('"'),
        "size": Decimal(len(encoded(plain(RED, 32, 24)))),
        "width": Decimal(32),
        "height": Decimal(24),
        "format": "PNG",
        "sequencer": "0055AED6DCD90281E500000000000000",
        "event_time": "2026-11-24T08:00:00.000Z",
        "tagging": "WRITTEN",
    }
    assert classified_at.endswith("+00:00")


GZIPPED = gzip.compress(encoded(photo_like(64, 48), "PNG"))
# RFC 1952, 2.2: a file is a series of members; bgzip and others write one for each part.
MEMBERS = b"".join(gzip.compress(part) for part in (gzip.decompress(GZIPPED)[:1000], gzip.decompress(GZIPPED)[1000:]))


@pytest.mark.parametrize(
    ("data", "encoding", "result"),
    [
        (GZIPPED, "gzip", "PNG"),
        (GZIPPED, "aws-chunked,GZIP", "PNG"),
        (encoded(plain(RED)), "gzip", "PNG"),  # inflated by a client that left the header
        (GZIPPED, "", "NOT_AN_IMAGE"),
        (MEMBERS, "gzip", "PNG"),
        (MEMBERS + bytes(100), "gzip", "PNG"),  # padded, as on tapes
        (MEMBERS[: -len(MEMBERS) // 3], "gzip", "TRUNCATED"),
        (GZIPPED[: len(GZIPPED) // 2], "gzip", "TRUNCATED"),
        (GZIPPED[:10] + b"\xff" * 100, "gzip", "CORRUPT"),
        (gzip.compress(bytes(200_001)), "gzip", "TOO_LARGE"),  # the limit of these tests is 200,000 bytes
        (gzip.compress(bytes(100_000)) + gzip.compress(bytes(100_001)), "gzip", "TOO_LARGE"),
        (gzip.compress(bytes(200_000)), "gzip", "NOT_AN_IMAGE"),
        (gzip.compress(GZIPPED), "gzip", "NOT_AN_IMAGE"),  # a browser inflates once, and shows nothing
    ],
)
def test_a_picture_with_the_content_encoding_gzip_is_inflated_up_to_the_limit(
    service: Service, data: bytes, encoding: str, result: str
) -> None:
    service.s3.put_object(Bucket=BUCKET, Key="a.png", Body=data, ContentEncoding=encoding)

    assert service.invoke(sqs_batch(notification(record("a.png")))) == DONE

    row = service.rows()["a.png"]
    assert row.get("format", row.get("reason")) == result
    assert row["size"] == len(data)


def test_every_record_of_every_message_is_labelled(service: Service) -> None:
    records = [service.upload(f"{i}.png", encoded(plain(BLUE if i % 2 else RED))) for i in range(5)]

    assert service.invoke(sqs_batch(notification(*records[:3]), notification(*records[3:]))) == DONE

    labels = {key: row["label"] for key, row in service.rows().items()}
    assert labels == {"0.png": "red", "1.png": "blue", "2.png": "red", "3.png": "blue", "4.png": "red"}


@pytest.mark.parametrize(
    "key",
    [
        "my cat.png",
        "a+b=c.png",
        "100%25.png",
        "Kätzchen/猫 🐈.png",
        "2026/11/24/deep/er.png",
        "/leading//slashes.png",
        "no extension",
        "quote'\"&<>.png",
        "x" * 1020 + ".png",  # S3's limit: 1,024 bytes
    ],
)
def test_any_key_is_labelled_under_its_own_name(service: Service, key: str) -> None:
    event = service.upload(key, encoded(plain(BLUE)))

    assert service.invoke(sqs_batch(notification(event))) == DONE

    assert service.tags(key)["image-label"] == "blue"
    assert service.rows()[key]["object"] == f"uploads/{key}"


def test_a_low_confidence_is_unsure(service: Service) -> None:
    event = service.upload("grey.png", encoded(plain(GREY)))

    service.invoke(sqs_batch(notification(event)))

    assert service.tags("grey.png")["image-label"] == "UNSURE"
    assert service.tags("grey.png")["image-label-confidence"] == "0.5000"
    row = service.rows()["grey.png"]
    assert (row["status"], row["confidence"]) == ("UNSURE", Decimal("0.5"))


def test_the_threshold_of_the_environment_overrides_the_models(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIDENCE_THRESHOLD", "0.4")  # the model's is 0.9, the confidence in grey 0.5
    event = service.upload("grey.png", encoded(plain(GREY)))

    service.invoke(sqs_batch(notification(event)))

    assert service.rows()["grey.png"]["status"] == "LABELLED"


@pytest.fixture
def familiar(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The function with a model that recognises what it has never seen."""
    monkeypatch.setenv("MODEL_DIR", str(write_familiar_model(tmp_path / "familiar")))
    return service


def test_a_picture_unlike_anything_is_unknown_with_what_it_resembles_most(
    familiar: Service, printed: Callable[[], Printed]
) -> None:
    uploads = {"yellow.png": YELLOW, "green.png": GREEN, "red.png": RED}
    records = [familiar.upload(key, encoded(plain(colour))) for key, colour in uploads.items()]

    assert familiar.invoke(sqs_batch(*map(notification, records))) == DONE

    # Yellow is red with certainty, and green neither: both are unlike red and blue.
    assert [familiar.tags(key)["image-label"] for key in uploads] == ["UNKNOWN", "UNKNOWN", "red"]
    rows = familiar.rows()
    yellow = rows["yellow.png"]
    assert (yellow["status"], yellow["label"], yellow["familiarity"]) == ("UNKNOWN", "red", Decimal(0))
    assert yellow["nearest"][0] == {"path": "train/red/fire.jpg", "label": "red", "similarity": Decimal("0.75")}
    assert rows["red.png"]["familiarity"] == 1
    assert "nearest" not in rows["red.png"]
    for event in familiar.published():
        jsonschema.validate(event["detail"], SCHEMA)
        assert event["detail"]["familiarity"] == float(rows[event["detail"]["key"]]["familiarity"])
    output = printed()
    assert (output.metrics["Unknown"], output.metrics["Labelled"]) == (2, 1)
    (line,) = [line for line in output.logs if line.get("key") == "yellow.png"]
    assert (line["message"], line["label"], line["familiarity"]) == ("unknown", "red", 0)


@pytest.mark.parametrize(("threshold", "status"), [("0", "LABELLED"), ("0.6", "UNKNOWN")])
def test_the_operator_may_turn_unknown_off_or_choose_its_threshold(
    familiar: Service, monkeypatch: pytest.MonkeyPatch, threshold: str, status: str
) -> None:
    monkeypatch.setenv("FAMILIARITY_THRESHOLD", threshold)  # the model's is 0.25
    event = familiar.upload("orange.png", encoded(plain((255, 128, 0))))  # familiarity 1 - 128 / 255 = 0.498

    familiar.invoke(sqs_batch(notification(event)))

    assert familiar.rows()["orange.png"]["status"] == status


def test_a_function_invoked_directly_counts_an_unknown_picture_as_one_with_a_result(familiar: Service) -> None:
    event = familiar.upload("green.png", encoded(plain(GREEN)))

    assert familiar.invoke(notification(event)) == {"labelled": 1, "deleted": 0}


def test_the_test_event_and_folders_are_ignored(service: Service) -> None:
    service.s3.put_object(Bucket=BUCKET, Key="folder/", Body=b"")

    assert service.invoke(sqs_batch(TEST_EVENT, notification(record("folder/")))) == DONE
    assert service.rows() == {}


def test_each_version_has_its_own_row_and_tags(service: Service) -> None:
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = service.upload("k.png", encoded(plain(RED)))
    second = service.upload("k.png", encoded(plain(BLUE)))
    versions = [event["s3"]["object"]["versionId"] for event in (first, second)]

    assert service.invoke(sqs_batch(notification(first), notification(second))) == DONE

    assert [service.rows()[f"k.png@{version}"]["label"] for version in versions] == ["red", "blue"]
    labels = [service.tags("k.png", VersionId=version)["image-label"] for version in versions]
    assert labels == ["red", "blue"]


# ---- repeated and late events -----------------------------------------------------------------------------


def test_the_same_event_twice_leads_to_the_same_row_and_tags(service: Service) -> None:
    event = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")
    service.invoke(sqs_batch(notification(event)))
    first_row, first_tags = service.rows()["red.png"], service.tags("red.png")

    assert service.invoke(sqs_batch(notification(event), notification(event))) == DONE

    assert {**service.rows()["red.png"], "classified_at": ""} == {**first_row, "classified_at": ""}
    assert service.tags("red.png") == first_tags


def test_a_late_event_does_not_replace_the_row_of_a_later_one(service: Service, printed: Callable[[], Printed]) -> None:
    service.upload("k.png", encoded(plain(BLUE)))
    later, earlier = record("k.png", sequencer="0B"), record("k.png", sequencer="0A")

    assert service.invoke(sqs_batch(notification(later))) == DONE
    assert service.invoke(sqs_batch(notification(earlier))) == DONE

    assert service.rows()["k.png"]["sequencer"] == "0B".ljust(32, "0")
    assert printed().metrics == {"Labelled": 1, "Stale": 1}


def test_events_in_order_leave_the_row_of_the_last(service: Service) -> None:
    service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(record("k.png", sequencer="0A"))))
    service.upload("k.png", encoded(plain(BLUE)))
    service.invoke(sqs_batch(notification(record("k.png", sequencer="0B"))))

    assert service.rows()["k.png"]["label"] == "blue"


def test_an_object_deleted_before_the_fetch_is_counted_and_nothing_is_written(
    service: Service, printed: Callable[[], Printed]
) -> None:
    assert service.invoke(sqs_batch(notification(record("gone.png")))) == DONE

    assert service.rows() == {}
    assert printed().metrics == {"Gone": 1}


# ---- other people's tags ----------------------------------------------------------------------------------


def test_other_peoples_tags_survive(service: Service) -> None:
    event = service.upload("k.png", encoded(plain(RED)), tags="owner=Ann&image-label=old&project=x%2Fy")

    service.invoke(sqs_batch(notification(event)))

    tags = service.tags("k.png")
    assert (tags["owner"], tags["project"], tags["image-label"]) == ("Ann", "x/y", "red")
    assert len(tags) == 5


def test_with_ten_tags_of_others_the_row_says_there_was_no_room(service: Service) -> None:
    full = "&".join(f"k{i}=v" for i in range(10))
    event = service.upload("k.png", encoded(plain(RED)), tags=full)

    assert service.invoke(sqs_batch(notification(event))) == DONE

    assert service.tags("k.png") == {f"k{i}": "v" for i in range(10)}
    row = service.rows()["k.png"]
    assert (row["label"], row["tagging"]) == ("red", "NO_ROOM")


# ---- bad input --------------------------------------------------------------------------------------------

UNREADABLE = {
    "text.jpg": (b"This is a text that somebody renamed.", "NOT_AN_IMAGE"),
    "empty.jpg": (b"", "EMPTY"),
    "cut.jpg": (encoded(photo_like(), "JPEG")[:2000], "TRUNCATED"),
    "scan.jp2": (b"\x00\x00\x00\x0cjP  \r\n\x87\n....", "UNSUPPORTED"),
    "huge.png": (b"\x00" * 200_001, "TOO_LARGE"),
    "bomb.png": (encoded(plain(RED, 1001, 1000)), "TOO_MANY_PIXELS"),
}


@pytest.mark.parametrize("key", UNREADABLE)
def test_an_unreadable_object_is_recorded_with_its_reason_and_not_retried(service: Service, key: str) -> None:
    data, reason = UNREADABLE[key]
    event = service.upload(key, data, tags="owner=Ann")

    assert service.invoke(sqs_batch(notification(event))) == DONE

    assert service.tags(key) == {
        "owner": "Ann",
        "image-label": "UNREADABLE",
        "image-label-model": "colour-1",
    }
    row = service.rows()[key]
    assert (row["status"], row["reason"], row["size"]) == ("UNREADABLE", reason, len(data))
    assert row["detail"]
    assert "label" not in row


@pytest.mark.parametrize(
    ("key", "data", "label"),
    [
        ("pixel.png", encoded(plain(RED, 1, 1)), "red"),
        ("cmyk.jpg", encoded(plain(BLUE).convert("CMYK"), "JPEG"), "blue"),
        ("rotated.jpg", encoded(plain(RED, 32, 24), "JPEG", exif=exif_orientation(6)), "red"),
        (
            "animated.gif",
            encoded(plain(BLUE), "GIF", save_all=True, append_images=[plain(RED)] * 3, duration=50),
            "blue",
        ),
        ("named.txt", encoded(plain(BLUE), "WEBP"), "blue"),
    ],
    ids=["one pixel", "CMYK", "rotated", "animated", "misnamed"],
)
def test_odd_pictures_get_their_right_label(service: Service, key: str, data: bytes, label: str) -> None:
    event = service.upload(key, data)

    assert service.invoke(sqs_batch(notification(event))) == DONE

    assert service.tags(key)["image-label"] == label


def test_a_rotated_picture_is_recorded_with_the_size_it_is_displayed_with(service: Service) -> None:
    event = service.upload("r.jpg", encoded(plain(RED, 32, 24), "JPEG", exif=exif_orientation(6)))

    service.invoke(sqs_batch(notification(event)))

    assert (service.rows()["r.jpg"]["width"], service.rows()["r.jpg"]["height"]) == (24, 32)


@pytest.mark.parametrize("body", ["", "not json", "[]", "{}", '{"Records": [{"eventSource": "other"}]}'])
def test_a_message_that_is_not_a_notification_fails_alone(
    service: Service, printed: Callable[[], Printed], body: str
) -> None:
    good = service.upload("red.png", encoded(plain(RED)))

    assert service.invoke(sqs_batch(body, notification(good))) == failed(0)

    assert set(service.rows()) == {"red.png"}
    output = printed()
    assert output.metrics == {"Failed": 1, "Labelled": 1}
    (line,) = [line for line in output.logs if line["message"] == "malformed"]
    assert (line["level"], line["delivery_id"]) == ("ERROR", "message-0")
    assert line["error"]


def test_a_batch_in_which_every_message_fails_gets_an_answer(service: Service) -> None:
    assert service.invoke(sqs_batch("bad", "worse")) == failed(0, 1)


# ---- raw S3 notifications ---------------------------------------------------------------------------------


def test_a_raw_notification_is_labelled_too(service: Service) -> None:
    records = [service.upload("a.png", encoded(plain(RED))), service.upload("b.png", encoded(plain(BLUE)))]

    assert service.invoke(notification(*records)) == {"labelled": 2, "deleted": 0}
    assert {key: row["label"] for key, row in service.rows().items()} == {"a.png": "red", "b.png": "blue"}


def test_the_raw_test_event_labels_nothing(service: Service) -> None:
    assert service.invoke(TEST_EVENT) == {"labelled": 0, "deleted": 0}


def test_a_failure_in_a_raw_notification_is_raised_after_all_objects_were_handled(service: Service) -> None:
    good = service.upload("red.png", encoded(plain(RED)))
    bad = record("x.png", bucket="no-such-bucket")

    with pytest.raises(AwsFailure, match=r"GetObject for no-such-bucket/x\.png: NoSuchBucket"):
        service.invoke(notification(bad, good))

    assert set(service.rows()) == {"red.png"}


# ---- the other shapes -------------------------------------------------------------------------------------


def test_an_event_of_eventbridge_is_labelled(service: Service) -> None:
    service.upload("a b+c.png", encoded(plain(RED)))

    assert service.invoke(eventbridge_event("a b+c.png")) == {"labelled": 1, "deleted": 0}
    assert service.tags("a b+c.png")["image-label"] == "red"


def test_a_deletion_is_counted_as_one(service: Service) -> None:
    event = eventbridge_event("a.png", "Object Deleted", deletion="Permanently Deleted")
    assert service.invoke(event) == {"labelled": 0, "deleted": 1}
    assert service.rows()["a.png"]["status"] == "DELETED"


def test_an_object_that_is_gone_or_filtered_out_is_neither_labelled_nor_deleted(service: Service) -> None:
    assert service.invoke(notification(record("never.png"))) == {"labelled": 0, "deleted": 0}


def test_messages_of_a_topic_are_labelled_directly_and_through_a_queue(service: Service) -> None:
    direct, queued = (service.upload(f"{name}.png", encoded(plain(RED))) for name in ("direct", "queued"))

    assert service.invoke(sns_event(notification(direct))) == {"labelled": 1, "deleted": 0}
    assert service.invoke(sqs_batch(sns_envelope(notification(queued)))) == DONE
    assert set(service.rows()) == {"direct.png", "queued.png"}


def test_a_message_that_is_malformed_fails_alone_when_a_topic_calls(service: Service) -> None:
    good = service.upload("good.png", encoded(plain(RED)))

    with pytest.raises(MalformedEvent):
        service.invoke(sns_event({}, notification(good)))

    assert set(service.rows()) == {"good.png"}


@pytest.mark.parametrize("schema", ["1.0", "2.0"])
def test_each_task_of_batch_operations_has_its_result(service: Service, schema: str) -> None:
    service.upload("a b.png", encoded(plain(RED)))
    service.upload("text.png", b"text")
    event = batch_job("a+b.png", "text.png", "gone.png", "folder/", "%FF", schema=schema)
    event["tasks"].append({**event["tasks"][0], "taskId": "task-5", "s3BucketArn": "arn:aws:s3:::no-such-bucket"})
    event["tasks"][5].pop("s3Bucket", None)

    answer = service.invoke(event)

    results = {result["taskId"]: (result["resultCode"], result["resultString"]) for result in answer.pop("results")}
    assert answer == {
        "invocationSchemaVersion": schema,
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": "invocation-1",
    }
    assert results["task-0"] == ("Succeeded", "LABELLED")
    assert results["task-1"] == ("Succeeded", "UNREADABLE")
    assert results["task-2"] == ("Succeeded", "GONE")
    assert results["task-3"] == ("Succeeded", "a folder")
    assert results["task-4"][0] == "PermanentFailure"
    assert results["task-5"][0] == "TemporaryFailure"
    assert "NoSuchBucket" in results["task-5"][1]
    assert service.rows()["a b.png"]["label"] == "red"


def test_batch_operations_label_again_and_keep_the_rows_sequencer(service: Service) -> None:
    event = service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(event)))

    service.invoke(batch_job("k.png"))

    row = service.rows()["k.png"]
    assert (row["label"], row["sequencer"]) == ("red", "0055AED6DCD90281E500000000000000")


def test_without_a_version_the_current_one_is_labelled_and_recorded_by_its_name(service: Service) -> None:
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    service.upload("k.png", encoded(plain(RED)))
    second = service.s3.put_object(Bucket=BUCKET, Key="k.png", Body=encoded(plain(BLUE)))["VersionId"]

    service.invoke(batch_job("k.png"))

    assert {key: row["label"] for key, row in service.rows().items()} == {f"k.png@{second}": "blue"}
    assert service.tags("k.png", VersionId=second)["image-label"] == "blue"


# ---- deletions --------------------------------------------------------------------------------------------


def removed(key: str, sequencer: str, name: str = "ObjectRemoved:Delete", version_id: str | None = None) -> Any:
    return notification(record(key, sequencer=sequencer, event_name=name, version_id=version_id))


def test_a_deletion_marks_the_row_and_forgets_the_picture(service: Service, printed: Callable[[], Printed]) -> None:
    created = service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(created)))
    service.s3.delete_object(Bucket=BUCKET, Key="k.png")

    assert service.invoke(sqs_batch(removed("k.png", "0055AED6DCD90281E6"))) == DONE

    row = service.rows()["k.png"]
    assert row.pop("label_day").startswith("DELETED#")
    assert row.pop("classified_at")
    assert row == {
        "object": "uploads/k.png",
        "version": "null",
        "bucket": "uploads",
        "key": "k.png",
        "status": "DELETED",
        "sequencer": "0055AED6DCD90281E600000000000000",
        "event_time": "2026-11-24T08:00:00.000Z",
    }
    assert printed().metrics == {"Labelled": 1, "Deleted": 1}


def test_a_late_upload_event_does_not_restore_a_deleted_row(service: Service, printed: Callable[[], Printed]) -> None:
    service.invoke(sqs_batch(removed("k.png", "0B")))

    assert service.invoke(sqs_batch(notification(record("k.png", sequencer="0A")))) == DONE

    assert service.rows()["k.png"]["status"] == "DELETED"
    assert printed().metrics == {"Deleted": 1, "Gone": 1}


def test_a_late_deletion_does_not_change_the_row_of_a_later_upload(service: Service) -> None:
    service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(record("k.png", sequencer="0C"))))

    assert service.invoke(sqs_batch(removed("k.png", "0B"))) == DONE

    assert service.rows()["k.png"]["label"] == "red"


def test_a_delete_marker_has_its_own_row_and_the_version_below_keeps_its_own(service: Service) -> None:
    service.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    created = service.upload("k.png", encoded(plain(RED)))
    version = created["s3"]["object"]["versionId"]
    service.invoke(sqs_batch(notification(created)))
    marker = service.s3.delete_object(Bucket=BUCKET, Key="k.png")["VersionId"]

    service.invoke(sqs_batch(removed("k.png", "0C", "ObjectRemoved:DeleteMarkerCreated", marker)))

    rows = service.rows()
    assert (rows[f"k.png@{marker}"]["status"], rows[f"k.png@{marker}"]["reason"]) == ("DELETED", "DELETE_MARKER")
    assert rows[f"k.png@{version}"]["label"] == "red"

    service.s3.delete_object(Bucket=BUCKET, Key="k.png", VersionId=version)
    service.invoke(sqs_batch(removed("k.png", "0055AED6DCD90281E7", version_id=version)))

    assert service.rows()[f"k.png@{version}"]["status"] == "DELETED"


def test_a_deletion_without_a_sequencer_counts_if_the_object_is_gone(service: Service) -> None:
    created = service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(created)))
    event = eventbridge_event("k.png", "Object Deleted", deletion="Permanently Deleted", sequencer=None)

    service.invoke(event)
    assert service.rows()["k.png"]["status"] == "LABELLED"

    service.s3.delete_object(Bucket=BUCKET, Key="k.png")
    service.invoke(event)
    row = service.rows()["k.png"]
    assert (row["status"], row["sequencer"]) == ("DELETED", "0055AED6DCD90281E500000000000000")


def test_rows_of_deleted_objects_expire_like_others(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROW_TTL_DAYS", "1")

    service.invoke(sqs_batch(removed("k.png", "0B")))

    assert service.rows()["k.png"]["expires_at"] > 1_700_000_000


# ---- what is filtered -------------------------------------------------------------------------------------


def test_a_filtered_object_is_counted_without_a_call_to_aws(
    service: Service, monkeypatch: pytest.MonkeyPatch, printed: Callable[[], Printed]
) -> None:
    monkeypatch.setenv("KEY_PREFIX", "in/")
    monkeypatch.setenv("KEY_SUFFIXES", ".png,.jpg")
    wanted = service.upload("in/a.PNG", encoded(plain(RED)))
    others = [record(key, bucket="no-such-bucket") for key in ("a.png", "in/a.txt", "out/in/a.jpg")]
    others.append(record("a.png", event_name="ObjectRemoved:Delete"))

    assert service.invoke(sqs_batch(*map(notification, [wanted, *others]))) == DONE
    assert service.invoke(batch_job("b.png"))["results"][0]["resultString"] == "FILTERED"

    assert set(service.rows()) == {"in/a.PNG"}
    assert printed().metrics == {"Labelled": 1, "Filtered": 5}


# ---- what S3 does not hand out ----------------------------------------------------------------------------


def test_an_archived_object_is_unreadable(service: Service) -> None:
    service.s3.put_object(Bucket=BUCKET, Key="k.png", Body=encoded(plain(RED)), StorageClass="GLACIER")

    assert service.invoke(sqs_batch(notification(record("k.png")))) == DONE

    row = service.rows()["k.png"]
    assert (row["status"], row["reason"]) == ("UNREADABLE", "ARCHIVED")
    assert not {"etag", "size"} & set(row)
    assert row["tagging"] == "ARCHIVED"  # so moto has it; S3 itself lets archived objects be tagged


# ---- result events ----------------------------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "docs/image-classified.schema.json").read_text(encoding="utf-8"))


def test_each_result_event_matches_its_schema(service: Service) -> None:
    uploads = {"red.png": encoded(plain(RED)), "grey.png": encoded(plain(GREY)), "text.jpg": b"text"}
    records = [service.upload(key, data) for key, data in uploads.items()]

    service.invoke(sqs_batch(*map(notification, records)))

    events = service.published()
    rows = service.rows()
    assert {event["detail"]["key"] for event in events} == set(uploads)
    for event in events:
        assert (event["source"], event["detail-type"]) == ("image-labeller", "ImageClassified")
        detail = event["detail"]
        jsonschema.validate(detail, SCHEMA)
        assert set(detail) <= set(SCHEMA["properties"])
        row = rows[detail["key"]]
        for name in ("bucket", "version", "status", "label", "model", "reason", "etag", "sequencer", "tagging"):
            assert detail.get(name) == row.get(name)
        assert detail["time"] == row["classified_at"]
        assert detail.get("confidence") == (float(row["confidence"]) if "confidence" in row else None)


@pytest.mark.parametrize(
    ("change", "value"),
    [("status", "DELETED"), ("confidence", 1.5), ("key", ""), ("schema", 2), ("time", 17), ("surprise", 1)],
)
def test_the_schema_rejects_invalid_events(service: Service, change: str, value: Any) -> None:
    service.invoke(sqs_batch(notification(service.upload("red.png", encoded(plain(RED))))))
    (event,) = service.published()

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**event["detail"], change: value}, SCHEMA)


def test_an_event_that_changed_nothing_publishes_nothing(service: Service) -> None:
    service.upload("k.png", encoded(plain(RED)))
    service.invoke(sqs_batch(notification(record("k.png", sequencer="0B"))))
    assert len(service.published()) == 1

    service.invoke(sqs_batch(notification(record("k.png", sequencer="0A")), notification(record("gone.png"))))
    service.invoke(sqs_batch(removed("k.png", "0C")))

    assert service.published() == []


# ---- model and settings -----------------------------------------------------------------------------------


def test_without_its_model_the_whole_invocation_fails_with_the_reason(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "nowhere"))

    with pytest.raises(ModelError, match=r"nowhere/manifest\.json is missing"):
        service.invoke(sqs_batch(TEST_EVENT))


def test_loading_a_model_is_retried_after_a_failure(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "later"))
    with pytest.raises(ModelError):
        service.invoke(sqs_batch(TEST_EVENT))

    write_model(tmp_path / "later")

    assert service.invoke(sqs_batch(TEST_EVENT)) == DONE


def test_a_missing_setting_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESULTS_TABLE")

    with pytest.raises(SettingsError, match="RESULTS_TABLE"):
        service.invoke(sqs_batch(TEST_EVENT))


def test_a_broken_network_fails_the_message_rather_than_the_picture(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = colour_network((8, 8), gain=2e36)  # red's logits are beyond float32; grey's, which it is checked by, 0
    golden = GoldenExample.of(np.full((16, 16, 3), 128, np.uint8), (0, 0))
    monkeypatch.setenv("MODEL_DIR", str(write_model(tmp_path / "infinite", network, golden=golden)))
    event = service.upload("red.png", encoded(plain(RED)))

    assert service.invoke(sqs_batch(notification(event))) == failed(0)

    assert service.rows() == {}
    assert service.tags("red.png") == {}


def test_a_network_that_fails_its_self_check_labels_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    swapped = colour_network((8, 8), gain=-1 / 25.5)  # what it would say if red and blue were taken for each other
    golden = Manifest.from_file(write_model(tmp_path / "right") / MANIFEST_FILE).golden
    monkeypatch.setenv("MODEL_DIR", str(write_model(tmp_path / "wrong", swapped, golden=golden)))
    upload = sqs_batch(notification(service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")))

    # An exception, not a list of failures: Lambda then brings every message of the batch back to the queue.
    with pytest.raises(ModelError, match="fails its self-check"):
        service.invoke(upload)

    assert service.rows() == {}
    assert service.tags("red.png") == {"owner": "Ann"}

    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "right"))  # the right libraries are deployed; the message is retried
    assert service.invoke(upload) == DONE
    assert service.rows()["red.png"]["label"] == "red"


def test_settings_model_and_clients_are_made_once(service: Service) -> None:
    service.invoke(sqs_batch(TEST_EVENT))
    first = app.get_labeller()
    service.invoke(sqs_batch(TEST_EVENT))

    assert app.get_labeller() is first


def test_importing_the_handler_needs_neither_settings_nor_model_nor_region() -> None:
    code = "import gc, classify.app; print(gc.isenabled(), len(gc.get_objects()) < 10_000)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "functions"), "PATH": ""},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    # What was imported, over 50,000 objects, is not for the first collection of garbage to go through.
    assert done.stdout.split() == ["True", "True"]


# ---- what is logged and counted ---------------------------------------------------------------------------


def test_each_object_has_one_log_line_with_its_outcome(service: Service, printed: Callable[[], Printed]) -> None:
    records = [service.upload("red.png", encoded(plain(RED))), service.upload("text.jpg", b"text, only")]

    service.invoke(sqs_batch(notification(*records)))

    labelled, unreadable = [line for line in printed().logs if "key" in line]
    assert (labelled["message"], labelled["key"], labelled["label"]) == ("labelled", "red.png", "red")
    assert labelled["confidence"] == 1.0
    assert {"fetch_ms", "decode_ms", "inference_ms", "write_ms"} <= set(labelled)
    assert (unreadable["message"], unreadable["reason"]) == ("unreadable", "NOT_AN_IMAGE")
    assert "inference_ms" not in unreadable
    assert labelled["function_request_id"] == "b7c5d1f0-0000-4000-8000-000000000000"


def test_objects_are_counted_by_outcome_alone(
    service: Service, capsys: pytest.CaptureFixture[str], printed: Callable[[], Printed]
) -> None:
    records = [
        service.upload("red.png", encoded(plain(RED))),
        service.upload("grey.png", encoded(plain(GREY))),
        service.upload("text.jpg", b"text"),
        record("gone.png"),
        record("x.png", bucket="no-such-bucket"),
    ]

    assert service.invoke(sqs_batch(*map(notification, records))) == failed(4)

    output = printed()
    assert output.metrics == {"Labelled": 1, "Unsure": 1, "Unreadable": 1, "Gone": 1, "Failed": 1}
    groups = [g for line in output.lines for g in line.get("_aws", {}).get("CloudWatchMetrics", [])]
    dimensions = {name for group in groups for names in group["Dimensions"] for name in names}
    assert dimensions <= {"service", "function_name"}


def test_rows_expire_if_asked_to(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROW_TTL_DAYS", "1")
    event = service.upload("red.png", encoded(plain(RED)))

    service.invoke(sqs_batch(notification(event)))

    assert service.rows()["red.png"]["expires_at"] > 1_700_000_000


def test_the_tag_prefix_is_configurable(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG_PREFIX", "colour")
    event = service.upload("red.png", encoded(plain(RED)))

    service.invoke(sqs_batch(notification(event)))

    assert set(service.tags("red.png")) == {"colour", "colour-confidence", "colour-model"}


def test_the_table_is_the_one_of_the_settings(service: Service) -> None:
    assert service.table.name == TABLE
