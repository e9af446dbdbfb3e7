"""Logs and metrics (Powertools for AWS Lambda), and traces.

One line, one count and one subsegment for each object, and the milliseconds of each stage of its work in all three:

    log line    level, message (what became of it), delivery_id (of the message, event or task that told of it),
                bucket, key, version, label, confidence, reason, detail, tagging, <stage>_ms; Powertools adds the
                request id, the trace id, timestamp, service, cold_start. Never anything of an object's content.
    metrics     counts of objects: Labelled, Unsure, Unreadable, Deleted, Gone, Stale, Filtered (labelling.Ending)
                Failed: of what makes its delivery come again; OutOfTime: of deliveries among it
                milliseconds of an object: FetchMs, DecodeMs, InferenceMs, WriteMs, PublishMs
                ColdStart, by Powertools. Their one dimension is the service: a key would make each object a metric.
    subsegment  "object", from beginning to end, with its log line as metadata

The one exception to "no environment is read at import": logger and metrics read Powertools' own variables
(POWERTOOLS_SERVICE_NAME, POWERTOOLS_METRICS_NAMESPACE, POWERTOOLS_LOG_LEVEL) when they are made, and must
exist before the handler that they decorate. They open no connection and make no client.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from labeller.tracing import send_subsegment

# Control characters, line separators, marks that turn the direction of text, halves of surrogate pairs: JSON escapes
# the ASCII ones. The others would let a hostile key break a line, or hide, in a terminal or a log viewer.
_INVISIBLE = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def to_json(content: Any) -> str:
    """`content` on one line of JSON, in which letters of all scripts stay legible and nothing invisible is left."""
    text = json.dumps(content, ensure_ascii=False, default=str, separators=(",", ":"))
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


logger = Logger(json_serializer=to_json, serialize_stacktrace=False)  # the traceback as text will do
metrics = Metrics()


@contextmanager
def stage(name: str, durations: dict[str, float]) -> Iterator[None]:
    """Add the milliseconds of a stage of the work to durations["<name>_ms"]."""
    start = perf_counter()
    try:
        yield
    finally:
        taken = (perf_counter() - start) * 1000
        durations[f"{name}_ms"] = round(durations.get(f"{name}_ms", 0.0) + taken, 1)


def report(ending: str, fields: Mapping[str, Any], durations: Mapping[str, float]) -> None:
    """Log, count and trace an object that is done. Not for several threads at once."""
    known = {name: value for name, value in {**fields, **durations}.items() if value is not None}
    logger.info(ending.lower(), extra=known)
    count(ending.capitalize())
    for name, milliseconds in durations.items():
        metrics.add_metric(f"{name.removesuffix('_ms').capitalize()}Ms", MetricUnit.Milliseconds, milliseconds)
    end = time.time()
    send_subsegment(os.environ, "object", end - sum(durations.values()) / 1000, end, known)


def count(what: str, number: int = 1) -> None:
    """Add `number` to the metric `what`."""
    metrics.add_metric(what, MetricUnit.Count, number)
