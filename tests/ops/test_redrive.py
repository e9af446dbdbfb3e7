"""`make redrive`: what failed five times is put back, and handled."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws.moto import LocalAws
from local.aws.poller import deliver
from local.aws.stack import Stack
from ops.cli import CommandError
from ops.redrive import main, redrive, waiting


@pytest.fixture
def dead(aws: LocalAws, stack: Stack) -> Stack:
    """A stack with 23 messages that have failed five times."""
    aws.client("sqs").purge_queue(QueueUrl=stack.queue_url)
    for number in range(23):
        aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=f"{number}.jpg", Body=b"x")

    def fail(event: dict[str, Any], _context: Any) -> Any:
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in event["Records"]]}

    deliver(aws, stack, fail, retry_after=0)
    assert waiting(aws.client("sqs"), stack.dead_letter_url) == 23
    return stack


def test_all_dead_messages_are_put_back_and_reach_the_function(
    aws: LocalAws, dead: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--stack", dead.name]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("in http")
    assert lines[0].endswith(": 23 messages are waiting")
    assert lines[-1].startswith("23 messages are back in http")
    assert waiting(aws.client("sqs"), dead.dead_letter_url) == 0
    handled: list[str] = []
    deliver(aws, dead, lambda event, _context: handled.extend(each["body"] for each in event["Records"]))
    assert len(set(handled)) == 23


def test_with_nothing_dead_nothing_is_done(aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stack", stack.name]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 messages are back in")


def test_attributes_come_along(aws: LocalAws, stack: Stack) -> None:
    sqs = aws.client("sqs")
    attributes = {"why": {"DataType": "String", "StringValue": "x"}}
    sqs.send_message(QueueUrl=stack.dead_letter_url, MessageBody="body", MessageAttributes=attributes)

    assert redrive(sqs, stack.dead_letter_url, stack.queue_url) == 1

    (message,) = sqs.receive_message(QueueUrl=stack.queue_url, MessageAttributeNames=["All"])["Messages"]
    assert (message["Body"], message["MessageAttributes"]) == ("body", attributes)
    sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=message["ReceiptHandle"])


def test_a_message_that_cannot_be_sent_stays(aws: LocalAws, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = aws.client("sqs")
    sqs.send_message(QueueUrl=stack.dead_letter_url, MessageBody="body")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "SendMessage")

    monkeypatch.setattr(sqs, "send_message", refuse)
    with pytest.raises(CommandError, match="could not be put back, and stays"):
        redrive(sqs, stack.dead_letter_url, stack.queue_url)

    names = ["ApproximateNumberOfMessagesNotVisible"]
    left = sqs.get_queue_attributes(QueueUrl=stack.dead_letter_url, AttributeNames=names)["Attributes"]
    assert left == {names[0]: "1"}


def test_a_stack_that_is_not_there_is_an_error(aws: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stack", "nowhere"]) == 1
    assert "the stack nowhere cannot be read" in capsys.readouterr().err
