"""The night's report: figures, verdict, and report.json. docs/report.schema.json describes it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from statistics import fmean
from typing import Any

from evaluation import metrics
from evaluation.comparison import Comparison, Outcome
from evaluation.drift import Uploads
from evaluation.metrics import ClassScores, Interval, ReliabilityBin
from evaluation.predictions import Scored, Unscored

SCHEMA_VERSION = 1
NIGHTS = 30  # how far back the trend goes
MAX_UNSCORED = 100  # pictures without an answer that the report names; all are counted


class Verdict(StrEnum):
    """What the night says, in one word."""

    BETTER = "BETTER"
    SAME = "SAME"
    WORSE = "WORSE"
    INCOMPLETE = "INCOMPLETE"  # not every picture could be scored
    FIRST = "FIRST"  # complete, and there is nothing to compare it with


@dataclass(frozen=True, slots=True)
class Figures:
    """How right the model is. NaN for what is not defined."""

    pictures: int
    correct: int
    accuracy: float
    interval: Interval  # Wilson, 95 %
    baseline: float  # accuracy of always answering with the most frequent label
    log_loss: float
    brier_score: float  # 0..2
    expected_calibration_error: float
    unsure: int
    accuracy_when_sure: float  # without the UNSURE ones
    confusion: tuple[tuple[int, ...], ...]  # C[true][predicted], in the order of the labels
    classes: tuple[ClassScores, ...]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """Which model was scored."""

    version: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]  # height, width in pixels
    confidence_threshold: float


@dataclass(frozen=True, slots=True)
class TestSetSummary:
    """What it was scored on."""

    bucket: str
    prefix: str
    pictures: int  # all there are, scored or not
    ignored: int  # objects outside of the label folders
    per_label: dict[str, int]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast, and on what."""

    seconds: float  # from the first picture to the last, fetching and decoding included
    inference_ms: float  # the network's own time a picture, on one processor, mean
    processor: str
    vnni: bool | None  # whether it has the instructions that INT8 gains most from; None where it does not say
    threads: int  # pictures that were looked at at once, each on one processor


@dataclass(frozen=True, slots=True)
class Night:
    """What the trend keeps of a night."""

    date: date
    verdict: Verdict
    model_version: str
    pictures: int
    accuracy: float
    interval: Interval
    stability_index: float  # NaN where there were no uploads
    uploads: int
    unsure_share: float  # of the uploads; NaN for none
    unreadable_share: float


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """Everything that the night found out."""

    date: date  # of the night, in the schedule's time zone
    run: str  # tells this run from others of the same night
    created_at: datetime
    model: Model
    testset: TestSetSummary
    figures: Figures | None  # None: nothing could be scored
    unscored_causes: dict[str, int]  # Unscored.cause -> pictures without an answer
    unscored_examples: tuple[Unscored, ...]  # MAX_UNSCORED of them at most
    speed: Speed
    last_night: Comparison | None
    build: Comparison | None
    uploads: Uploads | None  # None: the rows could not be read
    minimum_accuracy: float  # the alarm's
    predictions_key: str  # of this run's predictions.csv, in the bucket

    @property
    def unscored(self) -> int:
        """How many pictures have no answer."""
        return sum(self.unscored_causes.values())

    @property
    def verdict(self) -> Verdict:
        """INCOMPLETE before anything else; then WORSE if either comparison says so; BETTER likewise; SAME.

        A comparison with other pictures says nothing of the model.
        """
        comparisons = [each for each in (self.last_night, self.build) if each is not None]
        changes = [each.outcome for each in comparisons if not each.other_pictures]
        if self.unscored or self.figures is None:
            return Verdict.INCOMPLETE
        if Outcome.WORSE in changes:
            return Verdict.WORSE
        if Outcome.BETTER in changes:
            return Verdict.BETTER
        return Verdict.SAME if changes else Verdict.FIRST

    @property
    def below_minimum(self) -> bool:
        """Whether the accuracy is under what the alarm asks for."""
        return self.figures is not None and self.figures.accuracy < self.minimum_accuracy


def figures_of(scored: Sequence[Scored], labels: Sequence[str]) -> Figures | None:
    """All figures over the answers in `scored`; None for no answers. Every label must be one of `labels`."""
    if not scored:
        return None
    index = {label: number for number, label in enumerate(labels)}
    true = [index[each.true] for each in scored]
    predicted = [index[each.prediction.label] for each in scored]
    probabilities = [[each.prediction.scores[label] for label in labels] for each in scored]
    confidence = [each.prediction.confidence for each in scored]
    right = [each.right for each in scored]
    sure = [each.right for each in scored if not each.unsure]
    confusion = metrics.confusion_matrix(true, predicted, len(labels))
    return Figures(
        pictures=len(scored),
        correct=sum(right),
        accuracy=metrics.accuracy_score(true, predicted),
        interval=metrics.wilson_interval(sum(right), len(scored)),
        baseline=metrics.baseline_score(true),
        log_loss=metrics.log_loss(true, probabilities),
        brier_score=metrics.brier_score_loss(true, probabilities),
        expected_calibration_error=metrics.expected_calibration_error(confidence, right),
        unsure=len(scored) - len(sure),
        accuracy_when_sure=fmean(sure) if sure else math.nan,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=tuple(metrics.class_scores(confusion)),
        reliability=tuple(metrics.reliability_curve(confidence, right)),
    )


def headline(report: NightlyReport) -> str:
    """The verdict as a sentence for somebody who has a minute."""
    figures = report.figures
    if figures is None:
        return f"Incomplete: none of {report.testset.pictures:,} test pictures could be scored"
    right = f"{figures.correct:,} of {figures.pictures:,} test pictures are right ({figures.accuracy:.1%})"
    return {
        Verdict.BETTER: f"Better: {right}",
        Verdict.SAME: f"Same as before: {right}",
        Verdict.WORSE: f"Worse: {right}",
        Verdict.FIRST: f"First night with these pictures: {right}",
        Verdict.INCOMPLETE: (
            f"Incomplete: {report.unscored:,} of {report.testset.pictures:,} test pictures could not be scored; "
            f"of the others, {figures.correct:,} of {figures.pictures:,} are right ({figures.accuracy:.1%})"
        ),
    }[report.verdict]


def reasons(report: NightlyReport) -> list[str]:
    """What the verdict rests on, sentence by sentence, and what else needs somebody's attention."""
    found = []
    if report.below_minimum:
        found.append(f"The accuracy is below the {report.minimum_accuracy:.1%} that the alarm asks for.")
    found += [_in_words(each) for each in (report.last_night, report.build) if each is not None]
    if report.unscored:
        causes = Counter(report.unscored_causes).most_common()
        named = ", ".join(f"{cause} ({count:,})" for cause, count in causes)
        have = "picture has" if report.unscored == 1 else "pictures have"
        found.append(f"{report.unscored:,} {have} no answer: {named}.")
    absent = [label for label, count in report.testset.per_label.items() if not count]
    if absent:
        found.append(f"The test set has no pictures of {', '.join(absent)}: nothing is known about them.")
    if report.uploads is None:
        found.append("What was uploaded on the day before could not be read; the function's log says why.")
    if report.testset.ignored:
        were = "object was" if report.testset.ignored == 1 else "objects were"
        found.append(f"{report.testset.ignored:,} {were} not looked at: hidden, or outside of the label folders.")
    return found


def to_json(report: NightlyReport) -> bytes:
    """report.json, UTF-8. What is not defined or not known is null."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict,
        "headline": headline(report),
        "reasons": reasons(report),
        "below_minimum": report.below_minimum,
        "unscored": report.unscored,
        **asdict(report),
    }
    if report.uploads is not None:
        content["uploads"]["total"] = report.uploads.total
    for name in ("last_night", "build"):
        comparison = getattr(report, name)
        if comparison is not None:
            content[name]["change"] = comparison.outcome
    return (json.dumps(_plain(content), ensure_ascii=False, indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """What tonight asks of an earlier report.json."""

    night: Night
    predictions_key: str


def read_report(content: bytes) -> EarlierReport:
    """An earlier report.json. Raises ValueError for one that is damaged or of another schema."""
    try:
        found = json.loads(content)
        if found["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {found['schema_version']!r}, this code reads {SCHEMA_VERSION}")
        figures, uploads = found["figures"], found["uploads"]
        total = uploads["total"] if uploads else 0
        night = Night(
            date=date.fromisoformat(found["date"]),
            verdict=Verdict(found["verdict"]),
            model_version=str(found["model"]["version"]),
            pictures=int(figures["pictures"]) if figures else 0,
            accuracy=_number(figures["accuracy"]) if figures else math.nan,
            interval=Interval(**figures["interval"]) if figures else Interval(0.0, 1.0),
            stability_index=_number(uploads["stability_index"]) if uploads else math.nan,
            uploads=total,
            unsure_share=uploads["unsure"] / total if total else math.nan,
            unreadable_share=uploads["unreadable"] / total if total else math.nan,
        )
        return EarlierReport(night, str(found["predictions_key"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no report.json of schema {SCHEMA_VERSION}: {error!r}") from error


def _in_words(comparison: Comparison) -> str:
    accuracy = comparison.correct_before / comparison.pictures_before
    change = {
        Outcome.SAME: "no difference that chance could not explain",
        Outcome.BETTER: "better, and chance is an unlikely explanation",
        Outcome.WORSE: "worse, and chance is an unlikely explanation",
    }[comparison.outcome]
    moved = " on other pictures, so the difference may be theirs" if comparison.other_pictures else ""
    if comparison.same_pictures:
        moved = f" on the same {comparison.pictures_now:,} pictures"
        change = (
            f"{comparison.newly_right} newly right, {comparison.newly_wrong} newly wrong: {change}"
            if comparison.flipped
            else "every answer is the same"
        )
    return (
        f"Against {comparison.against} (model {comparison.model_version}, {accuracy:.1%} right{moved}): {change} "
        f"(p = {comparison.p_value:.2g})."
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN and no dates."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value.isoformat() if isinstance(value, date) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
