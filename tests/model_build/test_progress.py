"""Progress where no terminal shows a bar, and what native libraries print while they are imported."""

from __future__ import annotations

import os

import pytest

from model_build import progress
from model_build.progress import Stages, progress_bar, quiet_start


def test_a_stage_is_numbered_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages(total=2)
    for name in ("data", "head"):
        with stages.stage(name, f"the {name}"):
            pass
    assert list(stages.seconds) == ["data", "head"]
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["[1/2] data: the data", "      done in 0.0 s", "[2/2] head: the head", "      done in 0.0 s"]


def test_a_stage_names_a_folder_whatever_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with Stages(total=1).stage("data", "reading \x1b[2Jcaf\udce9"):
        pass
    assert capsys.readouterr().out.startswith("[1/1] data: reading \\x1b[2Jcaf\\udce9\n")


def test_the_seconds_of_a_stage_are_kept_with_two_decimals(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.344])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    stages = Stages(total=1)
    with stages.stage("data", "the data"):
        pass
    assert stages.seconds == {"data": 2.34}


def test_a_log_has_a_line_at_most_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 9.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    with progress_bar(100, "images") as advance:
        for _ in range(4):
            advance(11)
    assert capsys.readouterr().out.splitlines() == [
        "      22/100 images, 2.0 per second",
        "      44/100 images, 2.0 per second",
    ]


def test_what_is_written_to_standard_error_during_a_start_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_start():
        os.write(2, b"no GPU here\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_it_is_shown_if_the_start_fails(capfd: pytest.CaptureFixture[str]) -> None:
    @quiet_start()
    def start() -> None:
        os.write(2, b"a library is missing\n")
        raise ImportError

    with pytest.raises(ImportError):
        start()
    assert capfd.readouterr().err == "a library is missing\n"
