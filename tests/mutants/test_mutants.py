"""`make mutants` on a small module with tests of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.mutants import __main__ as command
from tests.mutants import mutant as mutants
from tests.mutants import run
from tests.mutants.mutant import Mutant, deciding_tests, equivalent, file_of

SOURCE = '''"""Prices."""

CHEAP = 5


def total(prices):
    result = 0
    for price in prices:
        result += price
    return result


def cheap(price):
    return price < CHEAP
'''

TESTS = """
import prices


def test_total():
    assert prices.total([1, 2]) == 3


def test_cheap():
    assert prices.cheap(1)
"""


@pytest.fixture
def tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """pytest's arguments for the tests of the module `prices`."""
    (tmp_path / "prices.py").write_text(SOURCE)
    (tmp_path / "test_prices.py").write_text(TESTS)
    monkeypatch.syspath_prepend(tmp_path)
    return ["--confcutdir", str(tmp_path), "--rootdir", str(tmp_path), str(tmp_path / "test_prices.py")]


def changed(folder: Path, before: str, after: str) -> Mutant:
    assert SOURCE.count(before) == 1
    return Mutant("prices", folder / "prices.py", SOURCE.replace(before, after))


# ---- runs -------------------------------------------------------------------------------------------------


def test_options_of_the_run_around_it_do_not_reach_its_pytest(
    tests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--forbid-skips")
    assert run.run_tests(tests, tmp_path).passed


def test_a_mutant_dies_if_a_test_fails_with_it_and_its_file_stays_as_it_is(tests: list[str], tmp_path: Path) -> None:
    unmutated = run.run_tests(tests, tmp_path)
    assert unmutated.passed, unmutated.output

    killed = run.run_tests(tests, tmp_path, changed(tmp_path, "result += price", "result -= price"), unmutated)
    survivor = run.run_tests(tests, tmp_path, changed(tmp_path, "< CHEAP", "<= CHEAP"), unmutated)

    assert not killed.passed
    assert not killed.timed_out
    assert "1 failed" in killed.output
    assert survivor.passed, survivor.output
    assert (tmp_path / "prices.py").read_text() == SOURCE


def test_a_mutant_that_cannot_be_imported_dies(tests: list[str], tmp_path: Path) -> None:
    mutant = changed(tmp_path, "CHEAP = 5", "CHEAP = None + 5")

    assert not run.run_tests(tests, tmp_path, mutant).passed


def test_a_mutant_that_hangs_is_ended_after_the_time_limit(
    tests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "WALL_SECONDS", 0.2)
    hangs = changed(tmp_path, "result = 0", "import time; time.sleep(100)")

    ended = run.run_tests(tests, tmp_path, hangs, run.Run(True, 0, 0, ""))

    assert not ended.passed
    assert ended.timed_out
    assert ended.wall < 50


def test_a_mutant_gets_a_multiple_of_the_processor_time_that_the_tests_take_without_it(
    tests: list[str], tmp_path: Path
) -> None:
    check = "import resource; assert resource.getrlimit(resource.RLIMIT_CPU) == (22, 22)"
    mutant = changed(tmp_path, "CHEAP = 5", f"CHEAP = 5; {check}")

    assert run.run_tests(tests, tmp_path, mutant, run.Run(True, wall=4, cpu=4, output="")).passed


# ---- the list ---------------------------------------------------------------------------------------------


def test_a_change_is_known_by_its_lines_wherever_they_are(tmp_path: Path) -> None:
    file, moved = tmp_path / "prices.py", tmp_path / "moved.py"
    file.write_text(SOURCE)
    moved.write_text("import os\n" + SOURCE)

    mutant = Mutant("prices", file, SOURCE.replace("< CHEAP", "<= CHEAP"))
    later = Mutant("prices", moved, "import os\n" + mutant.source)

    assert mutant.change == later.change == ("return price < CHEAP", "return price <= CHEAP")
    assert mutant.name == later.name


def test_every_module_and_test_of_the_list_exists() -> None:
    for module, arguments in deciding_tests().items():
        assert file_of(module).is_file(), module
        files = [name.partition("::")[0] for name in arguments if name.startswith("tests/")]
        assert [name for name in files if not (mutants.ROOT / name).exists()] == []


def test_every_equivalent_mutant_of_the_list_has_a_reason_and_its_line_is_still_there() -> None:
    for (module, line, mutant), reason in equivalent().items():
        source = "\n".join(text.strip() for text in file_of(module).read_text(encoding="utf-8").splitlines())
        assert line in source, (module, line)
        assert mutant != line
        assert len(reason.split()) >= 3, (module, line)


# ---- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def answers(tests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on `prices`, whose three mutants mutmut would give: one dies, one survives, one is equivalent."""
    sources = [
        SOURCE.replace("result += price", "result = price"),
        SOURCE.replace("< CHEAP", "<= CHEAP"),
        SOURCE.replace("result = 0", "result = 0.0"),
    ]
    (tmp_path / "answer.json").write_text(json.dumps({"total": 7, "sources": sources}))
    program = tmp_path / "mutmut"
    program.write_text(f"#!/bin/sh\ncat '{tmp_path}/answer.json'\n")
    program.chmod(0o755)
    (tmp_path / "list.toml").write_text(
        f"[tests]\nprices = {json.dumps(tests)}\n"
        "[[equivalent]]\nmodule = 'prices'\nline = 'result = 0'\nmutant = 'result = 0.0'\nreason = 'equal numbers'\n"
    )
    monkeypatch.setattr(command, "MUTMUT", program)
    monkeypatch.setattr(command, "OUT", tmp_path / "out")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "file_of", lambda _module: tmp_path / "prices.py")
    monkeypatch.setattr(mutants, "LIST", tmp_path / "list.toml")


@pytest.mark.usefixtures("answers")
def test_the_command_prints_the_rate_and_each_survivor_and_fails_below_the_goal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = command.main([])

    lines = capsys.readouterr().out.splitlines()
    assert status == command.BELOW_GOAL
    assert lines[0].startswith("prices                           .S= 1 of 2 die (50.0%), 1 equivalent, 7 in all, ")
    assert lines[-1] == "1 of 2 die (50.0%), 1 equivalent. Goal: 95%"
    assert lines[lines.index("-    return price < CHEAP") + 1] == "+    return price <= CHEAP"
    (patch,) = (tmp_path / "out").glob("*.diff")
    assert [line for line in lines if line.startswith(f"git apply out/{patch.name} && .venv/bin/pytest ")]
    assert subprocess.run(["patch", "-p1", "prices.py", patch], cwd=tmp_path, capture_output=True).returncode == 0
    assert "<= CHEAP" in (tmp_path / "prices.py").read_text()


@pytest.mark.parametrize(("killed", "status"), [(18, command.BELOW_GOAL), (19, 0)])
def test_the_goal_is_that_95_percent_die(answers: None, tmp_path: Path, killed: int, status: int) -> None:
    survivor = changed(tmp_path, "< CHEAP", "<= CHEAP")
    (tmp_path / "out").mkdir()

    assert command.report({"prices": command.Score(killed, survivors=[survivor])}, {"prices": []}) == status


@pytest.mark.usefixtures("answers")
def test_a_mutant_that_meets_the_time_limit_is_counted_apart_and_its_diff_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([run.Run(True, 1, 1, ""), run.Run(False, 65, 1, "", timed_out=True), run.Run(False, 1, 1, "")])
    monkeypatch.setattr(command, "run_tests", lambda *_: next(ends))

    assert command.main([]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("prices                           T.= 2 of 2 die (100.0%) (1 at the time limit), ")
    (patch,) = (tmp_path / "out").glob("*.diff")
    assert "+        result = price" in patch.read_text().splitlines()
    assert f"time limit: out/{patch.name}" in lines


@pytest.mark.usefixtures("answers")
def test_no_mutant_is_tested_if_the_tests_fail_without_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "prices.py").write_text(SOURCE.replace("+=", "-="))

    assert command.main([]) == command.CANNOT_RUN
    assert "the tests of prices fail without a mutant" in capsys.readouterr().err


@pytest.mark.usefixtures("answers")
def test_a_run_that_is_out_of_time_has_not_met_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--minutes", "0"]) == command.CANNOT_RUN
    assert "out of time in module 0 of 1: set MINUTES" in capsys.readouterr().err


@pytest.mark.usefixtures("answers")
def test_modules_are_chosen_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--modules", "labeller.*"]) == command.CANNOT_RUN
    assert "no module matches labeller.*" in capsys.readouterr().err


# ---- mutmut's operators -----------------------------------------------------------------------------------


MUTATED = '''
LIMIT: int = 3
Item = TypeVar("Item")
Pair = tuple[str, "Item"]
__all__ = ["check", "Row"]

def check(value: str | None, path, names) -> bool:
    """Whether one is more."""
    if value is None:
        raise ValueError("no value", 1)
    logger.info("value", extra=1)
    text = path.read_text(encoding="utf-8")
    path.write_text(text, "utf-8")
    pairs = zip(names, text, strict=True)
    parser = Parser(description=__doc__, add_help=True)
    error = Refused(f"not {value}", len(names))
    return len(names) > LIMIT

class Row:
    @property
    def key(self):
        return self.bucket + "/"
'''


def test_constants_and_properties_are_mutated_and_wording_and_types_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not command.MUTMUT.exists():
        needs.skip("the operators of `make mutants`", "make .venv-mutants/ready")
    file = tmp_path / "module.py"
    file.write_text(MUTATED)
    monkeypatch.setattr(command, "file_of", lambda _module: file)

    total, sample = command.sample_of("module", 1000, "0")
    changes = [mutant.change for mutant in sample]

    assert total == len(changes)
    assert {before for before, _ in changes} == {
        "LIMIT: int = 3",
        "if value is None:",
        'text = path.read_text(encoding="utf-8")',
        'path.write_text(text, "utf-8")',
        "pairs = zip(names, text, strict=True)",
        "parser = Parser(description=__doc__, add_help=True)",
        'error = Refused(f"not {value}", len(names))',
        "return len(names) > LIMIT",
        'return self.bucket + "/"',
    }
    assert ("LIMIT: int = 3", "LIMIT: int = 4") in changes
    assert ("pairs = zip(names, text, strict=True)", "pairs = zip(names, text)") not in changes
    assert [after for before, after in changes if "encoding" in before] == ["text = None"]
    assert ('path.write_text(text, "utf-8")', 'path.write_text(None, "utf-8")') in changes
    assert ('path.write_text(text, "utf-8")', "path.write_text(text, )") not in changes
    assert [after for before, after in changes if "description" in before and "add_help" not in after] == [
        "parser = None",
        "parser = Parser(description=__doc__, )",
    ]
    assert ('error = Refused(f"not {value}", len(names))', "error = Refused(None, len(names))") not in changes
    assert ('error = Refused(f"not {value}", len(names))', 'error = Refused(f"not {value}", )') in changes

    total, sample = command.sample_of("module", 3, "1")
    assert total == len(changes)
    assert len({mutant.change for mutant in sample} & set(changes)) == 3
