"""The handler: any event that tells of objects (labeller.events lists them) -> labels."""

from __future__ import annotations

import gc

# Hardly anything that a cold start makes is garbage, and it makes so much that looking takes a tenth of its time.
gc.disable()

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from classify.labelling import Labeller, Outcome, Publish
from classify.lanes import Lanes
from classify.publishing import Publisher
from labeller.classifier import load_classifier
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
from labeller.inference import objects_in_flight
from labeller.observability import count, logger, metrics, report
from labeller.pipeline import Deadline, OutOfTime, run
from labeller.settings import Settings
from labeller.storage import AwsFailure, connect

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# Kept for the answer, and for logs and metrics, when time is over: what is not done then is reported as failed.
_SECONDS_TO_ANSWER = 2.0
# An object is begun only while this share of the time is left, 12 of 60 s: the largest picture takes some 7 s.
_SHARE_TO_FINISH = 0.2


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No garbage is looked for meanwhile, nor ever among what there is at the end, which stays for good."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@cache  # for the life of the process; a failure is not kept, so the next invocation tries again
def get_labeller() -> Labeller:
    """Settings, network and clients, at first use. Raises SettingsError, ModelError."""
    settings = Settings.from_env(os.environ)
    with _without_collecting(), ThreadPoolExecutor(1) as beside:  # one is Python, the other mostly is not
        storage = beside.submit(connect, settings.results_table, settings.event_bus)
        # One thread for each run of the network, and as many runs at once as there are processors (see Lanes).
        classifier = load_classifier(settings.model_dir, threads=1)
    lanes = Lanes.for_processors(settings.onnx_threads, objects_in_flight(settings.max_image_bytes))
    return Labeller(settings, classifier, storage.result(), lanes)


# With SnapStart, what is loaded before the snapshot is there in every copy. Lambda's runtime brings the module along;
# without SnapStart it calls no hook.
with suppress(ImportError):
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(get_labeller)


@logger.inject_lambda_context
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
    labeller = replace(labeller, only_stale=request.only_stale)
    ends = asyncio.run(label_all(labeller, request, _deadline(context)))
    if request.source is Source.SQS:
        failed = [
            delivery.id for delivery, end in zip(request.deliveries, ends, strict=True) if isinstance(end, Exception)
        ]
        return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}
    if request.source is Source.BATCH_OPERATIONS:
        tasks = [delivery.id for delivery in request.deliveries]
        return batch_operations_answer(request, dict(zip(tasks, map(_task_result, ends), strict=True)))
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return {"labelled": len(request.refs)}


async def label_all(
    labeller: Labeller, request: Request, deadline: Deadline | None = None
) -> list[list[Outcome] | Exception]:
    """Label what all deliveries tell of, many at once; how each of them ended, in their order."""
    publisher = Publisher(labeller.storage, labeller.lanes.aws)

    async def work(delivery: Delivery) -> list[Outcome]:
        return await deliver(labeller, delivery, publisher.publish)

    in_flight = objects_in_flight(labeller.settings.max_image_bytes)
    ends = await run(request.deliveries, work, in_flight=in_flight, deadline=deadline)
    for delivery, end in zip(request.deliveries, ends, strict=True):
        if isinstance(end, OutOfTime):
            paths = [_names(ref) for ref in delivery.refs]
            logger.error("out of time", extra={"delivery_id": delivery.id, "objects": paths, "error": str(end)})
            count("OutOfTime")
            count("Failed")
    return ends


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
            _report(outcomes[-1], delivery)
        except AwsFailure as failure:
            logger.error("failed", extra={"delivery_id": delivery.id, **_names(ref), "error": str(failure)})
            failures.append(failure)
        except Exception as error:
            # Nothing is swallowed here: it is raised below, when its traceback has been logged.
            logger.exception("failed", extra={"delivery_id": delivery.id, **_names(ref)})
            failures.append(error)
    if failures:
        count("Failed", len(failures))
        raise failures[0]
    return outcomes


def _task_result(end: list[Outcome] | Exception) -> tuple[TaskResult, str]:
    if isinstance(end, MalformedEvent):
        return TaskResult.PERMANENT_FAILURE, str(end)
    if isinstance(end, Exception):
        return TaskResult.TEMPORARY_FAILURE, str(end)
    return TaskResult.SUCCEEDED, ", ".join(outcome.ending.value for outcome in end) or "a folder"


def _deadline(context: LambdaContext) -> Deadline:
    seconds = context.get_remaining_time_in_millis() / 1000
    return Deadline.in_seconds(seconds - _SECONDS_TO_ANSWER, item=seconds * _SHARE_TO_FINISH)


def _names(ref: ObjectRef) -> dict[str, str | None]:
    return {"bucket": ref.bucket, "key": ref.key, "version": ref.version_id}


def _report(outcome: Outcome, delivery: Delivery) -> None:
    result = outcome.result
    prediction = result.prediction if result else None
    fields = {
        "delivery_id": delivery.id,
        **_names(outcome.ref),
        "label": prediction.label if prediction else None,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "reason": result.reason if result else None,
        "detail": result.detail if result else None,
        "tagging": outcome.tagging,
    }
    report(outcome.ending, fields, outcome.durations)


gc.enable()  # after the last import
