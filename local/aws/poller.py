"""The event source mapping on this machine: it hands a queue's messages to a handler, as Lambda's poller does.

Lambda developer guide, "Using Lambda with Amazon SQS" (event, batch, partial batch responses).
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local.aws.moto import LocalAws
from local.aws.stack import Function, Stack

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

Handler = Callable[[dict[str, Any], Any], Any]
_MAX_RECEIVED = 10  # messages of one ReceiveMessage (SQS API reference)


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


@dataclass(slots=True)
class Delivery:
    """What a run of the poller did."""

    invocations: int = 0
    succeeded: int = 0  # messages, deleted from the queue
    failed: int = 0  # deliveries after which the message stayed in the queue
    errors: list[str] = field(default_factory=list)  # of handlers that raised: "ValueError: ..."
    finished: bool = False  # whether the queue was empty before the deadline


def deliver(
    aws: LocalAws, stack: Stack, handler: Handler, *, deadline: float = 300.0, retry_after: int | None = None
) -> Delivery:
    """Hand every message of the stack's queue to `handler(event, context)` until none is left.

    A message that succeeds is deleted. One that fails stays, and is visible again after the queue's visibility
    timeout. With `retry_after`, it is visible after that many seconds, and the poller waits for it: with 0, it returns
    when every message is handled or in the dead-letter queue. No batch begins after `deadline` seconds.
    """
    sqs = aws.client("sqs")
    end = time.monotonic() + deadline
    delivery = Delivery()
    while time.monotonic() < end:
        messages = _receive(sqs, stack)
        if not messages:
            if retry_after is None or not _count(sqs, stack.queue_url):
                delivery.finished = True
                break
            time.sleep(0.01)
            continue
        failed = _invoke(handler, stack, messages, delivery.errors)
        for message in messages:
            receipt = message["ReceiptHandle"]
            if message["MessageId"] not in failed:
                sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=receipt)
            elif retry_after is not None:
                sqs.change_message_visibility(
                    QueueUrl=stack.queue_url, ReceiptHandle=receipt, VisibilityTimeout=retry_after
                )
        delivery.invocations += 1
        delivery.succeeded += len(messages) - len(failed)
        delivery.failed += len(failed)
    return delivery


def _invoke(handler: Handler, stack: Stack, messages: Sequence[MessageTypeDef], errors: list[str]) -> set[str]:
    """Call the handler with a batch; returns the ids of the messages that failed."""
    event = {"Records": [_record(message, stack.queue_arn) for message in messages]}
    ids = {message["MessageId"] for message in messages}
    try:
        return failures(handler(event, lambda_context(stack.function)), ids, stack.reports_item_failures)
    except Exception as error:  # Lambda takes whatever a handler raises as a failed batch
        errors.append(f"{type(error).__name__}: {error}")
        return ids


def failures(response: Any, message_ids: set[str], reports_item_failures: bool) -> set[str]:
    """Ids of the messages of a batch that failed, by the rules of Lambda's partial batch responses.

    An empty response and one without failures mean that all succeeded; one that names anything but messages of the
    batch means that all failed. Without ReportBatchItemFailures, the response is ignored.
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
    """The body of a notification in the form that S3 documents; other bodies are returned unchanged.

    moto 5.2.5 omits the `sequencer` and the requester, and encodes the slashes of keys. The sequencer made here is the
    event's time in milliseconds: it grows as S3's does, and is the same at each delivery. Two differences remain, as a
    single message does not show them: moto also sends ObjectCreated:Put before the CompleteMultipartUpload of a
    multipart upload, and no versionId for a versioned bucket.
    """
    try:
        notification = json.loads(body)
        records = [record for record in notification["Records"] if record["eventSource"] == "aws:s3"]
        incomplete = [record for record in records if "sequencer" not in record["s3"]["object"]]
        if not incomplete:
            return body
        for record in incomplete:
            _complete(record)
    except (ValueError, KeyError, TypeError):
        return body  # not an object's notification, such as S3's test event
    return json.dumps(notification, ensure_ascii=False)


def _complete(record: dict[str, Any]) -> None:
    milliseconds = round(1000 * datetime.fromisoformat(record["eventTime"]).timestamp())
    record["s3"]["object"]["key"] = record["s3"]["object"]["key"].replace("%2F", "/")
    record["s3"]["object"]["sequencer"] = f"{milliseconds:016X}"
    record["s3"]["bucket"].setdefault("ownerIdentity", {"principalId": "LOCAL"})
    record.setdefault("userIdentity", {"principalId": "AWS:LOCAL"})
    record.setdefault("requestParameters", {"sourceIPAddress": "127.0.0.1"})
    record.setdefault("responseElements", {"x-amz-request-id": "LOCAL", "x-amz-id-2": "LOCAL"})


def _receive(sqs: SQSClient, stack: Stack) -> list[MessageTypeDef]:
    """Up to a batch of messages; fewer if the queue has no more visible ones."""
    messages: list[MessageTypeDef] = []
    while len(messages) < stack.batch_size:
        received = sqs.receive_message(
            QueueUrl=stack.queue_url,
            MaxNumberOfMessages=min(_MAX_RECEIVED, stack.batch_size - len(messages)),
            MessageSystemAttributeNames=["All"],
            WaitTimeSeconds=0,
        ).get("Messages", [])
        if not received:
            break
        messages += received
    return messages


def _count(sqs: SQSClient, queue_url: str) -> int:
    """Messages of the queue, visible or in flight."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])


def _record(message: MessageTypeDef, queue_arn: str) -> dict[str, Any]:
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
