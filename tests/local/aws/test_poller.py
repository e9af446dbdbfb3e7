from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from local.aws.moto import LocalAws
from local.aws.poller import as_s3_sends, deliver, failures
from local.aws.stack import Stack, deploy

KEY = "a b/c+d/é=&.jpg"
KEY_IN_EVENT = "a+b/c%2Bd/%C3%A9%3D%26.jpg"  # as S3 sends it: encoded as HTML forms are, slashes kept


@pytest.fixture
def stack(aws: LocalAws, deployed: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack with empty queues."""
    monkeypatch.setenv("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")  # more than one purge a minute
    for url in (deployed.queue_url, deployed.dead_letter_url):
        aws.client("sqs").purge_queue(QueueUrl=url)
    return deployed


@pytest.fixture(scope="module")
def deployed(aws: LocalAws) -> Stack:
    return deploy(aws)


def upload(aws: LocalAws, stack: Stack, *keys: str) -> None:
    for key in keys:
        aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=key, Body=b"four")


def waiting(aws: LocalAws, url: str) -> int:
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])


def keys_in(event: dict[str, Any]) -> list[str]:
    return [json.loads(record["body"])["Records"][0]["s3"]["object"]["key"] for record in event["Records"]]


def test_an_upload_reaches_the_handler_as_lambda_and_s3_send_it(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, KEY)
    events: list[dict[str, Any]] = []
    delivery = deliver(aws, stack, lambda event, _context: events.append(event))
    assert (delivery.invocations, delivery.succeeded, delivery.failed, delivery.finished) == (1, 1, 0, True)
    [[message]] = [event["Records"] for event in events]
    assert message["eventSource"] == "aws:sqs"
    assert message["eventSourceARN"] == stack.queue_arn
    assert message["awsRegion"] == "us-east-1"
    assert message["attributes"]["ApproximateReceiveCount"] == "1"
    assert message["md5OfBody"] == hashlib.md5(message["body"].encode()).hexdigest()
    assert message["messageId"]
    assert message["receiptHandle"]
    [record] = json.loads(message["body"])["Records"]
    assert record["eventSource"] == "aws:s3"
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["s3"]["bucket"]["name"] == stack.uploads_bucket
    assert record["s3"]["object"]["key"] == KEY_IN_EVENT
    assert record["s3"]["object"]["size"] == 4
    assert record["s3"]["object"]["eTag"] == hashlib.md5(b"four").hexdigest()
    assert int(record["s3"]["object"]["sequencer"], 16) > 0


def test_a_copy_notifies_too(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, KEY)
    source = {"Bucket": stack.uploads_bucket, "Key": KEY}
    aws.client("s3").copy_object(Bucket=stack.uploads_bucket, Key="copy.jpg", CopySource=source)
    keys: list[str] = []
    deliver(aws, stack, lambda event, _context: keys.extend(keys_in(event)))
    assert sorted(keys) == [KEY_IN_EVENT, "copy.jpg"]


def test_tagging_an_object_does_not_notify(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "a.jpg")
    tags = {"TagSet": [{"Key": "image-label", "Value": "cat"}]}
    aws.client("s3").put_object_tagging(Bucket=stack.uploads_bucket, Key="a.jpg", Tagging=tags)
    assert waiting(aws, stack.queue_url) == 1


def test_a_later_upload_has_a_greater_sequencer_and_each_delivery_the_same(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "first.jpg")
    upload(aws, stack, "second.jpg")
    seen: dict[str, list[int]] = {}

    def handler(event: dict[str, Any], _context: Any) -> None:
        for record in event["Records"]:
            item = json.loads(record["body"])["Records"][0]["s3"]["object"]
            seen.setdefault(item["key"], []).append(int(item["sequencer"], 16))
        if len(seen["first.jpg"]) == 1:
            raise RuntimeError("once more")

    deliver(aws, stack, handler, retry_after=0)
    assert [len(sequencers) for sequencers in seen.values()] == [2, 2]
    assert len(set(seen["first.jpg"])) == len(set(seen["second.jpg"])) == 1
    assert seen["first.jpg"][0] <= seen["second.jpg"][0]


def test_batches_hold_at_most_the_mappings_batch_size(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, *(f"{number}.jpg" for number in range(23)))
    sizes: list[int] = []
    deliver(aws, stack, lambda event, _context: sizes.append(len(event["Records"])))
    assert sizes == [10, 10, 3]


def test_messages_that_succeed_are_deleted_and_those_that_fail_stay(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "good.jpg", "bad.jpg")

    def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        bad = [record for record in event["Records"] if "bad.jpg" in record["body"]]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in bad]}

    delivery = deliver(aws, stack, handler)
    assert (delivery.succeeded, delivery.failed) == (1, 1)
    assert waiting(aws, stack.queue_url) == 1
    again: list[str] = []
    assert deliver(aws, stack, lambda event, _context: again.extend(keys_in(event))).invocations == 0
    assert again == []  # not visible again before the queue's visibility timeout is over


def test_a_message_that_always_fails_goes_to_the_dead_letter_queue_after_five_receptions(
    aws: LocalAws, stack: Stack
) -> None:
    upload(aws, stack, "poison.jpg", "good.jpg")
    receptions: list[str] = []

    def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        poison = [record for record in event["Records"] if "poison.jpg" in record["body"]]
        receptions.extend(record["attributes"]["ApproximateReceiveCount"] for record in poison)
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in poison]}

    delivery = deliver(aws, stack, handler, retry_after=0)
    assert receptions == ["1", "2", "3", "4", "5"]
    assert (delivery.succeeded, delivery.failed, delivery.finished) == (1, 5, True)
    assert waiting(aws, stack.queue_url) == 0
    [dead] = aws.client("sqs").receive_message(QueueUrl=stack.dead_letter_url)["Messages"]
    assert json.loads(dead["Body"])["Records"][0]["s3"]["object"]["key"] == "poison.jpg"


def test_a_handler_that_raises_fails_its_whole_batch(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "a.jpg", "b.jpg")

    def handler(_event: dict[str, Any], _context: Any) -> None:
        raise ValueError("no model")

    delivery = deliver(aws, stack, handler)
    assert (delivery.succeeded, delivery.failed, delivery.errors) == (0, 2, ["ValueError: no model"])
    assert waiting(aws, stack.queue_url) == 2


def test_after_the_deadline_no_batch_is_begun(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "a.jpg")
    delivery = deliver(aws, stack, lambda _event, _context: None, deadline=0)
    assert (delivery.invocations, delivery.finished) == (0, False)
    assert waiting(aws, stack.queue_url) == 1


def test_the_context_is_the_functions(aws: LocalAws, stack: Stack) -> None:
    upload(aws, stack, "a.jpg")
    contexts: list[Any] = []
    deliver(aws, stack, lambda _event, context: contexts.append(context))
    [context] = contexts
    assert context.function_name == stack.function.name
    assert context.memory_limit_in_mb == "3008"
    assert context.invoked_function_arn.endswith(f":function:{stack.function.name}")
    assert 0 < context.get_remaining_time_in_millis() <= 60_000
    assert context.aws_request_id


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, {"b"}),
        ({"batchItemFailures": [{"itemIdentifier": "of another batch"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"identifier": "b"}]}, {"a", "b"}),
        ("done", {"a", "b"}),
    ],
)
def test_a_response_names_failures_as_the_lambda_guide_says(response: Any, failed: set[str]) -> None:
    # "Reporting batch item failures", success and failure conditions.
    assert failures(response, {"a", "b"}, reports_item_failures=True) == failed


def test_without_reporting_the_response_is_ignored() -> None:
    response = {"batchItemFailures": [{"itemIdentifier": "a"}]}
    assert failures(response, {"a"}, reports_item_failures=False) == set()


@pytest.mark.parametrize(
    "body",
    [
        '{"Service": "Amazon S3", "Event": "s3:TestEvent"}',
        '{"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a%2Fb", "sequencer": "0A"}}}]}',
        '{"Records": [{"eventSource": "aws:s3"}]}',
        "[]",
        "not JSON",
        "",
    ],
)
def test_other_bodies_than_motos_notifications_are_unchanged(body: str) -> None:
    assert as_s3_sends(body) == body
