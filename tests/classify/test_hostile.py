"""Whatever the bytes: a row, and neighbours that do not notice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeller import decoder_process, inference
from tests.classify.conftest import Service
from tests.hostile import HOSTILE, IN_A_BATCH, WAYS, Replace, damaged_files
from tests.support import BLUE, RED, encoded, notification, plain, sqs_batch

DONE = {"batchItemFailures": []}
NEIGHBOURS = {
    f"{number}.{name}": (encoded(plain(colour), name), label)
    for number in range(2)
    for name in ("JPEG", "PNG", "TIFF", "GIF")
    for colour, label in [(RED, "red") if number else (BLUE, "blue")]
} | {"last.bmp": (encoded(plain(RED), "BMP"), "red")}


@pytest.mark.parametrize("way", IN_A_BATCH)
def test_of_ten_objects_one_ends_the_decoder_and_nine_are_labelled(
    service: Service, on_hostile: Replace, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    statement, reason = WAYS[way]
    on_hostile(statement)
    if way == "a stop":
        monkeypatch.setattr(inference, "decode", partial(decoder_process.decode, seconds=0.5))
    objects = {"hostile.tif": HOSTILE} | {key: data for key, (data, _) in NEIGHBOURS.items()}
    event = sqs_batch(*(notification(service.upload(key, data)) for key, data in objects.items()))

    assert service.invoke(event) == DONE

    rows = service.rows()
    assert {key: row["label"] for key, row in rows.items() if row["status"] == "LABELLED"} == {
        key: label for key, (_, label) in NEIGHBOURS.items()
    }
    row = rows["hostile.tif"]
    assert (row["status"], f"{row['reason']}: {row['detail']}") == ("UNREADABLE", reason)
    assert service.tags("hostile.tif")["image-label"] == "UNREADABLE"


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files=st.lists(damaged_files(), min_size=10, max_size=10))
def test_whatever_the_bytes_every_object_has_a_row_and_no_message_is_retried(
    service: Service, capfd: pytest.CaptureFixture[str], files: list[bytes]
) -> None:
    event = sqs_batch(*(notification(service.upload(str(number), data)) for number, data in enumerate(files)))

    assert service.invoke(event) == DONE

    rows = service.rows()
    assert {(rows[str(number)]["etag"], rows[str(number)]["size"]) for number in range(10)} == {
        (service.s3.head_object(Bucket="uploads", Key=str(number))["ETag"].strip('"'), len(data))
        for number, data in enumerate(files)
    }
    assert capfd.readouterr().err == ""
    for process in decoder_process._idle:
        status = Path(f"/proc/{process._process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) * 1024 < 512_000_000
