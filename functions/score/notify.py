"""Announcements of a report: metrics to CloudWatch, AccuracyReported to EventBridge, a mail through SNS."""

import math
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from evaluation.report import NightlyReport, headline, reasons
from evaluation.storage import ReportStorage
from labeller.aws_errors import AwsFailure
from labeller.observability import logger, metrics
from score.keys import night_key

CONSOLES = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}  # other than AWS's usual one
MAX_MAILED = 10  # labels in the mail, those that are recognised worst
# A link ends with the session of the role that signed it, whatever it says. A role's session lasts at most 12 hours;
# Lambda does not tell when it ends. https://repost.aws/knowledge-center/presigned-url-s3-bucket-expiration
LINK_SECONDS = 12 * 3600
LINK_LIFETIME = "It works for at most 12 hours, and ends earlier if AWS renews the function's credentials earlier."
MAX_RECALLS = 50  # labels; with more there is no metric for each, because CloudWatch bills every metric


def notify(report: NightlyReport, storage: ReportStorage, is_presigned: bool = False) -> dict[str, Any]:
    """Add the metrics, send AccuracyReported and the mail; returns the event's detail.

    `is_presigned`: the mail's link opens the report without an AWS login.

    The report is already published, so a bus or a topic that fails is logged and counted (NotTold), and the night is
    not scored again.
    """
    add_metrics(report)
    detail = event_detail(report, storage.bucket)
    for send in (
        lambda: storage.announce(detail),
        lambda: storage.mail(f"{headline(report)} ({report.date})", mail_text(report, storage, is_presigned)),
    ):
        try:
            send()
        except AwsFailure as failure:
            logger.error("the report could not be announced", error=str(failure))
            metrics.add_metric("NotTold", MetricUnit.Count, 1)
    logger.info("reported", extra={name: value for name, value in detail.items() if name != "schema"})
    return detail


def add_metrics(report: NightlyReport) -> None:
    """Add the report's metrics. Without figures there is no Accuracy, and the missing value fires its alarm."""
    figures = report.figures
    metrics.add_metric("Scored", MetricUnit.Count, figures.pictures if figures else 0)
    metrics.add_metric("Unscored", MetricUnit.Count, report.unscored)
    if report.uploads is not None and report.uploads.stability_index is not None:
        metrics.add_metric("PSI", MetricUnit.NoUnit, report.uploads.stability_index)
    if not math.isnan(share := report.night.unknown_share):
        metrics.add_metric("UnknownShare", MetricUnit.NoUnit, share)
    if report.uploads is not None and report.uploads.unknown_rose:
        metrics.add_metric("UnknownRose", MetricUnit.Count, 1)
    if report.others is not None:
        metrics.add_metric("OthersUnlabelled", MetricUnit.NoUnit, report.others.unlabelled_share)
    if figures is None:
        return
    metrics.add_metric("Accuracy", MetricUnit.NoUnit, figures.accuracy)
    if len(report.model.labels) > MAX_RECALLS:
        return
    for label, scores in zip(report.model.labels, figures.classes, strict=True):
        if not math.isnan(scores.recall):
            with single_metric("Recall", MetricUnit.NoUnit, scores.recall) as metric:
                # CloudWatch accepts only ASCII; escapes keep different labels different.
                metric.add_dimension("label", label.encode("ascii", "backslashreplace").decode())


def event_detail(report: NightlyReport, bucket: str) -> dict[str, Any]:
    """The detail of AccuracyReported, which docs/accuracy-reported.schema.json describes."""
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
        "unknown_share": None if math.isnan(share := report.night.unknown_share) else round(share, 6),
        "unknown_rose": uploads is not None and uploads.unknown_rose,
        "others_unlabelled": round(report.others.unlabelled_share, 6) if report.others else None,
        "bucket": bucket,
        "report": night_key(report.date),
    }


def mail_text(report: NightlyReport, storage: ReportStorage, is_presigned: bool) -> str:
    """The mail: verdict, reasons, figures, and a link to the page: presigned, or in the S3 console."""
    key = night_key(report.date)
    console = console_link(storage.region, storage.bucket, key)
    links = [f"The report, with an AWS login (button Open): {console}"]
    if is_presigned:
        links.insert(0, f"The report, for everybody who has this link:\n{storage.presigned_link(key, LINK_SECONDS)}\n")
        links.insert(1, f"{LINK_LIFETIME}\n")
    lines = [f"{report.verdict.value}. {headline(report)}.", "", *reasons(report), "", *figure_lines(report), *links]
    return "\n".join(lines) + f"\n\ns3://{storage.bucket}/{key}\n"


def figure_lines(report: NightlyReport) -> list[str]:
    """The figures that a reader without the page needs, and an empty line; nothing without figures."""
    figures = report.figures
    if figures is None:
        return []
    interval = figures.interval
    lines = [
        f"{figures.correct:,} of {figures.pictures:,} are right: {figures.accuracy:.1%}, "
        f"95% interval {interval.low:.1%} to {interval.high:.1%}.",
        f"{figures.unsure:,} are UNSURE and {figures.unknown:,} UNKNOWN. Right by label:",
    ]
    recalls = sorted(
        (scores.recall, label)
        for label, scores in zip(report.model.labels, figures.classes, strict=True)
        if not math.isnan(scores.recall)
    )
    lines += [f"  {recall:6.1%}  of {label}" for recall, label in recalls[:MAX_MAILED]]
    if len(recalls) > MAX_MAILED:
        lines.append(f"  the other {len(recalls) - MAX_MAILED} labels are better")
    return [*lines, ""]


def console_link(region: str, bucket: str, key: str) -> str:
    """The address of an object's page in the S3 console."""
    console = next((name for prefix, name in CONSOLES.items() if region.startswith(prefix)), "console.aws.amazon.com")
    return f"https://{region}.{console}/s3/object/{quote(bucket)}?region={region}&prefix={quote(key, safe='')}"
