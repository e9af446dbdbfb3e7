"""The measurements: one process for each model and CPU, as many at a time as there are cores. Every answer is kept as
it comes, so a run that was cut short goes on where it stopped, and one that is finished is not repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from bench.cpus import measure
from bench.cpus.compare import Run
from bench.cpus.machines import Machine
from labeller import classifier, manifest
from labeller.manifest import MANIFEST_FILE, Manifest
from layers import ROOT
from layers.size import FUNCTIONS
from model_build.cache import key_of, source_of
from model_build.data.folders import DataError, sha256_of
from model_build.data.reader import CORES, decoder_fingerprint
from model_build.progress import progress_bar

PATIENCE = 300.0
"""Seconds without an answer after which an emulator is given up. At 224 pixels a photograph takes some 10 s."""

Answer = TypeVar("Answer")


class MeasurementError(Exception):
    """A process ended before it had answered, or stopped answering; the message ends with its last words."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model on one CPU: the command that starts Python there, and what to ask it."""

    model: str  # for the table
    folder: Path  # of the model
    machine: Machine
    python: tuple[str, ...]
    path: tuple[Path, ...]  # PYTHONPATH
    photographs: tuple[Path, ...]

    def key(self) -> str:
        """Hash of all that the answers depend on, but for the photographs."""
        return key_of(
            (self.folder / MANIFEST_FILE).read_text("utf-8"),
            decoder_fingerprint(),
            source_of(*(module.__file__ for module in (classifier, manifest, measure))),
            [self.machine.cpu, self.machine.cpuinfo, version("onnxruntime")],
        )


def measure_natively(model: str, folder: Path, machine: Machine, photographs: Sequence[Path]) -> Measurement:
    """The measurement on this CPU, or on an emulated x86 one, with this Python."""
    # Resolved, for QEMU runs a file and follows no virtual environment.
    python = (str(Path(sys.executable).resolve()),)
    emulator = ("qemu-x86_64", "-cpu", machine.cpu) if machine.cpu else ()
    path = (FUNCTIONS, ROOT, Path(sysconfig.get_path("purelib")))
    return Measurement(model, folder, machine, emulator + python, path, tuple(photographs))


def measure_on_arm64(
    model: str, folder: Path, machine: Machine, photographs: Sequence[Path], python: Path, site: Path, root: Path
) -> Measurement:
    """The measurement on an emulated arm64 CPU, with the `python` and libraries of `sysroot.prepare`."""
    emulator = ("qemu-aarch64", "-cpu", str(machine.cpu), "-L", str(root), str(python))
    return Measurement(model, folder, machine, emulator, (FUNCTIONS, ROOT, site), tuple(photographs))


def measure_all(measurements: Sequence[Measurement], probe: Path, answers: Path) -> list[Run]:
    """Run them side by side, showing progress; answers are kept in the folder `answers`. Raises MeasurementError."""
    answers.mkdir(parents=True, exist_ok=True)
    total = sum(len(each.photographs) for each in measurements)
    with progress_bar(total, "answers") as advance, ThreadPoolExecutor(CORES) as pool:
        lock = threading.Lock()

        def count(answered: int) -> None:
            with lock:
                advance(answered)

        waiting = [pool.submit(_measure, each, probe, answers, count) for each in measurements]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _measure(each: Measurement, probe: Path, answers: Path, advance: Callable[[int], object]) -> Run:
    kept = answers / f"{Manifest.from_file(each.folder / MANIFEST_FILE).model_version}-{each.machine.name}.jsonl"
    about, known = _read(kept, each)
    missing = [path for path in each.photographs if str(path) not in known]
    advance(len(each.photographs) - len(missing))
    if about is None or missing:
        with kept.open("w", encoding="utf-8") as file:

            def keep(record: dict[str, Any]) -> None:
                print(json.dumps(record, ensure_ascii=True), file=file, flush=True)

            if about is not None:  # anew, for the last line may have been cut short
                keep(about)
                for record in known.values():
                    keep(record)
            for record in _ask(each, probe, missing):
                if "photograph" in record:
                    known[record["photograph"]] = record
                    keep(record)
                    advance(1)
                elif about is None:
                    about = {"key": each.key(), **record}
                    keep(about)
    lacking = [path for path in each.photographs if str(path) not in known]
    if about is None or lacking:
        raise MeasurementError(f"{each.model} on {each.machine.title}: {len(lacking)} photographs without an answer")
    asked = {str(path): known[str(path)]["scores"] for path in each.photographs}
    return Run(each.model, each.machine, about["sum_of_products"], about["self_check"], asked)


def _read(kept: Path, each: Measurement) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """The head of an earlier run, if it was of the same model, code and CPU, and its answers about photographs that are
    what they were, by path."""
    try:
        lines = kept.read_text("utf-8").split("\n")
        head, *records = [json.loads(line) for line in lines[:-1]]  # what follows the last newline was cut short
    except (OSError, ValueError):
        return None, {}
    if head.get("key") != each.key():
        return None, {}
    return head, {record["photograph"]: record for record in records if _unchanged(record)}


def _unchanged(record: Mapping[str, Any]) -> bool:
    try:
        return sha256_of(Path(record["photograph"])) == record["sha256"]
    except DataError:
        return False


def _ask(each: Measurement, probe: Path, photographs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """What the process prints, record by record. Raises MeasurementError where it fails or falls silent."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, each.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [*each.python, "-m", measure.__name__, str(each.folder), str(probe)]
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
        asked.write("".join(f"{json.dumps(str(path))}\n" for path in photographs).encode())
        asked.seek(0)
        process = subprocess.Popen(
            command, env=environment, stdin=asked, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            process.kill()

        lines = cast("IO[str]", process.stdout)
        try:
            while line := _within(PATIENCE, lines.readline, give_up):
                yield json.loads(line)
            _within(PATIENCE, process.wait, give_up)
        finally:
            process.kill()  # where the caller has stopped listening
            status = process.wait()
            lines.close()
        if silent.is_set() or status != 0:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip()[-1500:]
            how = f"no answer for {PATIENCE:g} s" if silent.is_set() else f"exit status {status}"
            raise MeasurementError(f"{each.model} on {each.machine.title}: {how}\n{words}")


def _within(seconds: float, wait: Callable[[], Answer], give_up: Callable[[], None]) -> Answer:
    """What `wait` returns; after `seconds`, `give_up` is called to make it return."""
    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        return wait()
    finally:
        timer.cancel()
