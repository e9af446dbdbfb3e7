"""`make verify-cpus` from its arguments to table, cpus.json and exit status. test_runs measures with real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.cpus import VerifyError, plain, sysroot
from bench.cpus import __main__ as command
from bench.cpus.__main__ import CANNOT_RUN, OURS, PLAIN, TARGET_MISSED, main
from bench.cpus.compare import Run
from bench.cpus.machines import native
from bench.cpus.runs import Measurement
from ops.cli import INTERRUPTED
from tests.support import encoded, write_model
from tests.support import plain as plain_picture

NEON = "arm64-neon"
EXACT = 64 * 255 * 127


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest data set: 10, 5 and 5 pictures of each of two labels."""
    folder = tmp_path_factory.mktemp("data")
    for split, shade, count in (("train", 0, 10), ("validation", 50, 5), ("test", 100, 5)):
        for label, channel in (("red", 0), ("blue", 2)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                colour = [0, shade + number, 0]
                colour[channel] = 255
                picture = encoded(plain_picture((colour[0], colour[1], colour[2]), 8, 8))
                (folder / split / label / f"{number}.png").write_bytes(picture)
    return folder


class Machines:
    """Stands in for the processes: the answer is the picture's folder, except on `flipped`."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []
        self.flipped: str | None = None
        self.failure: BaseException | None = None

    def measure_all(self, measurements: Sequence[Measurement], probe: Path, answers: Path) -> list[Run]:
        assert probe.is_file()
        if self.failure:
            raise self.failure
        self.measurements = list(measurements)
        return [self._run(measurement) for measurement in measurements]

    def _run(self, measurement: Measurement) -> Run:
        answers = {}
        for path in measurement.photographs:
            right = 0.1 if measurement.machine.name == self.flipped else 0.9
            other = {"red": "blue", "blue": "red"}[path.parent.name]
            answers[str(path)] = {path.parent.name: right, other: 1 - right}
        return Run(measurement.model, measurement.machine, EXACT, "passes", answers)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machines:
    machines = Machines()
    monkeypatch.setattr(command, "require_tools", lambda: None)
    monkeypatch.setattr(command, "demo_inputs", dict)
    monkeypatch.setattr(command, "measure_all", machines.measure_all)
    monkeypatch.setattr(command, "this_machine", lambda: native("a CPU", vnni=True))
    monkeypatch.setattr(plain, "make", lambda _model, out: write_model(out, model_version="colour-1-plain"))
    monkeypatch.setattr(sysroot, "prepare", lambda folder: folder / "root/usr/bin/python3.11")
    monkeypatch.setattr(sysroot, "cpu_root", lambda folder, machine: folder / "cpus" / machine.name)
    return machines


@pytest.fixture
def run(machines: Machines, data: Path, tmp_path: Path) -> Callable[..., int]:
    model = write_model(tmp_path / "model")
    fixed = ["--model", str(model), "--data", str(data), "--out", str(tmp_path / "out")]
    return lambda *arguments: main([*fixed, *arguments])


def test_equal_answers_on_all_cpus_meet_the_target(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    printed = capsys.readouterr().out
    assert "10 test photographs on 5 CPUs, 2 models ..." in printed
    assert printed.count("passes") == 10  # a line for each CPU and model
    assert f"colour-1 gives the same answers on all CPUs; the figures are in {tmp_path}/out/cpus.json." in printed
    assert "saturates too" not in printed
    report = json.loads((tmp_path / "out/cpus.json").read_text("utf-8"))
    assert (report["model_version"], report["native"]) == ("colour-1", "a CPU, native, with VNNI")
    assert (report["target"]["met"], len(report["rows"])) == (True, 10)


def test_without_options_the_built_model_is_compared_on_forty_photographs(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(command, "run", lambda *arguments: given.extend(arguments) or 0)
    assert main(["--data", "pictures"]) == 0
    build = command.ROOT / "build"
    assert given == [build / "model", command.ROOT / "pictures", 40, build / "cpus"]


def test_every_cpu_is_emulated_by_its_name_and_rare_ones_get_fewer_photographs(
    run: Callable[..., int], machines: Machines, tmp_path: Path
) -> None:
    assert run("--photographs", "10") == 0
    started = {one.machine.name: (one.python[:-1], len(one.photographs)) for one in machines.measurements}
    roots = tmp_path / "out/arm64/cpus"
    assert started == {
        "native": ((), 10),
        "x86_64-avx2": (("qemu-x86_64", "-cpu", "Haswell"), 10),
        "arm64-dot": (("qemu-aarch64", "-cpu", "neoverse-n1", "-L", str(roots / "arm64-dot")), 10),
        "arm64-i8mm": (("qemu-aarch64", "-cpu", "max", "-L", str(roots / "arm64-i8mm")), 2),
        NEON: (("qemu-aarch64", "-cpu", "cortex-a57", "-L", str(roots / NEON)), 2),
    }


def test_only_the_asked_number_of_test_photographs_is_measured(run: Callable[..., int], machines: Machines) -> None:
    assert run("--photographs", "4") == 0
    photographs = machines.measurements[0].photographs
    assert sorted(path.parent.name for path in photographs) == ["blue", "blue", "red", "red"]
    assert {path.parent.parent.name for path in photographs} == {"test"}


def test_another_label_on_one_cpu_misses_the_target(
    run: Callable[..., int], machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.flipped = NEON
    assert run() == TARGET_MISSED == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("verify-cpus: colour-1 does not give the same answers everywhere")
    assert "gives the same answers" not in printed.out
    assert json.loads((tmp_path / "out/cpus.json").read_text("utf-8"))["target"]["met"] is False


def test_a_plain_model_is_made_once_and_compared(
    run: Callable[..., int], machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == run() == 0
    assert capsys.readouterr().out.count("building the same model with 8-bit kernels") == 1
    models = [one.model for one in machines.measurements]
    assert (models.count(OURS), models.count(PLAIN)) == (5, 5)


def test_a_native_cpu_that_saturates_is_pointed_out(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "this_machine", lambda: native("an old CPU", vnni=False))
    assert run() == 0
    assert "This CPU saturates too, so the plain model's native row is already wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (VerifyError("ours on a CPU: exit status 1"), CANNOT_RUN, "ours on a CPU: exit status 1"),
        (OSError(28, "No space left on device", "answers.jsonl"), CANNOT_RUN, "answers.jsonl: No space left on device"),
        (PermissionError(13, "Permission denied", "answers.jsonl"), CANNOT_RUN, "answers.jsonl: Permission denied"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted; the next run continues from here"),
    ],
)
def test_what_stops_the_measurement_is_reported_in_one_line(
    run: Callable[..., int],
    machines: Machines,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
    status: int,
    message: str,
) -> None:
    machines.failure = failure
    assert run() == status
    assert capsys.readouterr().err == f"verify-cpus: {message}\n"
