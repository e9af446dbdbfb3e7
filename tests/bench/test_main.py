"""`make bench` from its options to the parts' arguments, table, bench.json and exit status. No part is measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import sources
from bench.sources import Sources, run_part
from tests.support import write_model

Run = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built model; no demo was run, and the output folder is the test's own."""
    for module in (command, sources):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "OUT", tmp_path / "build/bench")
    monkeypatch.setattr(sources, "DEMO_INPUTS", tmp_path / "none.json")
    (tmp_path / "pictures").mkdir()
    return write_model(tmp_path / "model", build={"weights": "random"})


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The arguments of each part that is run. A part fails unless its result is set."""
    parts: dict[str, list[str]] = {}

    def run(part: str, arguments: Sequence[str]) -> dict[str, Any]:
        parts[part] = list(arguments)
        return {"error": "no openvino here"}

    monkeypatch.setattr(command, "run", run)
    return parts


@pytest.fixture
def bench(model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bench", "--model", str(model), *arguments])
        return command.main()

    return run


def test_every_option_reaches_every_part(bench: Run, parts: dict[str, list[str]], model: Path, tmp_path: Path) -> None:
    bench("--data", str(tmp_path / "pictures"), "--weights", "imagenet", "--threads", "3", "--rounds", "5", "--quick")
    common = [f"--model={model}", f"--data={tmp_path / 'pictures'}", "--weights=imagenet", "--threads=3", "--rounds=5"]
    common.append("--quick")
    assert set(parts) == set(command.PARTS)
    assert parts.pop("handler") == ["--batch", "10", "--megapixels", "12", *common]  # the last of its batches
    assert list(parts.values()) == [common] * len(parts)


def test_only_the_named_parts_are_run(bench: Run, parts: dict[str, list[str]]) -> None:
    bench("--only", "scaling", "build", "--data", "pictures")
    assert list(parts) == ["scaling", "build"]


def test_a_part_that_cannot_be_measured_is_named_in_the_table_and_fails_the_command(
    bench: Run, parts: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--only", "inference", "--data", "pictures", "--quick") == 1
    printed = capsys.readouterr()
    assert "no openvino here" in printed.out
    assert "QUICK: too few rounds for figures" in printed.out
    assert "Written to build/bench/bench.json and table.txt" in printed.out
    assert printed.err == "-- inference ...\n"
    written = json.loads((tmp_path / "build/bench/bench.json").read_text("utf-8"))
    assert (written["model"]["version"], written["quick"]) == ("colour-1", True)
    assert written["inference"] == {"error": "no openvino here"}
    assert (tmp_path / "build/bench/table.txt").read_text("utf-8").strip() in printed.out


def test_a_part_without_a_result_is_reported_with_its_last_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build/bench").mkdir(parents=True)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/__init__.py").touch()
    (tmp_path / "bench/failing.py").write_text("import sys\nsys.exit('some notice\\nerror: no weights')\n")
    (tmp_path / "bench/silent.py").write_text("raise SystemExit(0)\n")
    stale = tmp_path / "build/bench/silent.json"
    stale.write_text('{"milliseconds": 1}')
    assert command.run("failing", []) == {"error": "no weights"}
    assert command.run("silent", []) == {"error": "it ended without a message"}  # the earlier result does not count


def handler_row(photographs: int, megapixels: int | None, decoding: float) -> dict[str, Any]:
    ways = {"bare": {"cpu_milliseconds": {"median": 30.0}}, "handler": {"cpu_milliseconds": {"median": 41.5}}}
    return {"photographs": photographs, "megapixels": megapixels, "side": 224, "decode_cpu_ms": decoding, **ways}


def test_the_cost_model_gets_the_times_of_the_typical_batch() -> None:
    rows = [handler_row(1, None, 9.0), handler_row(10, 12, 90.0), handler_row(10, None, 7.25), {"error": "x"}]
    # 41.5 - 30 - 7.25 are left for everything but inference and decoding.
    expected = {"side": 224, "inference_vcpu_ms": 30.0, "decode_vcpu_ms": 7.25, "overhead_vcpu_ms": 4.25}
    assert command.image({"handler": rows}) == expected
    both = {"milliseconds": {"both": {"median": 12.5}}}
    assert command.image({"handler": rows, "glance": both}) == expected | {"inference_vcpu_ms": 12.5}
    assert command.image({"handler": rows, "glance": {"error": "no glance network"}}) == expected
    assert command.image({"handler": rows[:2]}) == {}
    assert command.image({}) == {}


@pytest.mark.parametrize("with_json", [False, True])
def test_a_part_prints_its_table_and_writes_its_results_where_it_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_json: bool
) -> None:
    asked: list[tuple[int, bool, int]] = []
    results = {"part": "scaling", "error": "measured"}

    def measure(given: Sources, options: argparse.Namespace) -> dict[str, Any]:
        asked.append((given.threads, given.quick, options.batch))
        return results

    path = tmp_path / "results.json"
    arguments = ["--model", str(model), "--data", "pictures", "--threads", "2", "--quick", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", ["bench.error", *arguments, *(["--json", str(path)] if with_json else [])])
    assert run_part("error", measure, add_arguments=lambda parser: parser.add_argument("--batch", type=int)) == 0
    assert asked == [(2, True, 4)]
    assert "measured" in capsys.readouterr().out
    assert (json.loads(path.read_text("utf-8")) if with_json else path.exists()) == (results if with_json else False)


def test_a_part_that_fails_is_one_line_and_a_status(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> dict[str, Any]:
        raise sources.BenchError("no photographs to enlarge")

    monkeypatch.setattr(sys, "argv", ["bench.error", "--model", str(model), "--data", "pictures"])
    assert run_part("error", measure) == 1
    assert capsys.readouterr().err == "error: no photographs to enlarge\n"
