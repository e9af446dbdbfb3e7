"""Run tests against mutants. This process imports what the tests need from other projects; every run is a fork of it.

A fork saves the seconds that those imports take. It replaces the mutated module at its import, so no file changes. A
process that a test starts imports the module as it is on disk.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import pytest

from tests.mutants.mutant import Mutant

PYTEST = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not slow"]

# Limits of a mutant, beside the time that the tests take without one. Processor time ends a loop without end, and is
# the same on a busy machine; wall time ends a wait for what never comes.
CPU_FACTOR, CPU_SECONDS = 3, 10
WALL_FACTOR, WALL_SECONDS = 5, 60
MEMORY = 8 << 30  # bytes; a loop without end may also fill a list


class MutantLoader(importlib.machinery.SourceFileLoader):
    """Loads a module with the mutant's source in place of its file's."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.file))
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the mutant."""
        return compile(self.mutant.source, self.path, "exec", dont_inherit=True)

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """For sys.meta_path."""
        if name != self.mutant.module:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)


@dataclass(frozen=True, slots=True)
class Run:
    """How the tests ended."""

    passed: bool
    wall: float  # seconds
    cpu: float  # seconds of the process that runs the tests and of those that it has waited for
    output: str
    timed_out: bool = False  # ended at a limit of time

    @property
    def limits(self) -> tuple[float, float]:
        """Seconds of processor and wall time for a mutant, where this is the run without one."""
        return CPU_SECONDS + CPU_FACTOR * self.cpu, WALL_SECONDS + WALL_FACTOR * self.wall


def run_tests(tests: Sequence[str], folder: Path, mutant: Mutant | None = None, unmutated: Run | None = None) -> Run:
    """Run pytest on `tests` in a fork, with the mutant in place of its module. `folder` takes files of the run.

    The first run, without a mutant, tells which modules of other projects to import for the next ones.
    """
    output, modules = folder / "output.txt", folder / "modules.json"
    cpu_limit, wall_limit = unmutated.limits if unmutated else (None, None)
    started, used = time.monotonic(), _cpu_of_children()
    arguments = ([*PYTEST, *tests], mutant, output, modules, cpu_limit)
    process = multiprocessing.get_context("fork").Process(target=_run_pytest, args=arguments)
    process.start()
    try:
        process.join(wall_limit)
        waits = process.exitcode is None
    finally:
        process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # and what tests have left behind
    process.join()
    used = _cpu_of_children() - used
    if not mutant and process.exitcode == 0:
        _import_all(json.loads(modules.read_text()))
    return Run(
        passed=process.exitcode == 0,
        wall=time.monotonic() - started,
        cpu=used,
        output=output.read_text(errors="replace"),
        timed_out=waits or (cpu_limit is not None and process.exitcode == -signal.SIGKILL and used > cpu_limit - 1),
    )


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run_pytest(tests: list[str], mutant: Mutant | None, output: Path, modules: Path, cpu_limit: float | None) -> None:
    os.setsid()
    sys.stdout = sys.stderr = output.open("w", encoding="utf-8")
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    os.environ.pop("PYTEST_ADDOPTS", None)  # it may name options of plugins that are not loaded here
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    if cpu_limit:
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_limit), int(cpu_limit)))
    if mutant:
        sys.meta_path.insert(0, MutantLoader(mutant))
    status = int(pytest.main(tests))
    if not mutant:
        modules.write_text(json.dumps(_installed_modules()))
    sys.stdout.flush()
    os._exit(status)  # without waiting for threads that a mutant has left waiting


def _installed_modules() -> list[str]:
    """The imported modules of the environment, in the order of their import."""
    return [
        name
        for name, module in list(sys.modules.items())
        if (getattr(module, "__file__", None) or "").startswith((sys.prefix, sys.base_prefix))
    ]


def _import_all(names: list[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # the tests import it then, or not at all
                importlib.import_module(name)
