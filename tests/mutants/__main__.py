"""Changes the code in one place at a time and lists the changes that no test notices: `make mutants`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from local import ROOT
from tests.mutants.mutant import Mutant, deciding_tests, equivalent, file_of
from tests.mutants.run import run_tests

GOAL = 0.95  # of the mutants that are not equivalent
BELOW_GOAL, CANNOT_RUN, INTERRUPTED = 1, 2, 130  # exit statuses
MUTMUT = ROOT / ".venv-mutants" / "bin" / "python"
OUT = ROOT / "build" / "mutants"


class MutantsError(Exception):
    """The mutants cannot be tested; the message says why."""


@dataclass
class Score:
    """What became of a module's mutants."""

    killed: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    timed_out: list[Mutant] = field(default_factory=list)  # of the killed, those that met a limit of time

    @property
    def tested(self) -> int:
        """The number of mutants that are not equivalent."""
        return self.killed + len(self.survivors)

    @property
    def rate(self) -> float:
        """Share of the mutants that die, of those that are not equivalent."""
        return self.killed / self.tested if self.tested else 1.0

    def __str__(self) -> str:
        late = f" ({len(self.timed_out)} at the time limit)" if self.timed_out else ""
        return f"{self.killed} of {self.tested} die ({self.rate:.1%}){late}, {self.equivalent} equivalent"


def main(arguments: list[str] | None = None) -> int:
    """Test a sample of the mutants; returns 0 if enough of them die, 1 if not, 2 if they cannot be tested."""
    parser = argparse.ArgumentParser("tests.mutants", description=__doc__)
    parser.add_argument("--modules", nargs="*", default=["*"], help="patterns of modules, as 'labeller.*' [all]")
    parser.add_argument("--sample", type=int, default=10, help="mutants of a module [10]")
    parser.add_argument("--seed", default="0", help="another seed takes another sample [0]")
    parser.add_argument("--minutes", type=int, default=60, help="limit of the whole run [60]")
    options = parser.parse_args(arguments)
    # Hypothesis then draws the same examples in every run, knows no deadline and stores nothing.
    os.environ |= {"CI": "true", "TF_CPP_MIN_LOG_LEVEL": "3"}
    tests = deciding_tests()
    modules = [name for name in tests if any(fnmatch.fnmatch(name, pattern) for pattern in options.modules)]
    if not modules:
        print(f"mutants: no module matches {' '.join(options.modules)}", file=sys.stderr)
        return CANNOT_RUN
    OUT.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    scores: dict[str, Score] = {}
    try:
        for module in modules:
            if time.monotonic() < end:
                scores[module] = test_module(module, tests[module], options.sample, options.seed, end)
    except MutantsError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return CANNOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED
    status = report(scores, tests)
    if time.monotonic() < end:
        return status
    print(f"mutants: out of time in module {len(scores)} of {len(modules)}: set MINUTES or MODULES", file=sys.stderr)
    return CANNOT_RUN


def test_module(module: str, tests: list[str], sample: int, seed: str, end: float) -> Score:
    """Test a sample of a module's mutants, as far as the time allows, and print a line about them."""
    started = time.monotonic()
    unmutated = run_tests(tests, OUT)
    if not unmutated.passed:
        raise MutantsError(f"the tests of {module} fail without a mutant:\n{unmutated.output[-2000:]}")
    known = equivalent()
    score = Score()
    total, mutants = sample_of(module, sample, seed)
    print(f"{module:32} ", end="", flush=True)
    for mutant in mutants:
        if time.monotonic() > end:
            break
        if (module, *mutant.change) in known:
            score.equivalent += 1
            print("=", end="", flush=True)
            continue
        patch_of(mutant).write_text("\n".join([*mutant.diff, ""]), encoding="utf-8")
        run = run_tests(tests, OUT, mutant, unmutated)
        if run.passed:
            score.survivors.append(mutant)
            print("S", end="", flush=True)
            continue
        score.killed += 1
        if run.timed_out:
            score.timed_out.append(mutant)
        else:
            patch_of(mutant).unlink()
        print("T" if run.timed_out else ".", end="", flush=True)
    seconds = time.monotonic() - started
    print(f" {score}, {total} in all, {seconds:.0f} s")
    return score


def sample_of(module: str, sample: int, seed: str) -> tuple[int, Iterator[Mutant]]:
    """The number of a module's mutants, and a sample of them. The seed and the module decide which."""
    file = file_of(module)
    command: list[str | Path] = [MUTMUT, Path(__file__).with_name("mutate.py"), file, str(sample), f"{seed} {module}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MutantsError(f"mutmut fails on {module}: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    return answer["total"], (Mutant(module, file, source) for source in answer["sources"])


def patch_of(mutant: Mutant) -> Path:
    """The file with a survivor's diff."""
    return OUT / f"{mutant.name}.diff"


def report(scores: dict[str, Score], tests: dict[str, list[str]]) -> int:
    """Print the survivors and the rate; returns the exit status."""
    for module, score in scores.items():
        for mutant in score.survivors:
            print("", *mutant.diff[2:], sep="\n")
            print(f"git apply {patch_of(mutant).relative_to(ROOT)} && .venv/bin/pytest {' '.join(tests[module])}")
        for mutant in score.timed_out:
            print(f"time limit: {patch_of(mutant).relative_to(ROOT)}")
    total = Score(
        sum(score.killed for score in scores.values()),
        sum(score.equivalent for score in scores.values()),
        [mutant for score in scores.values() for mutant in score.survivors],
        [mutant for score in scores.values() for mutant in score.timed_out],
    )
    print(f"\n{total}. Goal: {GOAL:.0%}")
    return 0 if total.rate >= GOAL else BELOW_GOAL


if __name__ == "__main__":
    sys.exit(main())
