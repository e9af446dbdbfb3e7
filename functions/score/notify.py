"""Who is told of a report: CloudWatch, EventBridge, and people by mail."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from evaluation.report import NightlyReport, headline, reasons
from evaluation.storage import ReportStorage
from labeller.observability import logger, metrics
from labeller.storage import AwsFailure
from score.keys import night_key

MAX_RECALLS = 50  # labels up to which each has a metric of its own: CloudWatch bills every one


def count_invalid_testset() -> None:
    """The metric behind the alarm on a test set that is missing, empty or of other labels."""
    metrics.add_metric("TestSetInvalid", MetricUnit.Count, 1)


def count_failure() -> None:
    """The metric of an attempt at a night that brought no report, for any other reason."""
    metrics.add_metric("Failed", MetricUnit.Count, 1)


def tell(report: NightlyReport, storage: ReportStorage) -> dict[str, Any]:
    """Metrics, AccuracyReported and the mail; returns the detail of the event.

    The report is published by now. So a bus or a topic that fails is logged and counted (NotTold), and is no reason
    to score the night again.
    """
    count(report)
    detail = event_detail(report, storage.bucket)
    for say in (
        lambda: storage.announce(detail),
        lambda: storage.mail(f"{headline(report)} ({report.date})", mail_text(report, storage)),
    ):
        try:
            say()
        except AwsFailure as failure:
            logger.error("not told", error=str(failure))
            metrics.add_metric("NotTold", MetricUnit.Count, 1)
    logger.info("reported", extra={name: value for name, value in detail.items() if name != "schema"})
    return detail


def count(report: NightlyReport) -> None:
    """One value for each metric. Without figures there is no Accuracy, and its alarm fires for want of it."""
    figures = report.figures
    metrics.add_metric("Scored", MetricUnit.Count, figures.pictures if figures else 0)
    metrics.add_metric("Unscored", MetricUnit.Count, report.unscored)
    if report.uploads is not None and report.uploads.stability_index is not None:
        metrics.add_metric("PSI", MetricUnit.NoUnit, report.uploads.stability_index)
    if figures is None:
        return
    metrics.add_metric("Accuracy", MetricUnit.NoUnit, figures.accuracy)
    if len(report.model.labels) > MAX_RECALLS:
        return
    for label, scores in zip(report.model.labels, figures.classes, strict=True):
        if not math.isnan(scores.recall):
            with single_metric("Recall", MetricUnit.NoUnit, scores.recall) as metric:
                # CloudWatch takes ASCII only; the escapes keep two labels apart.
                metric.add_dimension("label", label.encode("ascii", "backslashreplace").decode())


def event_detail(report: NightlyReport, bucket: str) -> dict[str, Any]:
    """What AccuracyReported says; docs/accuracy-reported.schema.json describes it."""
    figures, uploads = report.figures, report.uploads
    return {
        "schema": 1,
        "date": report.date.isoformat(),
        "run": report.run,
        "verdict": report.verdict.value,
        "headline": headline(report),
        "model": report.model.version,
        "scored": figures.pictures if figures else 0,
        "unscored": report.unscored,
        "accuracy": round(figures.accuracy, 6) if figures else None,
        "accuracy_low": round(figures.interval.low, 6) if figures else None,
        "accuracy_high": round(figures.interval.high, 6) if figures else None,
        "below_minimum": report.below_minimum,
        "stability_index": uploads.stability_index if uploads else None,
        "bucket": bucket,
        "report": night_key(report.date),
    }


def mail_text(report: NightlyReport, storage: ReportStorage) -> str:
    """The mail: the verdict, what it rests on, and a link to the page in the S3 console, whose "Open" shows it."""
    key = night_key(report.date)
    link = (
        f"https://{storage.region}.console.aws.amazon.com/s3/object/{quote(storage.bucket)}"
        f"?region={storage.region}&prefix={quote(key, safe='')}"
    )
    lines = [f"{report.verdict.value}. {headline(report)}.", "", *reasons(report), "", "The report:", link]
    return "\n".join(lines) + f"\n\ns3://{storage.bucket}/{key}\n"
