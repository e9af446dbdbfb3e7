"""A pytest plugin for tests that need what not every machine has: a browser, an emulator, another Python, root.

Such a test is skipped without it, and the run ends with what was skipped and how to have it run. With `--forbid-skips`,
as in .ci/run, the test fails instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import NoReturn

import pytest


class Missing(pytest.skip.Exception):
    """The skip of a test that this machine could run after an installation."""


def skip(what: str, how: str) -> NoReturn:
    """Skip the test of `what`. `how` says what to do to have it run."""
    raise Missing(f"{what}: {how}", _use_item_location=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="fail a test whose browser, emulator, ... is missing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("forbid_skips") and call.excinfo is not None and isinstance(call.excinfo.value, Missing):
        report.outcome, report.longrepr = "failed", f"--forbid-skips: {call.excinfo.value.msg}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # The reason follows the name of the exception: "Missing: arm64: install QEMU".
    reasons = Counter(report.longrepr[2].partition(": ")[2] for report in terminalreporter.getreports("skipped"))
    if reasons:
        terminalreporter.write_sep("=", "skipped, and how to have it run")
    for reason, count in sorted(reasons.items()):
        what, _, how = reason.partition(": ")
        terminalreporter.write_line(f"{what} ({count} test{'s' if count > 1 else ''}): {how}")
