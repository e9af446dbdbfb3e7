"""A contender in its process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.worker import Worker, WorkerError

CONTENDER = "tests.bench.echo_contender"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "echo.log"


@pytest.fixture
def worker(log: Path, tmp_path: Path) -> Iterator[Worker]:
    np.save(tmp_path / "pixels.npy", np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3))
    with Worker(Path(sys.prefix), CONTENDER, {"pixels": str(tmp_path / "pixels.npy")}, log) as started:
        yield started


def test_a_contender_gives_the_logits_of_every_picture_in_batches(worker: Worker):
    logits = worker.ask("logits", contender="adder", batch=2)
    assert np.array_equal(logits, np.arange(5 * 12).reshape(5, 4, 3).sum(axis=1))


def test_facts_are_those_of_the_contender(worker: Worker):
    assert set(worker.ask("facts")["given"]) == {"pixels"}


def test_a_timing_is_of_one_image(worker: Worker):
    timing = worker.ask("time", contender="adder", batch=8, calls=3)  # more than there are pictures: they are repeated
    assert 0 < timing["milliseconds"] < 1000
    assert 0 <= timing["cpu_milliseconds"] < 1000


def test_output_of_libraries_goes_to_the_log(worker: Worker, log: Path):
    worker.ask("time", contender="adder", batch=1, calls=1)
    assert "this is for the log" in log.read_text("utf-8")


def test_a_failure_is_reported_and_the_contender_goes_on(worker: Worker, log: Path):
    with pytest.raises(WorkerError, match=r"ValueError: no such thing; more in .*echo\.log"):
        worker.ask("logits", contender="failing", batch=1)
    assert "Traceback" in log.read_text("utf-8")
    worker.ask("time", contender="adder", batch=1, calls=1)


def test_a_missing_environment_is_reported(log: Path, tmp_path: Path):
    with (
        pytest.raises(WorkerError, match=rf"there is no {tmp_path}/none/bin/python: `make bench` installs"),
        Worker(tmp_path / "none", CONTENDER, {}, log),
    ):
        pass


def test_a_contender_that_ended_is_reported(worker: Worker):
    with pytest.raises(WorkerError, match=r"echo_contender ended; .*echo\.log says why"):
        worker.ask("logits", contender="dying", batch=1)
    with pytest.raises(WorkerError, match="ended"):
        worker.ask("facts")
