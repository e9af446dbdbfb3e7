"""The handler: every night, score the deployed model on the test set and publish a report."""

import os
from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evaluation.storage import ReportStorage
from labeller.classifier import load_classifier
from labeller.observability import logger, metrics
from labeller.storage import connect
from score.build_figures import read_build_figures
from score.nightly import NightlyJob, NightRun
from score.notify import notify
from score.settings import ScoreSettings
from score.testset import InvalidTestSet


@cache  # for the life of the process; a failure is not cached, so the next invocation tries again
def get_job() -> NightlyJob:
    """Settings, network and clients, at first use. Raises SettingsError, ModelError."""
    settings = ScoreSettings.from_env(os.environ)
    shared = settings.shared
    return NightlyJob(
        settings,
        load_classifier(shared.model_dir, threads=1),  # one picture a processor, all processors at once
        connect(shared.results_table),
        ReportStorage(settings.reports_bucket, shared.results_table, shared.event_bus, settings.report_topic),
        read_build_figures(shared.model_dir),
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Score the model and publish the night's report. Returns the detail of AccuracyReported.

    `event`: {"scheduled_time": ISO 8601} from EventBridge Scheduler; without it, now. Raises InvalidTestSet,
    AwsFailure, SettingsError, ModelError, and ValueError for an invalid time; the earlier report then stays.
    """
    try:
        job = get_job()
        run = NightRun.from_event(event, context.aws_request_id, job.settings.time_zone)
        report = job.run(run, lambda: context.get_remaining_time_in_millis() / 1000)
    except InvalidTestSet as error:
        logger.error("no usable test set", error=str(error))
        metrics.add_metric("TestSetInvalid", MetricUnit.Count, 1)
        raise
    except Exception:  # any failure is counted; Lambda logs the exception
        metrics.add_metric("Failed", MetricUnit.Count, 1)
        raise
    return notify(report, job.reports, job.settings.is_presigned)
