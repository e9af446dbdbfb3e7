from __future__ import annotations

import copy
from typing import Any

import pytest

from labeller.events import MalformedEvent, ObjectRef, parse_event
from tests.support import TEST_EVENT, notification, record


def test_all_of_a_record_that_matters_is_kept() -> None:
    assert parse_event(notification(record("a.jpg", version_id="v1"))) == [
        ObjectRef(
            bucket="uploads",
            key="a.jpg",
            version_id="v1",
            sequencer="0055AED6DCD90281E5",
            event_time="2026-11-24T08:00:00.000Z",
            size=1024,
            etag="d41d8cd98f00b204e9800998ecf8427e",
        )
    ]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("cat.jpg", "cat.jpg"),
        ("my+cat.jpg", "my cat.jpg"),
        ("my%20cat.jpg", "my cat.jpg"),
        ("a%2Bb.jpg", "a+b.jpg"),
        ("100%2525.jpg", "100%25.jpg"),  # decoded once: the key itself holds "%25"
        ("K%C3%A4tzchen%2F%E7%8C%AB.jpg", "Kätzchen/猫.jpg"),
        ("2026/11/24/cat.jpg", "2026/11/24/cat.jpg"),
        ("a%00b", "a\0b"),
        ("%F0%9F%90%88.jpg", "🐈.jpg"),
    ],
)
def test_keys_are_decoded_exactly_once(sent: str, key: str) -> None:
    event = notification(record("placeholder"))
    event["Records"][0]["s3"]["object"]["key"] = sent

    assert parse_event(event)[0].key == key


def test_every_record_counts_and_their_order_stays() -> None:
    keys = ["b.jpg", "a.jpg", "b.jpg"]

    assert [ref.key for ref in parse_event(notification(*map(record, keys)))] == keys


def test_the_test_event_of_s3_tells_of_nothing() -> None:
    assert parse_event(TEST_EVENT) == []


def test_a_folder_is_no_picture() -> None:
    assert [ref.key for ref in parse_event(notification(record("a/"), record("a/b.jpg")))] == ["a/b.jpg"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ObjectCreated:Put", True),
        ("ObjectCreated:CompleteMultipartUpload", True),
        ("ObjectCreated:Copy", True),
        ("s3:ObjectCreated:Post", True),
        ("ObjectRemoved:Delete", False),
        ("ObjectTagging:Put", False),
        ("ObjectRestore:Completed", False),
    ],
)
def test_only_created_objects_count(name: str, counts: bool) -> None:
    assert bool(parse_event(notification(record("a.jpg", event_name=name)))) is counts


def test_a_notification_without_records_tells_of_nothing() -> None:
    assert parse_event({"Records": []}) == []


def test_an_object_without_version_size_etag_or_sequencer_is_taken_as_it_is() -> None:
    event = notification(record("a.jpg"))
    item = event["Records"][0]["s3"]["object"]
    for name in ("size", "eTag", "sequencer"):
        del item[name]

    (ref,) = parse_event(event)

    assert (ref.version_id, ref.size, ref.etag, ref.sequencer) == (None, None, None, "")


@pytest.mark.parametrize("event", [None, 3, "text", [], {}, {"Records": None}, {"Records": {}}, {"detail": {}}])
def test_what_is_no_notification_is_malformed(event: object) -> None:
    with pytest.raises(MalformedEvent):
        parse_event(event)


REMOVE = object()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), "text"),
        (("eventSource",), "aws:sqs"),
        (("eventSource",), REMOVE),
        (("eventName",), REMOVE),
        (("s3",), REMOVE),
        (("s3", "bucket"), None),
        (("s3", "bucket", "name"), ""),
        (("s3", "bucket", "name"), 3),
        (("s3", "object"), "a.jpg"),
        (("s3", "object", "key"), REMOVE),
        (("s3", "object", "key"), None),
        (("s3", "object", "key"), ""),
        (("s3", "object", "key"), "%FF%FE.jpg"),  # not UTF-8
        (("s3", "object", "size"), "many"),
        (("s3", "object", "sequencer"), "not hexadecimal"),
        (("s3", "object", "sequencer"), 17),
    ],
)
def test_a_record_at_fault_makes_the_notification_malformed(path: tuple[str, ...], value: Any) -> None:
    event = copy.deepcopy(notification(record("good.jpg"), record("bad.jpg")))
    if not path:
        event["Records"][1] = value
    else:
        target = event["Records"][1]
        for name in path[:-1]:
            target = target[name]
        if value is REMOVE:
            del target[path[-1]]
        else:
            target[path[-1]] = value

    with pytest.raises(MalformedEvent):
        parse_event(event)


def test_the_path_is_bucket_and_key() -> None:
    assert parse_event(notification(record("a/b c.jpg")))[0].path == "uploads/a/b c.jpg"
