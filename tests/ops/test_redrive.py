"""`make redrive`: SQS moves the messages, the command shows how far it is. moto has no move tasks: SQS is a Stubber."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from local.aws.moto import LocalAws
from local.aws.stack import Stack
from ops import redrive
from ops.cli import CommandError
from ops.stack import describe_stack

DEAD, LIVE = "arn:aws:sqs:eu-west-1:1:stack-dead", "arn:aws:sqs:eu-west-1:1:stack-uploads"


class Queues:
    """The two queues of the stack that is deployed here, and what SQS answers about moves between them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sqs = boto3.client("sqs")
        self.stub = Stubber(self.sqs)
        self.interrupt = False

    def expect(self, operation: str, answer: dict[str, Any], **request: Any) -> None:
        self.stub.add_response(operation, answer, request)

    def expect_queues(self, waiting: int) -> None:
        names = ["QueueArn", "ApproximateNumberOfMessages"]
        outputs = describe_stack(self.stack.name).outputs
        for output, arn, size in (("UploadsDeadLetterQueueUrl", DEAD, waiting), ("UploadsQueueUrl", LIVE, 0)):
            attributes = {"QueueArn": arn, "ApproximateNumberOfMessages": str(size)}
            self.expect(
                "get_queue_attributes", {"Attributes": attributes}, QueueUrl=outputs[output], AttributeNames=names
            )

    def expect_start(self) -> None:
        self.expect("start_message_move_task", {"TaskHandle": "handle"}, SourceArn=DEAD, DestinationArn=LIVE)

    def expect_tasks(self, *tasks: dict[str, Any] | None) -> None:
        for task in tasks:
            answer = {"Results": [task] if task else []}
            self.expect("list_message_move_tasks", answer, SourceArn=DEAD, MaxResults=1)

    def run(self) -> int:
        def sleep(_: float) -> None:
            if self.interrupt:
                raise KeyboardInterrupt

        with self.stub:
            status = redrive.redrive(self.sqs, self.stack.name, sleep)
            self.stub.assert_no_pending_responses()
        return status


@pytest.fixture
def queues(aws: LocalAws, stack: Stack) -> Queues:
    return Queues(stack)


def task(status: str, moved: int = 0, total: int | None = 23, started: int = 2, **more: Any) -> dict[str, Any]:
    counts = {"ApproximateNumberOfMessagesMoved": moved}
    if total is not None:
        counts["ApproximateNumberOfMessagesToMove"] = total
    handle = {"TaskHandle": "handle"} if status == "RUNNING" else {}
    return {"Status": status, "StartedTimestamp": started, **counts, **handle, **more}


def test_sqs_moves_the_messages_and_the_progress_is_shown(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    queues.expect_queues(waiting=23)
    queues.expect_tasks(None)
    queues.expect_start()
    queues.expect_tasks(None, task("RUNNING", total=None), task("RUNNING", 7), task("RUNNING", 7))
    queues.expect_tasks(task("COMPLETED", 23))

    assert queues.run() == 0

    assert capsys.readouterr().out.splitlines() == [
        "moving about 23 messages from stack-dead to stack-uploads",
        "  0 messages moved",
        "  7 of 23 messages moved",
        "done: 23 of 23 messages moved",
    ]


def test_an_earlier_move_is_not_taken_for_this_one(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = task("FAILED", 5, started=1, FailureReason="AccessDenied")
    queues.expect_queues(waiting=18)
    queues.expect_tasks(earlier)
    queues.expect_start()
    queues.expect_tasks(earlier, task("COMPLETED", 18, total=18))

    assert queues.run() == 0

    assert capsys.readouterr().out.splitlines()[-1] == "done: 18 of 18 messages moved"


def test_an_empty_queue_starts_nothing(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    queues.expect_queues(waiting=0)
    queues.expect_tasks(task("COMPLETED", 23))

    assert queues.run() == 0

    assert capsys.readouterr().out == "the dead-letter queue is empty: nothing to move\n"


def test_a_move_that_is_running_is_followed_and_no_second_one_started(
    queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    queues.expect_queues(waiting=0)  # the last message is on its way
    queues.expect_tasks(task("RUNNING", 22), task("RUNNING", 22), task("COMPLETED", 23))

    assert queues.run() == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a move is already running; following it",
        "  22 of 23 messages moved",
        "done: 23 of 23 messages moved",
    ]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (task("FAILED", 5, FailureReason="AccessDenied"), "FAILED after 5 of 23 messages moved: AccessDenied"),
        (task("CANCELLED", 5), "CANCELLED after 5 of 23 messages moved: no reason is given"),
    ],
)
def test_a_move_that_does_not_complete_is_an_error_with_its_reason(
    queues: Queues, end: dict[str, Any], message: str
) -> None:
    queues.expect_queues(waiting=23)
    queues.expect_tasks(None)
    queues.expect_start()
    queues.expect_tasks(end)

    with pytest.raises(CommandError, match=message):
        queues.run()


def test_interrupted_it_cancels_the_move(queues: Queues, capsys: pytest.CaptureFixture[str]) -> None:
    queues.interrupt = True
    queues.expect_queues(waiting=23)
    queues.expect_tasks(None)
    queues.expect_start()
    queues.expect_tasks(task("RUNNING", 7))
    queues.expect("cancel_message_move_task", {"ApproximateNumberOfMessagesMoved": 9}, TaskHandle="handle")

    assert queues.run() == 130

    assert "9 messages were moved, the others stay in stack-dead" in capsys.readouterr().err


def test_interrupted_after_the_move_has_ended_it_says_how_it_ended(
    queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    queues.interrupt = True
    queues.expect_queues(waiting=23)
    queues.expect_tasks(None)
    queues.expect_start()
    queues.expect_tasks(task("RUNNING", 7))
    queues.stub.add_client_error("cancel_message_move_task", "ResourceNotFoundException", http_status_code=404)
    queues.expect_tasks(task("COMPLETED", 23))

    assert queues.run() == 0

    assert capsys.readouterr().out.splitlines()[-1] == "done: 23 of 23 messages moved"


def test_a_move_that_is_being_cancelled_is_followed_but_not_cancelled_again(queues: Queues) -> None:
    queues.interrupt = True
    queues.expect_queues(waiting=23)
    queues.expect_tasks(task("CANCELLING", 7), task("CANCELLING", 7))

    with pytest.raises(KeyboardInterrupt):
        queues.run()


def test_a_stack_that_does_not_exist_is_an_error(aws: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert redrive.main(["--stack", "nowhere"]) == 1
    assert "the stack nowhere cannot be read" in capsys.readouterr().err
