"""What a machine lacks is named at the end of a run, and fails the gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest
from tests import needs

@pytest.fixture(scope="module")
def browser():
    needs.skip("pages", "install a browser")

def test_one(browser): ...
def test_other(browser): ...
def test_disk(): needs.skip("a full disk", "run as root")
def test_file_system(): pytest.skip("exchanged folders: another TMPDIR")
def test_that_runs(): ...
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """A function that runs tests with the plugin alone, which takes a tenth of the time of all installed ones."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(tests)
        return pytester.runpytest_inprocess("-p", "tests.needs", *options)

    return run


def test_a_run_ends_with_what_was_skipped_and_how_to_have_it_run(run: Callable[..., pytest.RunResult]) -> None:
    result = run(TESTS)
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines(
        [
            "*skipped, and how to have it run*",
            "a full disk (1 test): run as root",
            "exchanged folders (1 test): another TMPDIR",
            "pages (2 tests): install a browser",
        ],
        consecutive=True,
    )


def test_the_gate_fails_tests_whose_need_could_be_installed(run: Callable[..., pytest.RunResult]) -> None:
    result = run(TESTS, "--forbid-skips")
    # A failing fixture is an error, a failing test a failure. What nobody can install is still skipped.
    result.assert_outcomes(passed=1, errors=2, failed=1, skipped=1)
    reasons = ["--forbid-skips: pages: install a browser", "--forbid-skips: a full disk: run as root"]
    result.stdout.fnmatch_lines(reasons)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_run_without_skips_says_nothing_of_them(run: Callable[..., pytest.RunResult]) -> None:
    result = run("def test_that_runs(): ...", "--forbid-skips")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*how to have it run*")
