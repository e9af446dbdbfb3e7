"""How far a candidate agrees with the deployed model: counts on a sample of uploads, and both results as text."""

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

Answer = tuple[str, float, Status]
"""The candidate's likeliest label, its confidence, 0 to 1, and the status that the upload would have."""


@dataclass(frozen=True, slots=True)
class UploadFlip:
    """An upload that the candidate gives another label."""

    object: str  # bucket/key
    before: str
    now: str
    confidence: float  # the candidate's, 0 to 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """The candidate compared with the rows of a sample of a day's uploads, whose true labels are unknown."""

    day: date
    compared: int
    agreed: int  # the likeliest label is the same
    interval: Interval  # of the share that agrees, at 95%
    unsure_before: int  # of those compared
    unsure_now: int
    unknown_before: int
    unknown_now: int
    models_before: dict[str, int]  # version that gave the label -> uploads
    flips: tuple[UploadFlip, ...]  # the most confident first
    left_out: dict[str, int]  # reason -> uploads that could not be compared


def draw_sample(rows: Iterable[LabelRow], size: int) -> list[LabelRow]:
    """`size` of the rows, by a hash of their objects: always the same ones, and independent of label, hour and name."""

    def rank(row: LabelRow) -> bytes:
        return hashlib.sha256(f"{row['object']} {row['version']}".encode()).digest()

    return heapq.nsmallest(size, rows, key=rank)


def measure_agreement(day: date, rows: Sequence[LabelRow], answers: Sequence[Answer | Exception]) -> Agreement:
    """Count; `answers` has the candidate's answer for each row, or why there is none.

    Raises an error that is the candidate's fault (ModelError), and AwsFailure if no upload could be fetched.
    """
    left_out: Counter[str] = Counter()
    compared: list[tuple[LabelRow, Answer]] = []
    failures: list[AwsFailure] = []
    for row, answer in zip(rows, answers, strict=True):
        match answer:
            case tuple():
                compared.append((row, answer))
            case Unreadable():
                left_out[f"unreadable: {answer.reason}"] += 1
            case Gone():
                left_out["deleted or replaced since"] += 1
            case AwsFailure():
                left_out["AWS failed"] += 1
                failures.append(answer)
            case Exception():
                raise answer
    if failures and not compared:
        raise failures[0]
    flips = [
        UploadFlip(row["object"], row["label"], label, confidence)
        for row, (label, confidence, _) in compared
        if label != row["label"]
    ]
    agreed = len(compared) - len(flips)
    before, now = Counter(row["status"] for row, _ in compared), Counter(answer[2] for _, answer in compared)
    return Agreement(
        day=day,
        compared=len(compared),
        agreed=agreed,
        interval=wilson_interval(agreed, len(compared)),
        unsure_before=before[Status.UNSURE],
        unsure_now=now[Status.UNSURE],
        unknown_before=before[Status.UNKNOWN],
        unknown_now=now[Status.UNKNOWN],
        models_before=dict(Counter(row["model"] for row, _ in compared).most_common()),
        flips=tuple(sorted(flips, key=lambda flip: (-flip.confidence, flip.object))),
        left_out=dict(left_out),
    )


# ---- as text ----------------------------------------------------------------------------------------------


def comparison_lines(candidate: str, comparison: Comparison) -> list[str]:
    """The comparison on the test set; `candidate` is the model's version."""
    verdict = {
        Outcome.SAME: "no significant difference",
        Outcome.BETTER: "significantly BETTER",
        Outcome.WORSE: "significantly WORSE",
    }[comparison.outcome]
    before = _share(comparison.correct_before, comparison.pictures_before)
    return [
        f"Test set, {comparison.pictures_now:,} pictures:",
        f"  deployed   {before}   {comparison.model_version} ({comparison.against})",
        f"  candidate  {_share(comparison.correct_now, comparison.pictures_now)}   {candidate}",
        f"  {comparison.newly_right} newly right, {comparison.newly_wrong} newly wrong, "
        f"{comparison.flipped} with another label",
        f"  {verdict} (McNemar's test: p = {comparison.p_value:.3f})",
        *(
            f"    {printable(flip.key)}: {flip.before} -> {flip.now}, is {flip.true}"
            for flip in comparison.flips[:SHOWN]
        ),
    ]


def unscored_lines(unscored: Sequence[Unscored]) -> list[str]:
    """The test pictures without an answer of the candidate, by cause and with an example."""
    causes = Counter(picture.cause for picture in unscored)
    examples = {picture.cause: picture for picture in reversed(unscored)}
    return [
        f"  left out   {count:,} without the candidate's answer, such as {printable(examples[cause].key)}: "
        f"{examples[cause].reason}"
        for cause, count in causes.most_common()
    ]


def upload_lines(agreement: Agreement) -> list[str]:
    """The agreement on the uploads."""
    if not agreement.compared:
        left_out = "".join(f"; {count:,} {reason}" for reason, count in agreement.left_out.items())
        return [f"Uploads of {agreement.day}: none to compare{left_out}"]
    models = ", ".join(f"{version} ({count:,})" for version, count in agreement.models_before.items())
    return [
        f"Uploads of {agreement.day}, a sample of {agreement.compared:,}, labelled by {models}:",
        f"  agreement  {_share(agreement.agreed, agreement.compared)}",
        f"  unsure     {agreement.unsure_before:,} before, {agreement.unsure_now:,} now",
        f"  unknown    {agreement.unknown_before:,} before, {agreement.unknown_now:,} now",
        *(f"  left out   {count:,} {reason}" for reason, count in agreement.left_out.items()),
        f"  {len(agreement.flips):,} with another label{', the most confident first' if agreement.flips else ''}",
        *(
            f"    {printable(flip.object)}: {flip.before} -> {flip.now} ({flip.confidence:.4f})"
            for flip in agreement.flips[:SHOWN]
        ),
    ]


def _share(part: int, whole: int) -> str:
    interval = wilson_interval(part, whole)
    return f"{part / whole:7.2%}  ({interval.low:.2%} to {interval.high:.2%}; {part:,} of {whole:,})"
