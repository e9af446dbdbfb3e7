"""A contender in its process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.worker import Worker, WorkerError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "echo.log"


@pytest.fixture
def worker(log: Path) -> Iterator[Worker]:
    with Worker(Path(sys.prefix), "bench.echo_contender", [], log) as started:
        yield started


def test_a_contender_answers_about_every_picture_in_batches(worker: Worker, tmp_path: Path):
    worker.ask("answer", contender="adder", path=str(tmp_path / "logits.npy"), batch=2)
    pictures = np.arange(5 * 12).reshape(5, 4, 3)
    assert np.array_equal(np.load(tmp_path / "logits.npy"), pictures.sum(axis=1))


def test_a_timing_is_of_one_image(worker: Worker):
    found = worker.ask("time", contender="adder", batch=8, calls=3)  # more than there are pictures: they come again
    assert 0 < found["milliseconds"] < 1000
    assert 0 <= found["cpu_milliseconds"] < 1000


def test_what_libraries_print_goes_to_the_log(log: Path):
    with Worker(Path(sys.prefix), "bench.echo_contender", [], log) as worker:
        worker.ask("time", contender="adder", batch=1, calls=1)
        worker.ask("flush")
    assert "this is for the log" in log.read_text("utf-8")


def test_a_failure_is_told_and_the_contender_goes_on(worker: Worker, log: Path):
    with pytest.raises(WorkerError, match=r"ValueError: no such thing; more in .*echo\.log"):
        worker.ask("fail")
    assert "Traceback" in log.read_text("utf-8")
    worker.ask("time", contender="adder", batch=1, calls=1)


def test_a_contender_whose_environment_is_missing_is_told(log: Path, tmp_path: Path):
    with (
        pytest.raises(WorkerError, match=rf"there is no {tmp_path}/none/bin/python: `make bench` installs"),
        Worker(tmp_path / "none", "bench.echo_contender", [], log),
    ):
        pass


def test_a_contender_that_ended_is_told(worker: Worker):
    with pytest.raises(WorkerError, match=r"echo_contender ended; .*echo\.log says why"):
        worker.ask("die")
    with pytest.raises(WorkerError, match="ended"):
        worker.ask("fail")
