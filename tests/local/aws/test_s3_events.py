"""S3's events by way of EventBridge: a rule's pattern chooses, and they have the form that S3 documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labeller.events import Change, parse_request
from local.aws.moto import LocalAws

BUCKET = "photos"
ON: Any = {"EventBridgeConfiguration": {}}


class Rule:
    """A rule with a queue behind it."""

    def __init__(self, aws: LocalAws) -> None:
        self.events, self.sqs = aws.client("events"), aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName="chosen")["QueueUrl"]

    def asks_for(self, **detail: Any) -> None:
        kinds = ["Object Created", "Object Deleted"]  # moto also sends Object ACL Updated with each upload
        pattern = {"source": ["aws.s3"], "detail-type": kinds, "detail": detail}
        self.events.put_rule(Name="r", EventPattern=json.dumps(pattern))
        queue = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.events.put_targets(Rule="r", Targets=[{"Id": "q", "Arn": queue}])

    def chosen(self) -> list[dict[str, Any]]:
        messages = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        for message in messages.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages.get("Messages", [])]


@pytest.fixture(scope="module")
def rule(aws: LocalAws) -> Rule:
    aws.client("s3").create_bucket(Bucket=BUCKET)
    aws.client("s3").put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=ON)
    return Rule(aws)


def put(aws: LocalAws, *keys: str) -> None:
    for key in keys:
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"four")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ([{"prefix": "in/"}], ["in/a.jpg", "in/b.PNG"]),
        ([{"suffix": {"equals-ignore-case": end}} for end in (".jpg", ".png")], ["c.JPG", "in/a.jpg", "in/b.PNG"]),
        ([{"suffix": ".jpg"}], ["in/a.jpg"]),
        ([{"wildcard": "in/*.jpg"}], ["in/a.jpg"]),
    ],
)  # fmt: skip
def test_the_pattern_chooses_by_key(aws: LocalAws, rule: Rule, key: list[Any], expected: list[str]) -> None:
    rule.asks_for(bucket={"name": [BUCKET]}, object={"key": key})
    put(aws, "in/a.jpg", "in/b.PNG", "c.JPG", "d.txt", "In/e.gif")
    assert sorted(event["detail"]["object"]["key"] for event in rule.chosen()) == expected


def test_the_pattern_chooses_by_bucket_and_a_disabled_rule_nothing(aws: LocalAws, rule: Rule) -> None:
    rule.asks_for(bucket={"name": ["others"]})
    put(aws, "a.jpg")
    assert rule.chosen() == []
    rule.asks_for(bucket={"name": [BUCKET]})
    rule.events.disable_rule(Name="r")
    put(aws, "a.jpg")
    assert rule.chosen() == []


def test_an_upload_and_a_deletion_have_the_form_that_the_function_reads(aws: LocalAws, rule: Rule) -> None:
    rule.asks_for(bucket={"name": [BUCKET]})
    put(aws, "a b/ä+c.jpg")
    aws.client("s3").delete_object(Bucket=BUCKET, Key="a b/ä+c.jpg")
    created, deleted = (parse_request(event).deliveries[0].refs[0] for event in rule.chosen())
    assert (created.bucket, created.key, created.version_id) == (BUCKET, "a b/ä+c.jpg", None)
    assert (created.change, deleted.change) == (Change.CREATED, Change.DELETED)
    assert created.sequencer < deleted.sequencer


def test_the_switch_can_be_read_beside_other_notifications_and_alone(aws: LocalAws, rule: Rule) -> None:
    s3 = aws.client("s3")
    assert "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=BUCKET)
    s3.create_bucket(Bucket="silent")
    assert "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket="silent")
