"""Put the messages of the dead-letter queue back, once what made them fail is mended: `make redrive`.

    python -m ops.redrive [--stack NAME]

Works on AWS or wherever AWS_ENDPOINT_URL leads. Message by message: sent to the queue first, then deleted from the
dead-letter queue, so that a message may be there twice when this is interrupted, but is never lost; labelling the same
object twice does no harm. (SQS has StartMessageMoveTask for this, which moves without a word and which the local AWS
does not know; at the size of what this queue should hold, one way that can be tried here is worth more.)

Exit status: 0; 1 the stack or its queues cannot be read; 2 wrong arguments; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

from ops.cli import CommandError, add_stack_argument, command_parser, exit_status
from ops.stack import describe_stack

_AT_ONCE = 10  # messages of one call to SQS
_HIDDEN = 60  # seconds that a message stays invisible while it is being moved


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.redrive", __doc__)
    add_stack_argument(parser)
    options = parser.parse_args(arguments)
    return exit_status(lambda: _run(options.stack))


def _run(stack_name: str) -> int:
    stack = describe_stack(stack_name)
    dead, alive = stack.output("UploadsDeadLetterQueueUrl"), stack.output("UploadsQueueUrl")
    sqs = boto3.client("sqs")
    print(f"in {dead}: {_messages(waiting(sqs, dead))} waiting", flush=True)
    moved = redrive(sqs, dead, alive, lambda number: print(f"  {number} put back", flush=True))
    print(f"{_messages(moved)} back in {alive}")
    return 0


def redrive(sqs: Any, dead: str, alive: str, progress: Callable[[int], None] = lambda _: None) -> int:
    """Move every visible message of the queue `dead` (a URL) to `alive`; returns their number.

    Attributes that the sender gave come along. Raises CommandError if SQS refuses a message; it stays where it was.
    """
    moved = 0
    while True:
        messages = sqs.receive_message(
            QueueUrl=dead,
            MaxNumberOfMessages=_AT_ONCE,
            VisibilityTimeout=_HIDDEN,
            MessageAttributeNames=["All"],
            WaitTimeSeconds=1,  # asks all of SQS's servers: without waiting, some messages may not be seen
        ).get("Messages", [])
        if not messages:
            return moved
        _forward(sqs, messages, alive)
        entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
        answer = sqs.delete_message_batch(QueueUrl=dead, Entries=entries)
        if answer.get("Failed"):
            raise CommandError(f"{_messages(len(answer['Failed']))} in both queues now: {answer['Failed'][0]}")
        moved += len(messages)
        progress(moved)


def waiting(sqs: Any, url: str) -> int:
    """About how many messages are visible in a queue."""
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def _messages(number: int) -> str:
    return "1 message is" if number == 1 else f"{number:,} messages are"


def _forward(sqs: Any, messages: list[dict[str, Any]], alive: str) -> None:
    for message in messages:
        try:
            sqs.send_message(
                QueueUrl=alive,
                MessageBody=message["Body"],
                MessageAttributes=message.get("MessageAttributes", {}),
            )
        except ClientError as error:
            raise CommandError(f"message {message['MessageId']} could not be put back, and stays: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
