from __future__ import annotations

import hashlib
import io
import json

import pytest
from PIL import Image

from local import ROOT
from local.aws.moto import LocalAws
from local.aws.results import ObjectResult, read_result
from local.aws.stack import Stack
from local.runtime.invoke import objects_named, put_missing, with_bucket
from tests.local.notifications import batch, notification


def paths(event: object) -> list[str]:
    return [reference.path for reference in objects_named(event)]


def test_the_objects_of_a_batch_and_of_a_bare_notification_are_named() -> None:
    event = batch(notification("one", "a+b.jpg"), notification("two", "c%2Bd.jpg"))
    assert paths(event) == ["one/a b.jpg", "two/c+d.jpg"]
    assert paths(notification("one", "a+b.jpg")) == ["one/a b.jpg"]


def test_the_bucket_uploads_stands_for_the_stacks_own_and_others_stay() -> None:
    event = batch(notification("uploads", "a.jpg"), notification("other", "b.jpg"))
    renamed = with_bucket(event, "image-labeller-uploads")
    assert paths(renamed) == ["image-labeller-uploads/a.jpg", "other/b.jpg"]
    bucket = json.loads(renamed["Records"][0]["body"])["Records"][0]["s3"]["bucket"]
    assert bucket["arn"] == "arn:aws:s3:::image-labeller-uploads"
    assert objects_named(event)[0].path == "uploads/a.jpg"  # the event itself is unchanged
    body = renamed["Records"][0]["body"]
    assert renamed["Records"][0]["md5OfBody"] == hashlib.md5(body.encode()).hexdigest()
    bare = with_bucket(notification("uploads", "a.jpg"), "mine")
    assert paths(bare) == ["mine/a.jpg"]


@pytest.mark.parametrize("body", ['{"Records": [{', "[1]", "null", '{"Event": "s3:TestEvent"}', '{"Records": [1]}'])
def test_a_message_that_is_no_notification_names_nothing_and_stays_as_it_is(body: str) -> None:
    event = {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body}]}
    assert objects_named(event) == []
    assert with_bucket(event, "mine") == event


@pytest.mark.parametrize("event", [None, [], "text", {"Records": None}, {"Records": [1]}, {"key": "value"}])
def test_an_event_of_another_kind_names_nothing_and_stays_as_it_is(event: object) -> None:
    assert objects_named(event) == []
    assert with_bucket(event, "mine") == event


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("s3-put.json", ["cat.jpg"]),
        ("sqs-batch.json", ["2026/summer holiday/dog + cat (1).jpg", "gatos/árbol 猫.png"]),
        ("sqs-test-event.json", []),
        ("sqs-poison.json", ["cat.jpg"]),
        ("sqs-deleted.json", ["cat.jpg", "old/dog.jpg"]),
        ("sqs-sns.json", ["cat.jpg"]),
        ("sqs-eventbridge.json", ["2026/summer holiday/dog + cat (1).jpg"]),
        ("sns-put.json", ["cat.jpg"]),
        ("eventbridge-created.json", ["2026/summer holiday/dog + cat (1).jpg"]),
        ("eventbridge-deleted.json", ["2026/summer holiday/dog + cat (1).jpg"]),
        ("batch-operations-1.0.json", ["2026/summer holiday/dog + cat (1).jpg"]),
        ("batch-operations-2.0.json", ["2026/summer holiday/dog + cat (1).jpg"]),
    ],
)
def test_the_sample_events_name_these_objects_of_the_stacks_bucket(name: str, keys: list[str]) -> None:
    event = json.loads((ROOT / "events" / name).read_text())
    references = objects_named(with_bucket(event, "mine"))
    assert [(reference.bucket, reference.key) for reference in references] == [("mine", key) for key in keys]


def test_objects_that_are_missing_are_drawn_in_the_format_of_their_suffix(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="there")
    s3.put_object(Bucket="there", Key="kept.jpg", Body=b"mine")
    events = [notification("there", "kept.jpg"), notification("there", "x.png"), notification("new", "y")]
    assert put_missing(aws, objects_named(batch(*events))) == ["there/x.png", "new/y"]
    assert s3.get_object(Bucket="there", Key="kept.jpg")["Body"].read() == b"mine"
    formats = [
        Image.open(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())).format
        for bucket, key in [("there", "x.png"), ("new", "y")]
    ]
    assert formats == ["PNG", "JPEG"]


def test_no_picture_is_uploaded_for_an_object_that_was_deleted(aws: LocalAws) -> None:
    event = json.loads((ROOT / "events/sqs-deleted.json").read_text())
    assert put_missing(aws, objects_named(event)) == []


def test_a_picture_of_the_callers_is_uploaded_where_one_is_given(aws: LocalAws) -> None:
    put_missing(aws, objects_named(notification("given", "a.jpg")), picture=b"the picture")
    assert aws.client("s3").get_object(Bucket="given", Key="a.jpg")["Body"].read() == b"the picture"


def test_the_result_of_an_object_is_read_back(aws: LocalAws, stack: Stack) -> None:
    bucket = stack.uploads_bucket
    put_missing(aws, objects_named(notification(bucket, "a.jpg")))
    assert read_result(aws, stack.results_table, bucket, "a.jpg") == ObjectResult(f"{bucket}/a.jpg", {}, {})
    tags = {"TagSet": [{"Key": "image-label", "Value": "cat"}]}
    aws.client("s3").put_object_tagging(Bucket=bucket, Key="a.jpg", Tagging=tags)
    item = {"object": {"S": f"{bucket}/a.jpg"}, "version": {"S": "null"}, "label": {"S": "cat"}}
    aws.client("dynamodb").put_item(TableName=stack.results_table, Item=item)
    result = read_result(aws, stack.results_table, bucket, "a.jpg")
    assert result.tags == {"image-label": "cat"}
    assert result.row == {"object": f"{bucket}/a.jpg", "version": "null", "label": "cat"}


def test_an_object_that_is_gone_has_no_result(aws: LocalAws, stack: Stack) -> None:
    result = read_result(aws, stack.results_table, stack.uploads_bucket, "gone.jpg", "v1")
    assert (result.tags, result.row) == ({}, {})
