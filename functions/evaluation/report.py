"""The nightly report: figures, verdict and report.json, which docs/report.schema.json describes."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from statistics import fmean
from typing import Any

from evaluation import metrics
from evaluation.comparison import Comparison, Outcome
from evaluation.drift import Uploads
from evaluation.metrics import ClassScores, Interval, ReliabilityBin
from evaluation.night import SCHEMA_VERSION, Night, Verdict
from evaluation.predictions import Scored, Unscored
from labeller.results import Status

MAX_UNSCORED = 100  # pictures without an answer that a report lists; all are counted


@dataclass(frozen=True, slots=True)
class Figures:
    """How right the model is. NaN for what is not defined."""

    pictures: int
    correct: int
    accuracy: float
    interval: Interval  # Wilson, 95%
    baseline: float  # accuracy of always predicting the most frequent label
    log_loss: float
    brier_score: float  # 0..2
    expected_calibration_error: float
    unsure: int
    unknown: int
    accuracy_when_sure: float  # of the LABELLED pictures alone
    confusion: tuple[tuple[int, ...], ...]  # C[true][predicted], in the order of the labels
    classes: tuple[ClassScores, ...]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that was scored."""

    version: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]  # height, width in pixels
    confidence_threshold: float
    familiarity_threshold: float | None = None  # None: no picture is UNKNOWN


@dataclass(frozen=True, slots=True)
class Others:
    """What the model says of the test set's pictures of none of its labels, in the folder "other"."""

    pictures: int
    labelled: int  # wrongly: each has a label
    unsure: int
    unknown: int
    interval: Interval  # Wilson, 95%, of the share that got no label

    @property
    def unlabelled_share(self) -> float:
        """The share that got no label, as it should be."""
        return 1 - self.labelled / self.pictures


@dataclass(frozen=True, slots=True)
class TestSetSummary:
    """The test set that it was scored on."""

    bucket: str
    prefix: str
    pictures: int  # all, scored or not, those of none of the labels included
    ignored: int  # objects outside the label folders, and hidden ones
    per_label: dict[str, int]


@dataclass(frozen=True, slots=True)
class Speed:
    """How long the scoring took, and on what."""

    seconds: float  # from the first picture to the last, download and decoding included
    inference_ms: float  # mean time of a picture in the network, on one processor
    processor: str
    vnni: bool | None  # whether the processor has the VNNI instructions for INT8; None if unknown
    threads: int  # pictures scored at once, each on one processor


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """All results of a night."""

    date: date  # of the night, in the schedule's time zone
    run: str  # unique among the runs of the same night
    created_at: datetime
    model: Model
    testset: TestSetSummary
    figures: Figures | None  # None: nothing could be scored
    unscored_causes: dict[str, int]  # Unscored.cause -> number of pictures
    unscored_examples: tuple[Unscored, ...]  # at most MAX_UNSCORED
    speed: Speed
    last_night: Comparison | None
    build: Comparison | None
    uploads: Uploads | None  # None: the rows could not be read, or there are none
    minimum_accuracy: float  # the alarm's
    predictions_key: str  # of this run's predictions.csv, in the bucket
    others: Others | None = None  # None: the test set has no such pictures, or none could be scored
    writes_rows: bool = True  # False: the parameter Write leaves them out

    @property
    def unscored(self) -> int:
        """Number of pictures without an answer."""
        return sum(self.unscored_causes.values())

    @property
    def verdict(self) -> Verdict:
        """INCOMPLETE first; then WORSE if either comparison is worse; then BETTER likewise; else SAME.

        A comparison with other pictures does not count.
        """
        comparisons = [self.last_night, self.build]
        outcomes = [one.outcome for one in comparisons if one is not None and not one.other_pictures]
        if self.unscored or self.figures is None:
            return Verdict.INCOMPLETE
        if Outcome.WORSE in outcomes:
            return Verdict.WORSE
        if Outcome.BETTER in outcomes:
            return Verdict.BETTER
        return Verdict.SAME if outcomes else Verdict.FIRST

    @property
    def below_minimum(self) -> bool:
        """Whether the accuracy is below the alarm's minimum."""
        return self.figures is not None and self.figures.accuracy < self.minimum_accuracy

    @property
    def night(self) -> Night:
        """This night as later nights read it."""
        figures, uploads = self.figures, self.uploads
        index = uploads.stability_index if uploads else None
        return Night(
            date=self.date,
            verdict=self.verdict,
            model_version=self.model.version,
            pictures=figures.pictures if figures else 0,
            correct=figures.correct if figures else 0,
            interval=figures.interval if figures else Interval(0.0, 1.0),
            stability_index=math.nan if index is None else index,
            uploads=uploads.total if uploads else 0,
            unsure=uploads.unsure if uploads else 0,
            unknown=uploads.unknown if uploads and self.model.familiarity_threshold is not None else None,
            unreadable=uploads.unreadable if uploads else 0,
            predictions_key=self.predictions_key,
        )


def figures_of(scored: Sequence[Scored], labels: Sequence[str]) -> Figures | None:
    """All figures of the answers; None without answers. Every label must be one of `labels`."""
    if not scored:
        return None
    index = {label: number for number, label in enumerate(labels)}
    true = [index[answer.true] for answer in scored]
    predicted = [index[answer.prediction.label] for answer in scored]
    probabilities = [[answer.prediction.scores[label] for label in labels] for answer in scored]
    confidence = [answer.prediction.confidence for answer in scored]
    right = [answer.right for answer in scored]
    labelled = [answer.right for answer in scored if answer.labelled]
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
        unsure=sum(answer.status is Status.UNSURE for answer in scored),
        unknown=sum(answer.status is Status.UNKNOWN for answer in scored),
        accuracy_when_sure=fmean(labelled) if labelled else math.nan,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=tuple(metrics.class_scores(confusion)),
        reliability=tuple(metrics.reliability_curve(confidence, right)),
    )


def others_of(scored: Sequence[Scored]) -> Others | None:
    """The counts of pictures of none of the labels; None without pictures."""
    if not scored:
        return None
    statuses = Counter(answer.status for answer in scored)
    labelled = statuses[Status.LABELLED]
    return Others(
        len(scored),
        labelled,
        statuses[Status.UNSURE],
        statuses[Status.UNKNOWN],
        metrics.wilson_interval(len(scored) - labelled, len(scored)),
    )


_BEGINNINGS = {
    Verdict.BETTER: "Better",
    Verdict.SAME: "Same as before",
    Verdict.WORSE: "Worse",
    Verdict.FIRST: "First night with these pictures",
}


def headline(report: NightlyReport) -> str:
    """The verdict as a sentence."""
    figures = report.figures
    if figures is None:
        return f"Incomplete: none of {report.testset.pictures:,} test pictures could be scored"
    right = f"{figures.correct:,} of {figures.pictures:,} test pictures are right ({figures.accuracy:.1%})"
    if report.verdict is Verdict.INCOMPLETE:
        return (
            f"Incomplete: {report.unscored:,} of {report.testset.pictures:,} test pictures could not be scored; of the "
            f"others, {right.replace('test pictures ', '')}"
        )
    beginning = _BEGINNINGS[report.verdict]
    if report.verdict is Verdict.SAME and (report.last_night is None or report.last_night.other_pictures):
        beginning = "As good as in its build"  # the first night, or the first with these pictures
    return f"{beginning}: {right}"


def reasons(report: NightlyReport) -> list[str]:
    """The sentences that explain the verdict, and all else that needs attention."""
    sentences = []
    if report.below_minimum:
        sentences.append(f"The accuracy is below the minimum of {report.minimum_accuracy:.1%}, so the alarm fires.")
    sentences += [_in_words(comparison) for comparison in (report.last_night, report.build) if comparison]
    if report.unscored:
        causes = ", ".join(f"{cause} ({count:,})" for cause, count in Counter(report.unscored_causes).most_common())
        have = "picture has" if report.unscored == 1 else "pictures have"
        sentences.append(f"{report.unscored:,} {have} no answer: {causes}.")
    absent = [label for label, count in report.testset.per_label.items() if not count]
    if absent:
        sentences.append(f"The test set has no pictures of {', '.join(absent)}: their accuracy is unknown.")
    if not report.writes_rows:
        sentences.append(
            "The stack writes no rows (parameter Write), so the uploads of the day before are not compared with the "
            "test set."
        )
    elif report.uploads is None:
        sentences.append("The uploads of the day before could not be read; the function's log has the cause.")
    elif report.uploads.unknown_rose:
        uploads = report.uploads
        sentences.append(
            f"{uploads.unknown / uploads.total:.1%} of {uploads.total:,} uploads are UNKNOWN, after "
            f"{uploads.unknown_before / uploads.total_before:.1%} in the days before, so the alarm fires."
        )
    if report.others is not None:
        others = report.others
        sentences.append(
            f"{others.pictures - others.labelled:,} of {others.pictures:,} test pictures of none of the labels got no "
            f"label ({others.unlabelled_share:.1%})."
        )
    if report.testset.ignored:
        were = "object of the test set was" if report.testset.ignored == 1 else "objects of the test set were"
        sentences.append(f"{report.testset.ignored:,} {were} ignored: hidden, or outside the label folders.")
    return sentences


def to_json(report: NightlyReport) -> bytes:
    """report.json, UTF-8. null for what is not defined or not known."""
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
        content["uploads"] |= {"total": report.uploads.total, "unknown_rose": report.uploads.unknown_rose}
    for name, comparison in (("last_night", report.last_night), ("build", report.build)):
        if comparison is not None:
            content[name]["change"] = comparison.outcome
    return (json.dumps(_plain(content), ensure_ascii=False, indent=1) + "\n").encode()


def _in_words(comparison: Comparison) -> str:
    accuracy = comparison.correct_before / comparison.pictures_before
    outcome = {
        Outcome.SAME: "no significant difference",
        Outcome.BETTER: "significantly better",
        Outcome.WORSE: "significantly worse",
    }[comparison.outcome]
    pictures = " on other pictures, so the difference may be due to the pictures" if comparison.other_pictures else ""
    if comparison.same_pictures:
        pictures = f" on the same {comparison.pictures_now:,} pictures"
        outcome = (
            f"{comparison.newly_right:,} newly right, {comparison.newly_wrong:,} newly wrong, {outcome}"
            if comparison.flipped
            else "every answer is the same"
        )
    return (
        f"Compared with {comparison.against} (model {comparison.model_version}, {accuracy:.1%} right{pictures}): "
        f"{outcome} (p = {comparison.p_value:.2g})."
    )


def _plain(value: Any) -> Any:
    """`value` in JSON's types, which have no NaN and no dates."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value.isoformat() if isinstance(value, date) else value
