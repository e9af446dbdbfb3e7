"""Logs, metrics and traces (Powertools for AWS Lambda).

The one exception to "no environment is read at import": these three read Powertools' own variables
(POWERTOOLS_SERVICE_NAME, POWERTOOLS_METRICS_NAMESPACE, POWERTOOLS_LOG_LEVEL) when they are made, and must
exist before the handler that they decorate. They open no connection and make no client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from aws_lambda_powertools import Logger, Metrics, Tracer

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@contextmanager
def stage(name: str, durations: dict[str, float]) -> Iterator[None]:
    """Trace a stage of the work as a subsegment, and add its milliseconds to durations["<name>_ms"]."""
    start = perf_counter()
    try:
        with tracer.provider.in_subsegment(f"## {name}"):
            yield
    finally:
        taken = (perf_counter() - start) * 1000
        durations[f"{name}_ms"] = round(durations.get(f"{name}_ms", 0.0) + taken, 1)
