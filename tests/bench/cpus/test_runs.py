"""The measurements with real processes: this Python, and emulated ones if QEMU is installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cpus import VerifyError, plain, runs, sysroot
from bench.cpus.compare import compare
from bench.cpus.machines import EMULATED, Machine
from bench.cpus.runs import Measurement, measure_all, measure_natively, measure_on_arm64
from layers import PackagingError
from tests import needs
from tests.support import BLUE, RED, ROOT, encoded, write_familiar_model, write_model
from tests.support import plain as plain_picture

HERE = Machine("native", "this CPU", "x86_64")
EMULATORS = "install QEMU (Debian: apt-get install qemu-user)"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    return plain.write_probe(tmp_path / "probe.onnx")


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "red.png", tmp_path / "ein blaues\nBild.png"]
    for path, colour in zip(paths, (RED, BLUE), strict=True):
        path.write_bytes(encoded(plain_picture(colour)))
    return paths


def measured(model: Path, probe: Path, photographs: Sequence[Path], machine: Machine = HERE) -> runs.Run:
    (run,) = measure_all([measure_natively("ours", model, machine, photographs)], probe, probe.parent / "answers")
    return run


def test_every_photograph_has_the_functions_answer(model: Path, probe: Path, photographs: list[Path]) -> None:
    run = measured(model, probe, photographs)
    labels = [max(scores, key=lambda label: scores[label]) for scores in run.answers.values()]
    assert dict(zip(run.answers, labels, strict=True)) == {str(photographs[0]): "red", str(photographs[1]): "blue"}
    assert run.self_check == "passes"
    assert run.sum_of_products in (64 * 255 * 127, 32 * 32767)  # exact, or all pairs saturated


def test_the_familiarity_is_measured_too(tmp_path: Path, probe: Path, photographs: list[Path]) -> None:
    run = measured(write_familiar_model(tmp_path / "familiar"), probe, photographs)
    assert run.familiarity == {str(path): 1.0 for path in photographs}  # red and blue: no green


def test_answers_are_kept_and_only_missing_ones_are_measured(
    model: Path, probe: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Path]] = []
    answers = runs._answers

    def recording(measurement: Measurement, probe: Path, missing: Sequence[Path]):
        asked.append(list(missing))
        return answers(measurement, probe, missing)

    monkeypatch.setattr(runs, "_answers", recording)
    first = measured(model, probe, photographs[:1])
    (kept,) = (probe.parent / "answers").iterdir()
    kept.write_text(kept.read_text() + '{"photograph": "cut sho')  # the process was killed
    both = measured(model, probe, photographs)
    again = measured(model, probe, photographs)
    assert asked == [photographs[:1], photographs[1:]]
    assert again == both
    assert both.answers[str(photographs[0])] == first.answers[str(photographs[0])]


def test_answers_of_another_model_are_not_used(model: Path, probe: Path, photographs: list[Path]) -> None:
    before = measured(model, probe, photographs[:1])
    write_model(model, temperature=10.0)
    assert measured(model, probe, photographs[:1]).answers != before.answers


def test_an_answer_about_a_changed_photograph_is_not_used(model: Path, probe: Path, photographs: list[Path]) -> None:
    red, _ = photographs
    before = measured(model, probe, photographs)
    red.write_bytes(encoded(plain_picture(BLUE)))
    after = measured(model, probe, photographs)
    assert after.answers[str(red)] != before.answers[str(red)]
    assert after.answers[str(red)] == after.answers[str(photographs[1])]


def test_the_output_of_a_failed_process_is_shown(model: Path, probe: Path, photographs: list[Path]) -> None:
    photographs[1].unlink()
    with pytest.raises(VerifyError, match=r"(?s)ours on this CPU: exit status 1.*ein blaues"):
        measured(model, probe, photographs)


def test_a_process_that_stops_answering_is_killed(
    model: Path, probe: Path, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PATIENCE", 0.5)
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text("import time; time.sleep(60)")
    measurement = measure_natively("ours", model, HERE, photographs)
    stuck = replace(measurement, python=(sys.executable, str(sleeper)))
    with pytest.raises(VerifyError, match=r"ours on this CPU: no answer for 0\.5 s"):
        measure_all([stuck], probe, tmp_path / "answers")


@pytest.fixture
def emulated_photographs(drawn_data: Path) -> list[Path]:
    return sorted((drawn_data / "test" / "day").iterdir())[:2]


@pytest.mark.slow
def test_an_emulated_cpu_without_vnni_saturates_and_our_model_gives_the_same_answers(
    built: Path, emulated_photographs: list[Path], probe: Path
) -> None:
    if shutil.which("qemu-x86_64") is None:
        needs.skip("x86 without VNNI", EMULATORS)
    haswell = measured(built, probe, emulated_photographs, EMULATED[0])
    assert haswell.sum_of_products == 32 * 32767  # VPMADDUBSW: 32 pairs at the end of 16 bits
    row = compare(measured(built, probe, emulated_photographs), haswell)
    assert (row.photographs, row.within_target, row.self_check) == (2, True, "passes")


@pytest.fixture
def arm64() -> Path:
    """The folder of an arm64 Python with the layer's libraries. `make verify-cpus` shares it; it is made once."""
    if missing := [tool for tool in ("qemu-aarch64", "apt-get", "dpkg-deb") if shutil.which(tool) is None]:
        needs.skip("arm64", EMULATORS if missing == ["qemu-aarch64"] else "run on Debian or Ubuntu")
    folder = ROOT / "build" / "cpus" / "arm64"
    try:
        sysroot.prepare(folder)
    except (VerifyError, PackagingError) as error:
        needs.skip("arm64", f"give apt and pip a network and sources with arm64: {str(error).splitlines()[0]}")
    return folder


@pytest.mark.slow
def test_an_emulated_arm64_adds_exactly_and_our_model_gives_the_same_answers(
    built: Path, arm64: Path, emulated_photographs: list[Path], probe: Path
) -> None:
    (graviton2,) = (machine for machine in EMULATED if machine.name == "arm64-dot")
    python, root = sysroot.prepare(arm64), sysroot.cpu_root(arm64, graviton2)
    there = measure_on_arm64("ours", built, graviton2, emulated_photographs, python, arm64 / "site", root)
    (run,) = measure_all([there], probe, probe.parent / "answers")
    assert run.sum_of_products == 64 * 255 * 127
    row = compare(measured(built, probe, emulated_photographs), run)
    assert (row.architecture, row.photographs, row.within_target, row.self_check) == ("aarch64", 2, True, "passes")
