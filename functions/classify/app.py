"""The handler: any event that tells of objects (labeller.events lists them) -> labels."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import cache
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from classify.labelling import Labeller, Outcome, Publish
from classify.publishing import Publisher
from labeller.events import (
    Delivery,
    MalformedEvent,
    ObjectRef,
    Request,
    Source,
    TaskResult,
    batch_operations_answer,
    parse_request,
)
from labeller.model import load_classifier
from labeller.observability import logger, metrics, tracer
from labeller.settings import Settings
from labeller.storage import AwsFailure, connect


@cache  # for the life of the process; a failure is not kept, so the next invocation tries again
def get_labeller() -> Labeller:
    """Settings, network and clients, at first use. Raises SettingsError, ModelError."""
    settings = Settings.from_env(os.environ)
    classifier = load_classifier(settings.model_dir, settings.onnx_threads)
    return Labeller(settings, classifier, connect(settings.results_table, settings.event_bus))


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Label every object that `event` tells of.

    For an SQS batch: {"batchItemFailures": [...]} names the messages to be brought again, and only those.
    For S3 Batch Operations: a result for each task.
    For a notification of S3's, SNS's or EventBridge's: {"labelled": number of objects dealt with}; an exception if any
    must come again, after all had their turn.
    """
    labeller = get_labeller()  # before any message: a function without its model must fail loudly, as a whole
    request = parse_request(event)
    if request.source is Source.SQS:
        return label_messages(labeller, request, event, context)
    ends = asyncio.run(label_all(replace(labeller, only_stale=request.only_stale), request))
    if request.source is Source.BATCH_OPERATIONS:
        tasks = [delivery.id for delivery in request.deliveries]
        return batch_operations_answer(request, dict(zip(tasks, map(_task_result, ends), strict=True)))
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return {"labelled": len(request.refs)}


def label_messages(
    labeller: Labeller, request: Request, event: dict[str, Any], context: LambdaContext
) -> dict[str, Any]:
    """Label what an SQS batch tells of, all messages at once, and answer with those that failed."""
    deliveries = {delivery.id: delivery for delivery in request.deliveries}
    publisher = Publisher(labeller.storage, labeller.lanes.aws)

    async def handle(record: SQSRecord) -> None:
        await deliver(labeller, deliveries[record.message_id], publisher.publish)

    # Not raising when all messages failed: the answer names each of them anyway, and an exception would say
    # less. Failures are counted (metric Failed) and end in the dead-letter queue.
    processor = AsyncBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return dict(async_process_partial_response(event, handle, processor, context))


async def label_all(labeller: Labeller, request: Request) -> list[list[Outcome] | Exception]:
    """Label what is told of otherwise than by SQS; how each delivery ended, in their order."""
    publisher = Publisher(labeller.storage, labeller.lanes.aws)

    async def end(delivery: Delivery) -> list[Outcome] | Exception:
        try:
            return await deliver(labeller, delivery, publisher.publish)
        except Exception as error:  # logged by deliver
            return error

    return list(await asyncio.gather(*map(end, request.deliveries)))


async def deliver(labeller: Labeller, delivery: Delivery, publish: Publish) -> list[Outcome]:
    """Label what one delivery tells of; any exception makes this delivery, and no other, come again.

    It is raised at the end, after all objects had their turn: MalformedEvent, AwsFailure, or what else went wrong.
    """
    outcomes: list[Outcome] = []
    failures: list[Exception] = []
    for malformed in delivery.malformed:
        logger.error("malformed", delivery_id=delivery.id, error=str(malformed))
        failures.append(malformed)
    for ref in delivery.refs:
        try:
            outcomes.append(await labeller.handle(ref, publish))
            _report(outcomes[-1])
        except AwsFailure as failure:
            logger.error("failed", extra={"delivery_id": delivery.id, **_names(ref), "error": str(failure)})
            failures.append(failure)
        except Exception as error:
            # Nothing is swallowed here: it is raised below. Powertools' batch processor keeps no traceback.
            logger.exception("failed", extra={"delivery_id": delivery.id, **_names(ref)})
            failures.append(error)
    if failures:
        metrics.add_metric("Failed", MetricUnit.Count, len(failures))
        raise failures[0]
    return outcomes


def _task_result(end: list[Outcome] | Exception) -> tuple[TaskResult, str]:
    if isinstance(end, MalformedEvent):
        return TaskResult.PERMANENT_FAILURE, str(end)
    if isinstance(end, Exception):
        return TaskResult.TEMPORARY_FAILURE, str(end)
    return TaskResult.SUCCEEDED, ", ".join(outcome.ending.value for outcome in end) or "a folder"


def _names(ref: ObjectRef) -> dict[str, str | None]:
    return {"bucket": ref.bucket, "key": ref.key, "version": ref.version_id}


def _report(outcome: Outcome) -> None:
    """One log line and one count. Keys go into the log only: as a dimension, each would be a metric."""
    result = outcome.result
    prediction = result.prediction if result else None
    fields = {
        **_names(outcome.ref),
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
