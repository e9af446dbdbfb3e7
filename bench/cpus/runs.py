"""The measurements: one process per model and CPU, as many at a time as there are cores.

Every answer is kept as it arrives, so a run that was cut short continues, and a finished one is not repeated.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.cpus import VerifyError, measure
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
"""Seconds without an answer after which a process is killed. At 224 pixels an emulated photograph takes some 10 s."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model on one CPU: the command that starts Python there, and the photographs to measure."""

    model: str  # for the table
    folder: Path  # of the model
    machine: Machine
    python: tuple[str, ...]
    path: tuple[Path, ...]  # PYTHONPATH
    photographs: tuple[Path, ...]

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.model} on {self.machine.title}"

    def key(self) -> str:
        """Hash of everything that decides the answers, apart from the photographs."""
        return key_of(
            (self.folder / MANIFEST_FILE).read_text("utf-8"),
            decoder_fingerprint(),
            source_of(*(module.__file__ for module in (classifier, manifest, measure))),
            [self.machine.cpu, self.machine.cpuinfo, version("onnxruntime")],
        )


def measure_natively(model: str, folder: Path, machine: Machine, photographs: Sequence[Path]) -> Measurement:
    """The measurement on this CPU, or on an emulated x86 one, with this Python."""
    # Resolved, because QEMU does not follow a virtual environment's link.
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
    """Run as many at a time as there are cores, with progress; keep answers in the folder `answers`.

    Raises VerifyError.
    """
    answers.mkdir(parents=True, exist_ok=True)
    total = sum(len(measurement.photographs) for measurement in measurements)
    with progress_bar(total, "answers") as advance, ThreadPoolExecutor(CORES) as pool:
        lock = threading.Lock()

        def count(answered: int) -> None:
            with lock:
                advance(answered)

        futures = [pool.submit(_measure, measurement, probe, answers, count) for measurement in measurements]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _measure(measurement: Measurement, probe: Path, answers: Path, advance: Callable[[int], object]) -> Run:
    model_version = Manifest.from_file(measurement.folder / MANIFEST_FILE).model_version
    path = answers / f"{model_version}-{measurement.machine.name}.jsonl"
    records = _read(path, measurement.key())
    kept = {record["photograph"] for record in records[1:]}
    missing = [photograph for photograph in measurement.photographs if str(photograph) not in kept]
    advance(len(measurement.photographs) - len(missing))
    if missing or not records:
        answering = _answers(measurement, probe, missing)
        try:
            records = [next(answering) | {"key": measurement.key()}, *records[1:]]
            with path.open("w", encoding="utf-8") as file:  # again, because the last line may have been cut short
                file.writelines(json.dumps(record) + "\n" for record in records)
                for record in answering:
                    print(json.dumps(record), file=file, flush=True)
                    records.append(record)
                    advance(1)
        finally:
            answering.close()  # ends the process
    scores = {record["photograph"]: record["scores"] for record in records[1:]}
    if lacking := [photograph for photograph in measurement.photographs if str(photograph) not in scores]:
        raise VerifyError(f"{measurement.title}: {len(lacking)} photographs without an answer")
    about, asked = records[0], {str(photograph): scores[str(photograph)] for photograph in measurement.photographs}
    familiarity = {record["photograph"]: record["familiarity"] for record in records[1:]}
    shares = {name: familiarity[name] for name in asked if familiarity[name] is not None}
    return Run(measurement.model, measurement.machine, about["sum_of_products"], about["self_check"], asked, shares)


def _read(path: Path, key: str) -> list[dict[str, Any]]:
    """The records of an earlier run with the same key: about the CPU, then about unchanged photographs."""
    try:
        lines = path.read_text("utf-8").split("\n")
        about, *records = [json.loads(line) for line in lines[:-1]]  # text after the last newline was cut short
    except (OSError, ValueError):
        return []
    return [about, *(record for record in records if _is_unchanged(record))] if about.get("key") == key else []


def _is_unchanged(record: Mapping[str, Any]) -> bool:
    try:
        return sha256_of(Path(record["photograph"])) == record["sha256"]
    except DataError:
        return False


def _answers(
    measurement: Measurement, probe: Path, photographs: Sequence[Path]
) -> Generator[dict[str, Any], None, None]:
    """The records that the process prints. Raises VerifyError if it fails or stops answering."""
    path = os.pathsep.join(map(str, measurement.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    program = ["-m", measure.__name__, str(measurement.folder), str(probe), *map(str, photographs)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*measurement.python, *program], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        stuck = threading.Event()

        def kill() -> None:
            stuck.set()
            process.kill()

        try:
            line = " "
            while line:  # until the process closes its output; then it has PATIENCE to end
                timer = threading.Timer(PATIENCE, kill)
                timer.start()
                try:
                    line = process.stdout.readline()
                    status = None if line else process.wait()
                finally:
                    timer.cancel()
                if line:
                    yield json.loads(line)
        finally:
            process.kill()  # if the caller has stopped reading
        if stuck.is_set() or status:
            errors.seek(0)
            output = errors.read().decode(errors="replace").strip()[-1500:]
            reason = f"no answer for {PATIENCE:g} s" if stuck.is_set() else f"exit status {status}"
            raise VerifyError(f"{measurement.title}: {reason}\n{output}")
