"""Whatever the bytes: a row, and neighbours that do not notice."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from time import process_time

import psutil
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
        monkeypatch.setattr(inference, "FIRST_SECONDS", 0.2)
        monkeypatch.setattr(inference, "SECONDS", 0.7)
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


def test_whatever_many_objects_cost_their_neighbours_are_labelled_first(
    service: Service, on_hostile: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hostile("time.sleep(9)")
    monkeypatch.setattr(inference, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(inference, "SECONDS", 0.7)
    hostile = {f"hostile {number}.tif": HOSTILE for number in range(6)}
    neighbours = {key: NEIGHBOURS[key] for key in ("0.JPEG", "0.PNG", "0.TIFF", "0.GIF")}
    objects = hostile | {key: data for key, (data, _) in neighbours.items()}

    assert (
        service.invoke(sqs_batch(*(notification(service.upload(key, data)) for key, data in objects.items()))) == DONE
    )

    rows = service.rows()
    assert {rows[key]["reason"] for key in hostile} == {"TOO_COSTLY"}
    assert {key: rows[key]["label"] for key in neighbours} == {key: label for key, (_, label) in neighbours.items()}
    first = min(rows[key]["classified_at"] for key in hostile)
    assert [key for key in neighbours if rows[key]["classified_at"] > first] == []


# As many files as the environment names, in batches of ten.
BATCHES = int(os.environ.get("DAMAGED_FILES", "50")) // 10


@settings(max_examples=BATCHES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(files=st.lists(damaged_files(), min_size=10, max_size=10))
def test_whatever_the_bytes_every_object_has_a_row_and_no_message_is_retried(
    service: Service, capfd: pytest.CaptureFixture[str], files: list[bytes]
) -> None:
    event = sqs_batch(*(notification(service.upload(str(number), data)) for number, data in enumerate(files)))
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted anew; proc(5)
    memory, seconds = bytes_of("self", "VmRSS"), processor_seconds()

    assert service.invoke(event) == DONE

    rows = service.rows()
    assert {(rows[str(number)]["etag"], rows[str(number)]["size"]) for number in range(10)} == {
        (service.s3.head_object(Bucket="uploads", Key=str(number))["ETag"].strip('"'), len(data))
        for number, data in enumerate(files)
    }
    assert capfd.readouterr().err == ""
    assert processor_seconds() - seconds < 10  # allowed for one
    decoders = [process._process.pid for process in decoder_process._idle]
    for pid in decoders:
        assert bytes_of("self", "VmHWM") - memory + bytes_of(pid, "VmHWM") < 512_000_000


def bytes_of(pid: int | str, name: str) -> int:
    """Memory of a process, by its name in proc(5)."""
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{name}:")[2].split()[0]) * 1024


def processor_seconds() -> float:
    """Of this process, its decoder processes, and those that have ended."""
    decoders = [psutil.Process(process._process.pid).cpu_times() for process in decoder_process._idle]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process_time() + ended.ru_utime + ended.ru_stime + sum(times.user + times.system for times in decoders)
