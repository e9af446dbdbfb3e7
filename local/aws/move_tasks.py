"""SQS's message move tasks, which moto 5.2.5 does not have. `make redrive` uses them.

StartMessageMoveTask moves all messages at once, so a task is completed when the call returns.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

import time
import uuid
from typing import Any

from moto.core.responses import ActionResult
from moto.sqs.models import Queue
from moto.sqs.responses import SQSResponse


def add_to_moto() -> None:
    """Give moto's SQS the two actions."""
    SQSResponse.start_message_move_task = _start  # type: ignore[attr-defined]
    SQSResponse.list_message_move_tasks = _list  # type: ignore[attr-defined]


def _start(response: SQSResponse) -> ActionResult:
    source, target = (_queue(response, response._get_param(name)) for name in ("SourceArn", "DestinationArn"))
    messages = source.messages
    for message in messages:  # a new message: it is received from the start, and kept for the whole period
        response.sqs_backend.send_message(target.name, message.body, message.message_attributes)
    source._messages = [message for message in source._messages if message not in messages]
    task = {
        "TaskHandle": str(uuid.uuid4()),
        "Status": "COMPLETED",
        "SourceArn": source.queue_arn,
        "DestinationArn": target.queue_arn,
        "ApproximateNumberOfMessagesMoved": len(messages),
        "ApproximateNumberOfMessagesToMove": len(messages),
        "StartedTimestamp": round(1000 * time.time()),
    }
    _tasks(response).insert(0, task)
    return ActionResult({"TaskHandle": task["TaskHandle"]})


def _list(response: SQSResponse) -> ActionResult:
    tasks = [task for task in _tasks(response) if task["SourceArn"] == response._get_param("SourceArn")]
    return ActionResult({"Results": tasks[: response._get_param("MaxResults", 1)]})


def _queue(response: SQSResponse, arn: str) -> Queue:
    return response.sqs_backend.get_queue(arn.rpartition(":")[2])


def _tasks(response: SQSResponse) -> list[dict[str, Any]]:
    """Newest first. They are part of the backend, which a reset empties."""
    tasks: list[dict[str, Any]] = response.sqs_backend.__dict__.setdefault("move_tasks", [])
    return tasks
