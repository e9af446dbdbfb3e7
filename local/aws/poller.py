"""The event source mapping on this machine: from the queue to the handler, as Lambda's poller does it.

Lambda developer guide, "Using Lambda with Amazon SQS" (event, batch, partial batch responses).
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.aws.moto import LocalAws
from local.aws.stack import Function, Stack

Handler = Callable[[dict[str, Any], Any], Any]
_SQS_MOST = 10  # messages that one ReceiveMessage gives


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The context object that Lambda's Python runtime passes to a handler."""

    function_name: str
    memory_limit_in_mb: str  # text, in Lambda too
    invoked_function_arn: str
    log_group_name: str
    deadline: float  # time.monotonic()
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    log_stream_name: str = "local"
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the invocation."""
        return max(0, round(1000 * (self.deadline - time.monotonic())))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a run of the poller did."""

    invocations: int
    succeeded: int  # messages, deleted from the queue
    failed: int  # deliveries after which the message stayed in the queue
    errors: tuple[str, ...]  # of handlers that raised: "ValueError: ..."
    finished: bool  # False where the deadline came first


def deliver(
    aws: LocalAws,
    stack: Stack,
    handler: Handler,
    *,
    deadline: float = 300.0,
    retry_after: int | None = None,
    on_batch: Callable[[dict[str, Any], Any], None] | None = None,
) -> Delivery:
    """Hand every message in the stack's queue to `handler(event, context)` until none is left.

    Messages whose handling succeeded are deleted; the others stay, and are visible again after the queue's
    visibility timeout, or after `retry_after` seconds where given: then the poller waits for them, so that
    with 0 it ends when every message is handled or in the dead-letter queue. `deadline`: seconds after
    which no batch is begun. `on_batch` is called with event and response after each invocation, for
    progress.
    """
    sqs = aws.client("sqs")
    end = time.monotonic() + deadline
    invocations = succeeded = failed = 0
    errors: list[str] = []
    while time.monotonic() < end:
        messages = _receive(sqs, stack)
        if not messages:
            if retry_after is None or not _in_flight(sqs, stack.queue_url):
                return Delivery(invocations, succeeded, failed, tuple(errors), finished=True)
            time.sleep(0.01)
            continue
        event = sqs_event(messages, stack.queue_arn)
        ids = {message["MessageId"] for message in messages}
        response: Any = None
        try:
            response = handler(event, lambda_context(stack.function))
            bad = failures(response, ids, stack.reports_item_failures)
        except Exception as error:  # Lambda too takes whatever a handler raises for a failed batch
            errors.append(f"{type(error).__name__}: {error}")
            bad = ids
        invocations += 1
        for message in messages:
            receipt = {"QueueUrl": stack.queue_url, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] not in bad:
                sqs.delete_message(**receipt)
            elif retry_after is not None:
                sqs.change_message_visibility(**receipt, VisibilityTimeout=retry_after)
        succeeded += len(messages) - len(bad)
        failed += len(bad)
        if on_batch is not None:
            on_batch(event, response)
    return Delivery(invocations, succeeded, failed, tuple(errors), finished=False)


def sqs_event(messages: list[dict[str, Any]], queue_arn: str) -> dict[str, Any]:
    """The event that Lambda makes of the messages of one batch."""
    return {"Records": [_record(message, queue_arn) for message in messages]}


def failures(response: Any, message_ids: set[str], reports_item_failures: bool) -> set[str]:
    """Ids of the messages of a batch that failed, by the rules of Lambda's partial batch responses.

    No response, or one without failures, means that all succeeded; one that names something else than the
    batch's messages means that all failed. Without ReportBatchItemFailures the response is not looked at.
    """
    if not reports_item_failures or not response:
        return set()
    try:
        named = {item["itemIdentifier"] for item in response.get("batchItemFailures") or []}
    except (AttributeError, KeyError, TypeError):
        return message_ids
    return named if named <= message_ids else message_ids


def lambda_context(function: Function) -> LambdaContext:
    """The context of an invocation that begins now."""
    return LambdaContext(
        function_name=function.name,
        memory_limit_in_mb=str(function.memory),
        invoked_function_arn=function.arn,
        log_group_name=function.log_group,
        deadline=time.monotonic() + function.timeout,
    )


def as_s3_sends(body: str) -> str:
    """Complete the body of a notification of moto's S3 to the form that S3 documents; leave others alone.

    moto 5.2.5 sends the fields that name the object (bucket, key, size, eTag) but no `sequencer` and none of
    the fields about who asked, and it encodes the slashes of keys. The sequencer made here is the event's
    time in milliseconds: it grows as S3's does, and is the same each time a message is delivered. Two more
    differences cannot be seen from a single message: moto sends ObjectCreated:Put as well before the
    CompleteMultipartUpload of a multipart upload, and no versionId for a versioned bucket.
    """
    try:
        notification = json.loads(body)
        records = [record for record in notification["Records"] if record["eventSource"] == "aws:s3"]
        missing = [record for record in records if "sequencer" not in record["s3"]["object"]]
        if not missing:
            return body
        for record in missing:
            _complete(record)
    except (ValueError, KeyError, TypeError):
        return body  # no notification of S3's, such as its test event
    return json.dumps(notification, ensure_ascii=False)


def _complete(record: dict[str, Any]) -> None:
    milliseconds = round(1000 * datetime.fromisoformat(record["eventTime"]).timestamp())
    record["s3"]["object"]["key"] = record["s3"]["object"]["key"].replace("%2F", "/")
    record["s3"]["object"]["sequencer"] = f"{milliseconds:016X}"
    record["s3"]["bucket"].setdefault("ownerIdentity", {"principalId": "LOCAL"})
    record.setdefault("userIdentity", {"principalId": "AWS:LOCAL"})
    record.setdefault("requestParameters", {"sourceIPAddress": "127.0.0.1"})
    record.setdefault("responseElements", {"x-amz-request-id": "LOCAL", "x-amz-id-2": "LOCAL"})


def _receive(sqs: Any, stack: Stack) -> list[dict[str, Any]]:
    """Up to a batch of messages; fewer where the queue has no more that are visible."""
    messages: list[dict[str, Any]] = []
    while len(messages) < stack.batch_size:
        received = sqs.receive_message(
            QueueUrl=stack.queue_url,
            MaxNumberOfMessages=min(_SQS_MOST, stack.batch_size - len(messages)),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=0,
        ).get("Messages", [])
        if not received:
            break
        messages += received
    return messages


def _in_flight(sqs: Any, queue_url: str) -> bool:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return any(int(attributes[name]) for name in names)


def _record(message: dict[str, Any], queue_arn: str) -> dict[str, Any]:
    body = as_s3_sends(message["Body"])
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": body,
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
