"""The nightly report and the list of nights as pages: templates/report.html and templates/nights.html."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.charts import Series, bars, confusion_table, frequent_confusions, line_chart, reliability_diagram
from evaluation.drift import FEW_UPLOADS, MOVED, STABLE, Uploads
from evaluation.night import NIGHTS, Night, Verdict
from evaluation.pages import number, render
from evaluation.predictions import Scored
from evaluation.report import Figures, NightlyReport, headline, reasons

if TYPE_CHECKING:
    from markupsafe import Markup

    from evaluation.class_activation import Shade

TONES = {
    Verdict.BETTER: "good",
    Verdict.SAME: "good",
    Verdict.FIRST: "good",
    Verdict.WORSE: "bad",
    Verdict.INCOMPLETE: "other",
}
MAX_PICTURES = 24  # of the mistakes, and of the changed labels
MAX_MATRIX = 20  # labels; a larger confusion matrix is unreadable, and the page lists the most frequent confusions
MAX_CONFUSIONS = 20


def shown_mistakes(scored: Iterable[Scored]) -> list[Scored]:
    """The wrong answers that a report shows, the most confident first."""
    return _most_confident(one for one in scored if not one.right)


def shown_others(others: Iterable[Scored]) -> list[Scored]:
    """The pictures of none of the labels that got a label and that a report shows, the most confident first."""
    return _most_confident(one for one in others if one.labelled)


def _most_confident(answers: Iterable[Scored]) -> list[Scored]:
    return sorted(answers, key=lambda one: (-one.prediction.confidence, one.key))[:MAX_PICTURES]


def report_page(
    report: NightlyReport,
    scored: Sequence[Scored],
    trend: Sequence[Night],
    others: Sequence[Scored] = (),
    shades: Mapping[str, Shade] = MappingProxyType({}),
) -> str:
    """The page of a night.

    `scored` are the answers for pictures of the labels, `others` those for pictures of none of them, both with
    thumbnails. `trend` holds the nights up to this one, oldest first. `shades` has, by key, what is laid over a shown
    mistake to show why.
    """
    comparisons = [one for one in (report.last_night, report.build) if one is not None and one.flips]
    return render(
        "report.html",
        report=report,
        headline=headline(report),
        reasons=reasons(report),
        tone="bad" if report.below_minimum else TONES[report.verdict],
        labelled_others=shown_others(others),
        mistakes=sum(not one.right for one in scored),
        shown_mistakes=shown_mistakes(scored),
        shades=shades,
        comparisons=comparisons,
        thumbnails={one.key: one.thumbnail for one in scored},
        max_pictures=MAX_PICTURES,
        created=f"{report.created_at:%Y-%m-%d %H:%M:%S %Z}",
        **(_figures(report, report.figures, trend) if report.figures else {}),
        **(_uploads(report.uploads, trend) if report.uploads and report.uploads.total else {}),
    )


def nights_page(dates: Iterable[date], nights: Sequence[Night]) -> str:
    """The list of all nights, newest first: those in `nights` with their figures, others by their date alone."""
    by_date = {night.date: night for night in nights}
    return render(
        "nights.html",
        nights=[(day, by_date.get(day)) for day in sorted({*dates, *by_date}, reverse=True)],
        tones=TONES,
        accuracy_chart=_accuracy_chart(nights) if nights else None,
    )


def _figures(report: NightlyReport, figures: Figures, trend: Sequence[Night]) -> dict[str, Any]:
    """What the template shows of the figures, beside the figures themselves."""
    labels, matrix = report.model.labels, np.array(figures.confusion)
    return {
        "guessing_loss": math.log(len(labels)),
        "throughput": figures.pictures / report.speed.seconds if report.speed.seconds else None,
        "confusion_table": confusion_table(matrix, labels) if len(labels) <= MAX_MATRIX else None,
        "confusions": frequent_confusions(matrix, labels, MAX_CONFUSIONS),
        "classes": [
            (label, *(number(value, ".1%") for value in (one.precision, one.recall, one.f1)), f"{one.support:,}")
            for label, one in zip(labels, figures.classes, strict=True)
        ],
        "reliability_diagram": reliability_diagram(figures.reliability),
        "accuracy_chart": _accuracy_chart(trend),
    }


def _uploads(uploads: Uploads, trend: Sequence[Night]) -> dict[str, Any]:
    """What the template shows of a day's uploads, at least one."""
    days, nights = _calendar(trend)
    counts = {
        **uploads.labels,
        "UNSURE": uploads.unsure,
        "UNKNOWN": uploads.unknown,
        "UNREADABLE": uploads.unreadable,
    }
    shares = [count / uploads.total for count in counts.values()]
    return {
        "stable": STABLE,
        "moved": MOVED,
        "few_uploads": FEW_UPLOADS,
        "uploads_by_label": bars("label", list(counts), {"share": shares}),
        "confidences": _confidences(uploads),
        "uncertain_chart": line_chart(
            "UNSURE and UNREADABLE uploads",
            "Share of the uploads of a day, night by night.",
            days,
            [
                Series("UNSURE", [night.unsure_share if night else math.nan for night in nights]),
                Series("UNREADABLE", [night.unreadable_share if night else math.nan for night in nights]),
            ],
            percent=True,
            shown=(0.0,),
        ),
        "unknown_chart": line_chart(
            "UNKNOWN uploads",
            "Share of the uploads of a day, night by night; a gap is a night without uploads, or with a model that "
            "knows no UNKNOWN.",
            days,
            [Series("UNKNOWN", [night.unknown_share if night else math.nan for night in nights])],
            percent=True,
            shown=(0.0,),
        ),
        "stability_chart": line_chart(
            "Population stability index",
            "Difference between the confidences of the uploads and those of the test set, night by night.",
            days,
            [Series("index", [night.stability_index if night else math.nan for night in nights])],
            percent=False,
            shown=(0.0, MOVED),
        ),
    }


def _accuracy_chart(trend: Sequence[Night]) -> Markup:
    days, nights = _calendar(trend)
    scored = [night if night and night.pictures else None for night in nights]
    accuracy = Series(
        "accuracy",
        [night.accuracy if night else math.nan for night in scored],
        [night.interval.low if night else math.nan for night in scored],
        [night.interval.high if night else math.nan for night in scored],
    )
    description = "The band is the 95% confidence interval; a gap is a night without a score."
    return line_chart("Accuracy on the test set, night by night", description, days, [accuracy], percent=True)


def _calendar(trend: Sequence[Night]) -> tuple[list[str], list[Night | None]]:
    """Every day up to the newest night, NIGHTS at most, with its night or None."""
    by_date = {night.date: night for night in trend}
    newest = max(by_date)
    first = max(min(by_date), newest - timedelta(days=NIGHTS - 1))
    days = [first + timedelta(days=number) for number in range((newest - first).days + 1)]
    return [f"{day:%m-%d}" for day in days], [by_date.get(day) for day in days]


def _confidences(uploads: Uploads) -> Markup:
    histograms = {"test set": uploads.testset_histogram, "uploads": uploads.histogram}
    bins = len(uploads.histogram)
    used = [index for index, counts in enumerate(zip(*histograms.values(), strict=True)) if any(counts)]
    shares = {
        name: [counts[index] / sum(counts) if sum(counts) else math.nan for index in used]
        for name, counts in histograms.items()
    }
    return bars("confidence", [f"{100 * index / bins:.0f}–{(index + 1) / bins:.0%}" for index in used], shares)
