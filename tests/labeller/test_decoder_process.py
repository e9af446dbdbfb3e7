from __future__ import annotations

import ast
import os
import signal
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeller import decoder_process, images, jpeg
from labeller.decoder_process import DecoderError, TooSlow, decode
from labeller.images import Reason, Unreadable
from labeller.signatures import SUPPORTED
from local import ROOT
from tests.hostile import HOSTILE, IN_A_BATCH, TIFF, WAYS, Replace
from tests.support import encoded, photo_like, plain

LIMIT = 10**6  # pixels


def pids() -> list[int]:
    return [process._process.pid for process in decoder_process._idle]


def outcome(data: bytes, max_pixels: int = LIMIT, **options: Any) -> Any:
    """What was decoded, or the Unreadable."""
    try:
        return decode(data, (4, 4), max_pixels, **options)
    except Unreadable as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (MemoryError(), Reason.TOO_COSTLY, images.TOO_MUCH_MEMORY),
        (Unreadable(Reason.CORRUPT, "bad scan"), Reason.CORRUPT, "bad scan"),
    ],
)
def test_the_process_answers_with_the_reason_and_its_detail(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: Reason, detail: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(images, "decode", fail)
    with open(os.devnull) as nothing:
        answer = decoder_process._answer(b"", (4, 4), LIMIT, nothing.fileno())
    assert answer == ({"reason": reason, "detail": detail}, b"")


def test_the_documents_name_the_limits_of_time() -> None:
    limits = f"{decoder_process._PROCESSOR_SECONDS} s of processor time, {decoder_process.SECONDS:g} s in all"
    assert f"decoding takes more than {limits}" in (ROOT / "docs/results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SUPPORTED)
def test_both_processes_decode_the_same_pixels(name: str) -> None:
    data = encoded(photo_like(40, 30), name)
    here, there = images.decode(data, (6, 10), LIMIT), decode(data, (6, 10), LIMIT)
    assert (there.pixels == here.pixels).all()
    assert (there.width, there.height, there.format) == (here.width, here.height, here.format) == (40, 30, name)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_ordinary_pictures_start_no_process(name: str, on_hostile: Replace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_DecoderProcess", lambda: pytest.fail("a process was started"))
    assert decode(encoded(photo_like(), name), (4, 4), LIMIT).width == 160


def test_what_is_no_picture_starts_no_process(on_hostile: Replace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_DecoderProcess", lambda: pytest.fail("a process was started"))
    reasons = [outcome(data).reason for data in (b"", b"text", b"8BPS")]
    assert reasons == [Reason.EMPTY, Reason.NOT_AN_IMAGE, Reason.UNSUPPORTED]


def test_how_much_of_a_damaged_jpeg_is_whole_is_looked_up_in_a_process(
    on_hostile: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hostile("pass")
    monkeypatch.setattr(jpeg, "whole_part", lambda _: pytest.fail("this process, and its other threads, would wait"))
    data = encoded(photo_like(), "JPEG")

    assert decode(data[:-20] + data[-2:], (4, 4), LIMIT).width == 160
    assert outcome(data[: len(data) // 5] + data[-2:]).reason is Reason.CORRUPT
    assert len(pids()) == 1


def test_the_reason_comes_from_the_process() -> None:
    error = outcome(TIFF[:200])
    assert isinstance(error, Unreadable)
    assert error.reason is Reason.TRUNCATED
    assert error.detail.startswith("TIFF: ")


@pytest.mark.parametrize("way", sorted({*WAYS} - {*IN_A_BATCH}))
def test_what_ends_a_decoder_is_the_reason(on_hostile: Replace, way: str) -> None:
    statement, reason = WAYS[way]
    on_hostile(statement)
    error = outcome(HOSTILE, seconds=0.5 if way == "waiting" else 9)
    assert str(error) == reason
    assert isinstance(error, TooSlow if way in ("waiting", "a stop") else Unreadable)
    assert pids() == []


FAXES = {name: encoded(photo_like(320, 400).convert("1"), "TIFF", compression=name) for name in ("group3", "group4")}


def damaged(name: str, length: int) -> bytes:
    """A fax with other bytes in its middle."""
    data = FAXES[name]
    middle = len(data) // 2
    return data[:middle] + np.random.default_rng(2).bytes(length) + data[middle + length :]


@pytest.mark.parametrize("name", FAXES)
def test_a_fax_of_which_many_rows_are_damaged_is_corrupt(name: str) -> None:
    assert outcome(damaged(name, 8000)).reason is Reason.CORRUPT
    assert outcome(FAXES[name]).width == 320  # nothing is left of the one before


def test_a_fax_of_which_a_row_is_damaged_is_read() -> None:
    assert outcome(damaged("group3", 20)).width == 320


@pytest.mark.parametrize("compression", [2, 3, 4, 32771])  # modified Huffman, groups 3 and 4, modified Huffman in words
@pytest.mark.parametrize("rows", [2_000, 60_000])
def test_garbage_is_no_fax_whatever_the_number_of_its_rows(compression: int, rows: int) -> None:
    fields = {256: 1500, 257: rows, 258: 1, 259: compression, 262: 0, 273: 200, 277: 1, 278: rows, 279: 1024}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    header = b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + directory

    assert outcome(header.ljust(200, b"\0") + bytes(range(256)) * 4, 10**8).reason is Reason.CORRUPT


def test_a_process_is_kept(on_hostile: Replace) -> None:
    on_hostile("raise Unreadable(Reason.CORRUPT, 'damaged')")
    decode(TIFF, (4, 4), LIMIT)
    first = pids()
    assert outcome(HOSTILE).detail == "damaged"
    assert decode(TIFF, (4, 4), LIMIT).width == 24
    assert pids() == first


def test_a_process_that_ended_between_pictures_is_replaced_and_no_picture_blamed(on_hostile: Replace) -> None:
    on_hostile("pass")
    decode(TIFF, (4, 4), LIMIT)
    (first,) = pids()
    os.kill(first, signal.SIGKILL)
    assert decode(TIFF, (4, 4), LIMIT).width == 24
    assert pids() != [first]


def test_a_process_that_pictures_leave_memory_in_is_replaced(on_hostile: Replace) -> None:
    on_hostile("left.append(bytearray(65_000_000))")
    decode(TIFF, (4, 4), LIMIT)
    (first,) = pids()
    assert decode(HOSTILE, (4, 4), LIMIT).width == 24
    decode(TIFF, (4, 4), LIMIT)
    assert pids() != [first]


def test_every_thread_has_its_own_process(on_hostile: Replace) -> None:
    on_hostile("pass")
    pictures = [encoded(plain((200, 0, 50), 10 + number, 8), "BMP") for number in range(20)]
    with ThreadPoolExecutor(2) as threads:
        widths = [decoded.width for decoded in threads.map(lambda data: decode(data, (4, 4), LIMIT), pictures)]
    assert widths == list(range(10, 30))
    assert len(pids()) <= 2


def test_the_process_gets_no_secrets_no_open_files_and_no_log(
    on_hostile: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")  # where Lambda has a layer's libraries in C
    with open(__file__):
        environment, files = ask(
            on_hostile,
            "(sorted(os.environ), {n: os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]})",
        )
    assert [name for name in environment if name.startswith("AWS")] == []
    assert "LD_LIBRARY_PATH" in environment
    assert files["1"] == "/dev/null"
    own = {number: name for number, name in files.items() if name.startswith("pipe")}
    assert set(own) == set(files) - {"1"} == {"0", "2", "3", "4"}
    assert own["2"] == own["4"]  # what libraries print is read in the process itself


def test_the_process_finds_our_code_wherever_this_one_found_it(
    on_hostile: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the working folder, '' in the path, is the one with the code.
    monkeypatch.setattr(sys, "path", ["", *(folder for folder in sys.path if Path(folder).name != "functions")])

    assert decode(TIFF, (4, 4), LIMIT).width == 24


def test_the_process_imports_neither_the_network_nor_aws(on_hostile: Replace) -> None:
    modules = ask(on_hostile, "sorted({name.partition('.')[0] for name in sys.modules})")
    assert {"PIL", "labeller", "numpy"} <= set(modules)
    assert {"onnxruntime", "boto3", "botocore", "aws_lambda_powertools", "asyncio"}.isdisjoint(modules)


def ask(on_hostile: Replace, expression: str) -> Any:
    """The value of an expression in the decoder process."""
    on_hostile(f"raise Unreadable(Reason.CORRUPT, repr({expression}))")
    return ast.literal_eval(outcome(HOSTILE).detail)


def test_a_mistake_of_ours_is_not_the_pictures(on_hostile: Replace) -> None:
    on_hostile("undefined")
    with pytest.raises(DecoderError, match="NameError: name 'undefined' is not defined"):
        decode(HOSTILE, (4, 4), LIMIT)
    assert pids() == []


def test_a_process_that_does_not_start_is_not_the_pictures_fault(
    on_hostile: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_process, "_PROGRAM", "import missing_library")
    with pytest.raises(DecoderError, match="before it was ready"):
        decode(TIFF, (4, 4), LIMIT)
