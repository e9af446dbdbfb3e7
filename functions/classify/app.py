"""The Lambda handler: labels every object of an event (labeller.events lists the kinds of events)."""

from __future__ import annotations

import gc

# Disable garbage collection during the cold start: little is garbage, and collecting costs 10%.
gc.disable()

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from classify.labelling import Ending, Labeller, Outcome, Publish
from classify.publishing import Publisher
from classify.tags_ahead import Pace
from labeller.aws_errors import AwsFailure
from labeller.classifier import Classifier, open_classifier
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
from labeller.observability import count, logger, metrics, report
from labeller.pipeline import Deadline, OutOfTime, WorkerPool, run, stage
from labeller.results import Status
from labeller.settings import Settings
from labeller.storage import connect

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# Reserved for the answer, logs and metrics after the deadline: unfinished deliveries are reported as failed.
_SECONDS_TO_ANSWER = 2.0
# An object is begun only if this share of the time is left, 12 of 60 s: a picture takes at most 10 s.
_SHARE_TO_FINISH = 0.2


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect no garbage meanwhile, and exempt all objects that exist at the end from collection for good."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@cache  # for the life of the process; a failure is not cached, so that the next invocation tries again
def get_labeller() -> Labeller:
    """Settings, network and clients, made at first use. Raises SettingsError, ModelError.

    The network's self-check may still be under way.
    """
    settings = Settings.from_env(os.environ)
    # Two threads: making the clients is Python code, loading the network mostly is not.
    with _without_garbage_collection(), ThreadPoolExecutor(1) as thread:
        storage = thread.submit(connect, settings.results_table, settings.event_bus)
        # A picture runs on one processor, as many pictures at a time as processors. Two onnxruntime threads on one
        # picture need 14% more processor time than one thread each on two pictures (68% more if idle threads spin,
        # the default), measured with VGG16 INT8 at 128 and 224 pixels. Only a picture that comes alone takes longer.
        classifier = open_classifier(settings.model_dir, threads=1)
        pace, cpu_pool = Pace(), WorkerPool(settings.onnx_threads, "cpu")
        clients = storage.result()
        self_check = cpu_pool.begin(_check, classifier, pace)  # beside the first picture: the clients need a processor
        return Labeller(
            settings,
            classifier,
            clients,
            aws_pool=WorkerPool(settings.objects_in_flight, "aws"),
            cpu_pool=cpu_pool,
            decoder_pool=WorkerPool(settings.onnx_threads, "decoder"),
            pace=pace,
            self_check=self_check,
        )


def get_ready_labeller() -> Labeller:
    """As get_labeller, but checked. Raises ModelError also if the network fails its self-check."""
    labeller = get_labeller()
    _ensure_checked(labeller)
    return labeller


def _check(classifier: Classifier, pace: Pace) -> None:
    durations: dict[str, float] = {}
    with stage("check", durations):
        classifier.check_itself()
    pace.add(durations["check_ms"] / 1000)


def _ensure_checked(labeller: Labeller) -> None:
    try:
        labeller.self_check.result()
    except Exception:
        get_labeller.cache_clear()
        raise


# With SnapStart, every copy has what was loaded before the snapshot. Lambda's runtime has the module, and calls no
# hook without SnapStart.
with suppress(ImportError):
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(get_ready_labeller)


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Label every object of the event.

    The answer to an SQS batch is {"batchItemFailures": [...]}, the messages to be retried; to S3 Batch Operations a
    result for each task; to a notification of S3, SNS or EventBridge {"labelled": number of objects that have a result,
    "deleted": number of rows marked}. For these, an exception is raised if any must be retried, after all objects had
    their turn.
    """
    labeller = get_labeller()  # before reading the event: a function without its model must fail as a whole
    request = parse_request(event)
    labeller = replace(labeller, only_stale=request.only_stale)
    outcomes = asyncio.run(label_all(labeller, request, _deadline(context)))
    _ensure_checked(labeller)  # a network that fails its self-check has labelled nothing
    ids = [delivery.id for delivery in request.deliveries]
    if request.source is Source.SQS:
        failed = [identity for identity, outcome in zip(ids, outcomes, strict=True) if isinstance(outcome, Exception)]
        return {"batchItemFailures": [{"itemIdentifier": identity} for identity in failed]}
    if request.source is Source.BATCH_OPERATIONS:
        return batch_operations_answer(request, dict(zip(ids, map(_task_result, outcomes), strict=True)))
    endings: Counter[Ending] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
        endings.update(labelled.ending for labelled in outcome)
    return {
        "labelled": sum(endings[Ending(status)] for status in Status if status is not Status.DELETED),
        "deleted": endings[Ending.DELETED],
    }


async def label_all(
    labeller: Labeller, request: Request, deadline: Deadline | None = None
) -> list[list[Outcome] | Exception]:
    """Label the objects of all deliveries concurrently; for each delivery its outcomes, or its exception."""
    publisher = Publisher(labeller.storage, labeller.aws_pool)

    async def work(delivery: Delivery) -> list[Outcome]:
        with publisher.delivery():
            return await deliver(labeller, delivery, publisher.publish)

    in_flight = labeller.settings.objects_in_flight
    outcomes = await run(request.deliveries, work, in_flight=in_flight, deadline=deadline)
    for delivery, outcome in zip(request.deliveries, outcomes, strict=True):
        if isinstance(outcome, OutOfTime):
            objects = [_log_fields(ref) for ref in delivery.refs]
            logger.error("out of time", extra={"delivery_id": delivery.id, "objects": objects, "error": str(outcome)})
            count("OutOfTime")
            count("Failed")
    return outcomes


async def deliver(labeller: Labeller, delivery: Delivery, publish: Publish) -> list[Outcome]:
    """Label the objects of one delivery. An exception makes this delivery, and no other, be retried.

    It is raised after all objects had their turn: MalformedEvent, AwsFailure or an unexpected one.
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
            logger.error("failed", extra={"delivery_id": delivery.id, **_log_fields(ref), "error": str(failure)})
            failures.append(failure)
        except Exception as error:
            # Raised below, after its traceback is logged.
            logger.exception("failed", extra={"delivery_id": delivery.id, **_log_fields(ref)})
            failures.append(error)
    if failures:
        count("Failed", len(failures))
        raise failures[0]
    return outcomes


def _task_result(outcome: list[Outcome] | Exception) -> tuple[TaskResult, str]:
    if isinstance(outcome, MalformedEvent):
        return TaskResult.PERMANENT_FAILURE, str(outcome)
    if isinstance(outcome, Exception):
        return TaskResult.TEMPORARY_FAILURE, str(outcome)
    return TaskResult.SUCCEEDED, ", ".join(labelled.ending.value for labelled in outcome) or "a folder"


def _deadline(context: LambdaContext) -> Deadline:
    seconds = context.get_remaining_time_in_millis() / 1000
    return Deadline.in_seconds(seconds - _SECONDS_TO_ANSWER, item=seconds * _SHARE_TO_FINISH)


def _log_fields(ref: ObjectRef) -> dict[str, str | None]:
    return {"bucket": ref.bucket, "key": ref.key, "version": ref.version_id}


def _report(outcome: Outcome, delivery: Delivery) -> None:
    result = outcome.result
    prediction = result.prediction if result else None
    fields = {
        "delivery_id": delivery.id,
        **_log_fields(outcome.ref),
        "label": prediction.label if prediction else None,
        "confidence": round(prediction.confidence, 4) if prediction else None,
        "familiarity": prediction.familiarity if prediction else None,
        "reason": result.reason if result else None,
        "detail": result.detail if result else None,
        "tagging": outcome.tagging,
    }
    report(outcome.ending, fields, outcome.durations)


gc.freeze()  # otherwise the first collection goes through all that was imported, in 10 ms
gc.enable()  # after the last import
