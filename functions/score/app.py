"""The handler: every night, the test set through the deployed model, and a report of it."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from evaluation.storage import connect as connect_reports
from labeller.classifier import load_classifier
from labeller.observability import logger, metrics
from labeller.storage import connect
from score.build_figures import read_build_figures
from score.nightly import NightlyJob, NightRun
from score.notify import count_failure, count_invalid_testset, tell
from score.settings import ScoreSettings
from score.testset import InvalidTestSet


@cache  # for the life of the process; a failure is not kept, so the next invocation tries again
def get_job() -> NightlyJob:
    """Settings, network and clients, at first use. Raises SettingsError, ModelError."""
    settings = ScoreSettings.from_env(os.environ)
    shared = settings.shared
    return NightlyJob(
        settings,
        load_classifier(shared.model_dir, threads=1),  # and as many pictures at once as there are processors
        connect(shared.results_table),
        connect_reports(settings.reports_bucket, shared.results_table, shared.event_bus, settings.report_topic),
        read_build_figures(shared.model_dir),
    )


@logger.inject_lambda_context
@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Score the model and publish the report of the night that `event` tells of.

    `event`: {"scheduled_time": ISO 8601}, as EventBridge Scheduler fills it in; now, where it is missing. Returns what
    AccuracyReported says. Raises InvalidTestSet, AwsFailure, SettingsError, ModelError, and ValueError for a time that
    is none: then the report of before stays.
    """
    try:
        nightly = get_job()
        run = NightRun.from_event(event, context.aws_request_id, nightly.settings.time_zone)
        report = nightly.run(run, lambda: context.get_remaining_time_in_millis() / 1000)
    except InvalidTestSet as error:
        logger.error("no usable test set", error=str(error))
        count_invalid_testset()
        raise
    except Exception:  # counted, whatever it is; Lambda logs what is raised
        count_failure()
        raise
    return tell(report, nightly.reports)
