"""Logs and metrics with Powertools for AWS Lambda: one log line and one count for each object.

    log line    level, message (the outcome), delivery_id (of the message, event or task), bucket, key, version, label,
                confidence, familiarity, reason, detail, tagging, <stage>_ms. Powertools adds the request id, the trace
                id, timestamp, service and cold_start. Nothing of an object's content.
    metrics     numbers of objects: Labelled, Unsure, Unknown, Unreadable, Deleted, Gone, Stale, Current,
                Filtered (labelling.Ending)
                Failed: objects and records whose delivery is retried; OutOfTime: deliveries among them
                milliseconds of an object: FetchMs, DecodeMs, InferenceMs, WriteMs, PublishMs
                ColdStart, by Powertools. The only dimension is the service: a key would make each object a metric.

X-Ray shows each invocation, in Lambda's own segments. Stages are in the log and the metrics only: Powertools' Tracer
needs the X-Ray SDK, which adds 125 ms of processor time to a cold start.

Logger and metrics are made at import and then read Powertools' variables (POWERTOOLS_SERVICE_NAME,
POWERTOOLS_METRICS_NAMESPACE, POWERTOOLS_LOG_LEVEL), the one exception to "no environment is read at import": the
handler's decorators need them. They open no connection.
"""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from labeller.text import json_line

logger = Logger(json_serializer=json_line, serialize_stacktrace=False)  # the traceback as text is enough
metrics = Metrics()


def report(outcome: str, fields: Mapping[str, Any], durations: Mapping[str, float]) -> None:
    """Log and count an object that is done; `durations` are milliseconds by stage. Not for several threads at once."""
    rounded = {name: round(milliseconds, 1) for name, milliseconds in durations.items()}
    known = {name: value for name, value in {**fields, **rounded}.items() if value is not None}
    logger.info(outcome.lower(), extra=known)
    count(outcome.capitalize())
    for name, milliseconds in rounded.items():
        metrics.add_metric(f"{name.removesuffix('_ms').capitalize()}Ms", MetricUnit.Milliseconds, milliseconds)


def count(name: str, number: int = 1) -> None:
    """Add `number` to the metric `name`."""
    metrics.add_metric(name, MetricUnit.Count, number)
