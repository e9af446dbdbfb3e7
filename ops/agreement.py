"""Two models' answers side by side: counted on a sample of uploads, and put into words."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from evaluation.comparison import Comparison, Outcome
from evaluation.metrics import Interval, wilson_interval
from evaluation.predictions import Unscored
from labeller.aws_errors import AwsFailure, Gone
from labeller.images import Unreadable
from labeller.results import Status
from labeller.text import printable
from ops.labels import LabelRow

SHOWN = 20  # flips that are printed; --json has all


@dataclass(frozen=True, slots=True)
class Flip:
    """An upload that the candidate gives another label."""

    object: str  # bucket/key
    before: str
    now: str
    confidence: float  # the candidate's, 0..1


@dataclass(frozen=True, slots=True)
class Agreement:
    """The candidate and the rows, on a sample of a day's uploads. No truth is known of them."""

    day: date
    compared: int
    agreed: int  # the likeliest label is the same
    interval: Interval  # of the share that agrees, at 95 %
    unsure_before: int  # of those compared
    unsure_now: int
    models_before: dict[str, int]  # version that gave the label -> uploads
    flips: tuple[Flip, ...]  # the surest first
    left_out: dict[str, int]  # why -> uploads that could not be compared


def sample(rows: Iterable[LabelRow], size: int) -> list[LabelRow]:
    """`size` of the rows, by a hash of their objects: no label, hour or name is favoured, and always the same ones."""

    def rank(row: LabelRow) -> bytes:
        return hashlib.sha256(f"{row['object']} {row['version']}".encode()).digest()

    return heapq.nsmallest(size, rows, key=rank)


def agreement(
    day: date, rows: Sequence[LabelRow], ends: Sequence[tuple[str, float] | Exception], threshold: float
) -> Agreement:
    """Count. `ends` are the candidate's label and confidence for each row, or why there is none.

    What is the candidate's own fault (ModelError) is raised, as is AwsFailure where nothing at all could be had.
    """
    left_out: Counter[str] = Counter()
    compared: list[tuple[LabelRow, str, float]] = []
    for row, end in zip(rows, ends, strict=True):
        match end:
            case (label, confidence):
                compared.append((row, label, confidence))
            case Unreadable():
                left_out[f"unreadable: {end.reason}"] += 1
            case Gone():
                left_out["deleted or replaced since"] += 1
            case AwsFailure():
                left_out["AWS failed"] += 1
            case Exception():
                raise end
    failures = [end for end in ends if isinstance(end, AwsFailure)]
    if failures and not compared:
        raise failures[0]
    flips = [
        Flip(row["object"], row["label"], label, confidence)
        for row, label, confidence in compared
        if label != row["label"]
    ]
    agreed = len(compared) - len(flips)
    return Agreement(
        day=day,
        compared=len(compared),
        agreed=agreed,
        interval=wilson_interval(agreed, len(compared)),
        unsure_before=sum(row["status"] == Status.UNSURE for row, _, _ in compared),
        unsure_now=sum(confidence < threshold for _, _, confidence in compared),
        models_before=dict(Counter(row["model"] for row, _, _ in compared).most_common()),
        flips=tuple(sorted(flips, key=lambda flip: (-flip.confidence, flip.object))),
        left_out=dict(left_out),
    )


# ---- in words ---------------------------------------------------------------------------------------------


def lines_of_test_set(candidate: str, found: Comparison) -> list[str]:
    """What the test set says, for people."""
    verdict = {
        Outcome.SAME: "no difference that chance could not explain",
        Outcome.BETTER: "BETTER, and chance is an unlikely explanation",
        Outcome.WORSE: "WORSE, and chance is an unlikely explanation",
    }[found.outcome]
    return [
        f"Test set, {found.pictures_now:,} pictures:",
        f"  deployed   {_share(found.correct_before, found.pictures_before)}   {found.model_version} ({found.against})",
        f"  candidate  {_share(found.correct_now, found.pictures_now)}   {candidate}",
        f"  {found.newly_right} newly right, {found.newly_wrong} newly wrong, {found.flipped} with another label",
        f"  {verdict} (McNemar's test: p = {found.p_value:.3f})",
        *(f"    {flip.key}: {flip.before} -> {flip.now}, is {flip.true}" for flip in found.flips[:SHOWN]),
    ]


def lines_of_unscored(unscored: Sequence[Unscored]) -> list[str]:
    """The test pictures that the candidate has no answer to, by cause and with an example; nothing for none."""
    causes = Counter(each.cause for each in unscored)
    examples = {each.cause: each for each in reversed(unscored)}
    return [
        f"  left out   {count:,} without the candidate's answer, such as {printable(examples[cause].key)}: "
        f"{examples[cause].reason}"
        for cause, count in causes.most_common()
    ]


def lines_of_uploads(found: Agreement) -> list[str]:
    """What the uploads say, for people."""
    if not found.compared:
        left = "".join(f"; {count:,} {why}" for why, count in found.left_out.items())
        return [f"Uploads of {found.day}: none to compare{left}"]
    models = ", ".join(f"{version} ({count:,})" for version, count in found.models_before.items())
    return [
        f"Uploads of {found.day}, a sample of {found.compared:,}, labelled by {models}:",
        f"  agreement  {_share(found.agreed, found.compared)}",
        f"  unsure     {found.unsure_before:,} before, {found.unsure_now:,} now",
        *(f"  left out   {count:,} {why}" for why, count in found.left_out.items()),
        f"  {len(found.flips):,} with another label{', the surest first' if found.flips else ''}",
        *(
            f"    {printable(flip.object)}: {flip.before} -> {flip.now} ({flip.confidence:.4f})"
            for flip in found.flips[:SHOWN]
        ),
    ]


def _share(part: int, whole: int) -> str:
    interval = wilson_interval(part, whole)
    return f"{part / whole:7.2%}  ({interval.low:.2%} to {interval.high:.2%}; {part:,} of {whole:,})"
