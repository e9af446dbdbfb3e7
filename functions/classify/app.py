"""The handler: SQS batches of S3 notifications, or one raw S3 notification, -> labels."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from classify.labelling import Labeller, Outcome
from labeller.events import MalformedEvent, ObjectRef, parse_event
from labeller.model import load_classifier
from labeller.observability import logger, metrics, tracer
from labeller.settings import Settings
from labeller.storage import AwsFailure, connect


@cache  # for the life of the process; a failure is not kept, so the next invocation tries again
def get_labeller() -> Labeller:
    """Settings, network and clients, at first use. Raises SettingsError, ModelError."""
    settings = Settings.from_env(os.environ)
    classifier = load_classifier(settings.model_dir, settings.onnx_threads)
    return Labeller(settings, classifier, connect(settings.results_table))


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Label every object that `event` tells of.

    For an SQS batch: {"batchItemFailures": [...]} names the messages to be brought again, and only those.
    For a raw S3 notification: {"labelled": number of objects dealt with}; AwsFailure if any must come again.
    """
    labeller = get_labeller()  # before any message: a function without its model must fail loudly, as a whole
    if not _is_sqs(event):
        return {"labelled": label_all(labeller, event)}
    # Not raising when all messages failed: the answer names each of them anyway, and an exception would say
    # less. Failures are counted (metric Failed) and end in the dead-letter queue.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)

    def handle(record: SQSRecord) -> None:
        label_message(labeller, record)

    return dict(process_partial_response(event, handle, processor, context))


def label_message(labeller: Labeller, record: SQSRecord) -> None:
    """Label what one SQS message tells of; any exception makes this message, and no other, come again."""
    try:
        label_all(labeller, _body(record))
    except AwsFailure:
        raise  # logged where the object was known
    except Exception:
        # Nothing is swallowed here. Powertools' batch processor keeps no traceback, so it is logged before.
        logger.exception("message failed", message_id=record.message_id)
        metrics.add_metric("Failed", MetricUnit.Count, 1)
        raise


def label_all(labeller: Labeller, notification: object) -> int:
    """Label all objects of one S3 notification and return their number.

    Raises MalformedEvent; raises AwsFailure at the end, after all objects had their turn, if any failed.
    """
    failures: list[AwsFailure] = []
    refs = parse_event(notification)
    for ref in refs:
        try:
            _report(ref, labeller.label(ref))
        except AwsFailure as failure:
            logger.error("failed", bucket=ref.bucket, key=ref.key, version=ref.version_id, error=str(failure))
            metrics.add_metric("Failed", MetricUnit.Count, 1)
            failures.append(failure)
    if failures:
        raise AwsFailure(f"{len(failures)} of {len(refs)} objects failed, first: {failures[0]}") from failures[0]
    return len(refs)


def _is_sqs(event: dict[str, Any]) -> bool:
    records = event.get("Records")
    first = records[0] if isinstance(records, list) and records else None
    return isinstance(first, dict) and first.get("eventSource") == "aws:sqs"


def _body(record: SQSRecord) -> object:
    try:
        return json.loads(record.body)
    except json.JSONDecodeError as error:
        raise MalformedEvent(f"the body of message {record.message_id} is not JSON: {error}") from error


def _report(ref: ObjectRef, outcome: Outcome) -> None:
    """One log line and one count. Keys go into the log only: as a dimension, each would be a metric."""
    result = outcome.result
    prediction = result.prediction if result else None
    fields = {
        "bucket": ref.bucket,
        "key": ref.key,
        "version": ref.version_id,
        "label": prediction.label if prediction else None,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "reason": result.reason if result else None,
        "detail": result.detail if result else None,
        "tagging": outcome.tagging,
        **outcome.durations,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    logger.info(outcome.ending.lower(), extra=known)
    metrics.add_metric(outcome.ending.capitalize(), MetricUnit.Count, 1)
