"""The answers of one model on several CPUs: differences, and whether they are within the target. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.cpus.machines import Machine
from bench.cpus.measure import PROBE_PRODUCTS

X86_TOLERANCE = 1e-6
"""Largest difference of a probability between two x86 CPUs that counts as identical. INT8 arithmetic is exact; the
head is float32, and AVX512 and AVX2 add its products up in different orders."""

ARM64_TOLERANCE = 0.01
"""Largest difference of a probability on arm64, where requantisation may round a tie the other way."""

FAMILIARITY_TOLERANCE = 0.01
"""Largest difference of a familiarity on any CPU, as in the self-check: it is computed in float32."""

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """The answers of one model on one CPU: probabilities by label, and the familiarity, by photograph."""

    model: str  # for the table
    machine: Machine
    sum_of_products: int  # of the probe
    self_check: str  # passes or refuses
    answers: Mapping[str, Scores]
    familiarity: Mapping[str, float] = field(default_factory=dict)  # by photograph; empty for a model that has none


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run against the native run of the same model, on the photographs of both."""

    model: str
    cpu: str
    architecture: str
    photographs: int
    same_label: int
    largest_difference: float  # of a probability
    products: str  # exact or saturate: large products in the CPU's U8S8 kernels
    self_check: str
    familiarity_difference: float | None = None  # the largest; None for a model that has no familiarity

    @property
    def within_target(self) -> bool:
        """Same labels, and no probability and no familiarity differs by more than its tolerance."""
        tolerance = X86_TOLERANCE if self.architecture == "x86_64" else ARM64_TOLERANCE
        same = self.same_label == self.photographs > 0 and self.largest_difference <= tolerance
        return same and (self.familiarity_difference or 0.0) <= FAMILIARITY_TOLERANCE


def compare(native: Run, run: Run) -> Comparison:
    """`run` against `native`, which may be the same."""
    common = [name for name in run.answers if name in native.answers]
    shares = [(native.familiarity[name], run.familiarity[name]) for name in common if name in run.familiarity]
    pairs = [(native.answers[name], run.answers[name]) for name in common]
    return Comparison(
        run.model,
        run.machine.title,
        run.machine.architecture,
        len(common),
        sum(max(here, key=here.__getitem__) == max(there, key=there.__getitem__) for here, there in pairs),
        max((abs(here[label] - there[label]) for here, there in pairs for label in here), default=0.0),
        "exact" if run.sum_of_products == PROBE_PRODUCTS * 255 * 127 else "saturate",
        run.self_check,
        max((abs(here - there) for here, there in shares), default=None),
    )


def report(rows: Sequence[Comparison], ours: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """cpus.json: the rows, and whether all of the model `ours` are within the target."""
    return {
        "format_version": 1,
        **details,
        "target": {
            "x86_64": X86_TOLERANCE,
            "arm64": ARM64_TOLERANCE,
            "familiarity": FAMILIARITY_TOLERANCE,
            "met": target_met(rows, ours),
        },
        "rows": [{**asdict(row), "within_target": row.within_target} for row in rows],
    }


def target_met(rows: Sequence[Comparison], ours: str) -> bool:
    """True if the model `ours` has rows, and all of them are within the target and pass their self-check."""
    own = [row for row in rows if row.model == ours]
    return bool(own) and all(row.within_target and row.self_check == "passes" for row in own)
