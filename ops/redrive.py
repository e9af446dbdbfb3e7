"""Move the messages of the dead-letter queue back to the queue of uploads, after the cause is fixed: `make redrive`.

    python -m ops.redrive [--stack NAME]

SQS moves them itself (StartMessageMoveTask); this command shows the progress. SQS runs one move at a time for a queue,
so a move that is already running is followed. Interrupted, the command cancels the move: what is moved stays moved,
the rest stays in the dead-letter queue. Labelling the same object twice does no harm.

Exit status: 0 all are moved, or there were none; 1 the move failed or was cancelled, or the stack or its queues cannot
be read; 2 wrong arguments; 130 interrupted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3

from ops.cli import INTERRUPTED, CommandError, add_stack_argument, command_parser, exit_status
from ops.stack import describe_stack

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ListMessageMoveTasksResultEntryTypeDef as MoveTask

POLL = 2.0  # seconds between two looks at the progress
_UNFINISHED = {"RUNNING", "CANCELLING"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.redrive", __doc__)
    add_stack_argument(parser)
    options = parser.parse_args(arguments)
    return exit_status(lambda: redrive(boto3.client("sqs"), options.stack))


def redrive(sqs: SQSClient, stack_name: str, sleep: Callable[[float], None] = time.sleep) -> int:
    """Move the messages and print the progress; returns the exit status. Raises CommandError if the move fails."""
    stack = describe_stack(stack_name)
    source, waiting = _arn_and_size(sqs, stack.output("UploadsDeadLetterQueueUrl"))
    target, _ = _arn_and_size(sqs, stack.output("UploadsQueueUrl"))
    earlier = _latest_task(sqs, source)
    if earlier.get("Status") in _UNFINISHED:
        print("a move is already running; following it", flush=True)
        handle, started = earlier.get("TaskHandle"), None
    elif not waiting:
        print("the dead-letter queue is empty: nothing to move")
        return 0
    else:
        print(f"moving about {waiting:,} messages from {_name(source)} to {_name(target)}", flush=True)
        handle = sqs.start_message_move_task(SourceArn=source, DestinationArn=target)["TaskHandle"]
        started = earlier.get("StartedTimestamp")
    try:
        return _follow(sqs, source, started, sleep)
    except KeyboardInterrupt:
        if handle is None:  # it is being cancelled already
            raise
        try:
            moved = sqs.cancel_message_move_task(TaskHandle=handle).get("ApproximateNumberOfMessagesMoved", 0)
        except sqs.exceptions.ResourceNotFoundException:  # the move has ended: nothing is left to cancel
            return _follow(sqs, source, started, sleep)
        print(f"interrupted: {moved:,} messages were moved, the others stay in {_name(source)}", file=sys.stderr)
        return INTERRUPTED


def _follow(sqs: SQSClient, source: str, earlier: int | None, sleep: Callable[[float], None]) -> int:
    """Print the progress until the task ends. `earlier` is when the task before it started: the list may lag."""
    shown = ""
    while True:
        task = _latest_task(sqs, source)
        is_listed = bool(task) and task.get("StartedTimestamp") != earlier
        if is_listed and task["Status"] not in _UNFINISHED:
            break
        if is_listed and _progress(task) != shown:
            shown = _progress(task)
            print(f"  {shown}", flush=True)
        sleep(POLL)
    if task["Status"] != "COMPLETED":
        reason = task.get("FailureReason") or "no reason is given"
        raise CommandError(f"the move was {task['Status']} after {_progress(task)}: {reason}. Run this command again")
    print(f"done: {_progress(task)}")
    return 0


def _progress(task: MoveTask) -> str:
    """Such as "1,200 of 5,000 messages moved"; SQS counts about, and counts the total after a while only."""
    moved, total = task.get("ApproximateNumberOfMessagesMoved", 0), task.get("ApproximateNumberOfMessagesToMove")
    return f"{moved:,} messages moved" if total is None else f"{moved:,} of {total:,} messages moved"


def _latest_task(sqs: SQSClient, source: str) -> MoveTask:
    """The latest move from a queue; empty if there was none."""
    tasks = sqs.list_message_move_tasks(SourceArn=source, MaxResults=1).get("Results", [])
    return tasks[0] if tasks else {}


def _arn_and_size(sqs: SQSClient, url: str) -> tuple[str, int]:
    """ARN of a queue and, about, its number of messages."""
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "ApproximateNumberOfMessages"])
    return answer["Attributes"]["QueueArn"], int(answer["Attributes"]["ApproximateNumberOfMessages"])


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]


if __name__ == "__main__":
    sys.exit(main())
