from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeller.events import (
    Change,
    Delivery,
    MalformedEvent,
    ObjectRef,
    Source,
    TaskResult,
    batch_operations_answer,
    parse_request,
)
from tests.support import (
    TEST_EVENT,
    batch_job,
    eventbridge_event,
    notification,
    record,
    sns_envelope,
    sns_event,
    sqs_batch,
)


def refs(event: object) -> list[ObjectRef]:
    return list(parse_request(event).refs)


def keys(event: object) -> list[str]:
    return [ref.key for ref in refs(event)]


def only(event: object) -> Delivery:
    (delivery,) = parse_request(event).deliveries
    return delivery


# ---- shapes -----------------------------------------------------------------------------------------------

S3_EVENT = notification(record("a b.jpg", version_id="v1"))
FROM_BRIDGE = eventbridge_event("a b.jpg", version_id="v1")
SHAPES = {
    "S3": (S3_EVENT, Source.S3, None),
    "SQS": (sqs_batch(S3_EVENT), Source.SQS, "message-0"),
    "SNS in SQS": (sqs_batch(sns_envelope(S3_EVENT)), Source.SQS, "message-0"),
    "EventBridge in SQS": (sqs_batch(FROM_BRIDGE), Source.SQS, "message-0"),
    "EventBridge in SNS in SQS": (sqs_batch(sns_envelope(FROM_BRIDGE)), Source.SQS, "message-0"),
    "SNS": (sns_event(S3_EVENT), Source.SNS, "sns-0"),
    "EventBridge": (FROM_BRIDGE, Source.EVENTBRIDGE, "17793124-05d4-b198-2fde-7ededc63b103"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_tells_of_the_same_object(shape: str) -> None:
    event, source, identity = SHAPES[shape]

    request = parse_request(event)

    assert request.source is source
    assert request.deliveries == (
        Delivery(
            identity,
            (
                ObjectRef(
                    bucket="uploads",
                    key="a b.jpg",
                    version_id="v1",
                    sequencer="0055AED6DCD90281E5",
                    event_time="2026-11-24T08:00:00.000Z",
                ),
            ),
        ),
    )


@pytest.mark.parametrize("schema", ["1.0", "2.0"])
def test_a_task_of_batch_operations_names_an_object_without_time_or_order(schema: str) -> None:
    request = parse_request(batch_job("a+b/%C3%BC.jpg", schema=schema, version_id="v1"))

    assert (request.source, request.schema_version) == (Source.BATCH_OPERATIONS, schema)
    assert request.deliveries == (Delivery("task-0", (ObjectRef("uploads", "a b/ü.jpg", "v1"),)),)


def test_a_bucket_arn_with_region_and_account_names_the_bucket_too() -> None:
    event = batch_job("a.jpg", schema="1.0")
    event["tasks"][0]["s3BucketArn"] = "arn:aws:s3:us-east-1:123456789012:uploads"

    assert refs(event)[0].bucket == "uploads"


def test_batch_operations_are_answered_task_by_task() -> None:
    request = parse_request(batch_job("a.jpg", "b.jpg", "c.jpg", schema="2.0"))

    answer = batch_operations_answer(
        request,
        {
            "task-0": (TaskResult.SUCCEEDED, "LABELLED"),
            "task-1": (TaskResult.TEMPORARY_FAILURE, "SlowDown"),
            "task-2": (TaskResult.PERMANENT_FAILURE, "x" * 5000),
        },
    )

    # Amazon S3 user guide, "Invoke AWS Lambda function": response.
    assert answer == {
        "invocationSchemaVersion": "2.0",
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": "invocation-1",
        "results": [
            {"taskId": "task-0", "resultCode": "Succeeded", "resultString": "LABELLED"},
            {"taskId": "task-1", "resultCode": "TemporaryFailure", "resultString": "SlowDown"},
            {"taskId": "task-2", "resultCode": "PermanentFailure", "resultString": "x" * 1024},
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "only_stale"),
    [({"onlyStale": "true"}, True), ({"onlyStale": "false"}, False), ({"why": "true"}, False), (None, False)],
)
def test_a_job_says_whether_only_stale_objects_are_labelled(arguments: dict | None, only_stale: bool) -> None:
    job = batch_job("a.jpg", schema="2.0")
    job["job"]["userArguments"] = arguments

    assert parse_request(job).only_stale is only_stale


def test_a_job_without_schema_and_id_is_answered_as_one_of_the_first_schema() -> None:
    job = batch_job("a.jpg")
    del job["invocationSchemaVersion"], job["invocationId"]

    answer = batch_operations_answer(parse_request(job), {"task-0": (TaskResult.SUCCEEDED, "")})

    assert (answer["invocationSchemaVersion"], answer["invocationId"]) == ("1.0", "")


# ---- keys -------------------------------------------------------------------------------------------------


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
def test_keys_of_notifications_and_tasks_are_decoded_exactly_once(sent: str, key: str) -> None:
    event = notification(record("placeholder"))
    event["Records"][0]["s3"]["object"]["key"] = sent

    assert keys(event) == keys(batch_job(sent)) == [key]


@pytest.mark.parametrize("key", ["my cat.jpg", "a+b.jpg", "100%25.jpg", "猫.jpg"])
def test_keys_of_eventbridge_come_as_they_are(key: str) -> None:
    assert keys(eventbridge_event(key)) == [key]


def test_every_record_of_every_message_counts_and_their_order_stays() -> None:
    first, second = (notification(*map(record, names)) for names in (["b", "a", "b"], ["c"]))

    assert keys(sqs_batch(first, second)) == ["b", "a", "b", "c"]


def test_the_test_event_of_s3_tells_of_nothing() -> None:
    for event in (TEST_EVENT, sqs_batch(TEST_EVENT), sqs_batch(sns_envelope(TEST_EVENT)), sns_event(TEST_EVENT)):
        assert only(event).refs == only(event).malformed == ()


def test_a_folder_is_no_picture() -> None:
    assert keys(notification(record("a/"), record("a/b.jpg"))) == ["a/b.jpg"]
    assert keys(eventbridge_event("a/")) == keys(batch_job("a/")) == []


# ---- what happened ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ObjectCreated:Put", Change.CREATED),
        ("ObjectCreated:CompleteMultipartUpload", Change.CREATED),
        ("ObjectCreated:Copy", Change.CREATED),
        ("s3:ObjectCreated:Post", Change.CREATED),
        ("ObjectRemoved:Delete", Change.DELETED),
        ("ObjectRemoved:DeleteMarkerCreated", Change.DELETE_MARKER),
        ("LifecycleExpiration:Delete", Change.DELETED),
        ("LifecycleExpiration:DeleteMarkerCreated", Change.DELETE_MARKER),
        ("ObjectTagging:Put", None),
        ("ObjectRestore:Completed", None),
        ("LifecycleTransition", None),
    ],
)
def test_of_the_notifications_those_of_creation_and_removal_count(name: str, change: Change | None) -> None:
    assert [ref.change for ref in refs(notification(record("a.jpg", event_name=name)))] == [change] * bool(change)


@pytest.mark.parametrize(
    ("kind", "deletion", "change"),
    [
        ("Object Created", None, Change.CREATED),
        ("Object Deleted", "Permanently Deleted", Change.DELETED),
        ("Object Deleted", "Delete Marker Created", Change.DELETE_MARKER),
        ("Object Tags Added", None, None),
    ],
)
def test_of_the_events_those_of_creation_and_removal_count(
    kind: str, deletion: str | None, change: Change | None
) -> None:
    found = refs(eventbridge_event("a.jpg", kind=kind, deletion=deletion))

    assert [ref.change for ref in found] == [change] * bool(change)


def test_a_removal_without_size_and_etag_is_read() -> None:
    event = notification(record("a.jpg", event_name="ObjectRemoved:Delete"))
    for name in ("size", "eTag"):
        del event["Records"][0]["s3"]["object"][name]

    (ref,) = refs(event)

    assert (ref.change, ref.sequencer) == (Change.DELETED, "0055AED6DCD90281E5")


@pytest.mark.parametrize("version", ["2.0", "2.9", "3.0", None])
def test_unknown_versions_and_members_are_accepted(version: str | None) -> None:
    event = notification(record("a.jpg"))
    event["Records"][0] |= {"eventVersion": version, "news": {"of": "2027"}}

    assert keys(event) == ["a.jpg"]


@pytest.mark.parametrize("version", [None, "", "null"])
def test_what_was_written_without_versioning_has_no_version(version: str | None) -> None:
    event = notification(record("a.jpg", version_id="v1"))
    event["Records"][0]["s3"]["object"]["versionId"] = version

    assert refs(event)[0].version_id is None


def test_a_time_of_any_form_is_kept_as_its_sender_wrote_it() -> None:
    event = notification(record("a.jpg"))
    event["Records"][0]["eventTime"] = "2" * 64

    assert refs(event)[0].event_time == "2" * 64


def test_a_notification_without_records_tells_of_nothing() -> None:
    assert only({"Records": []}) == Delivery(None, ())


# ---- what is malformed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [None, 3, "text", [], {"tasks": [{"s3Key": "a"}]}, {"tasks": [{"taskId": ["t"]}]}, {"tasks": 1}]
)
def test_what_is_no_event_at_all_is_malformed_as_a_whole(event: object) -> None:
    with pytest.raises(MalformedEvent):
        parse_request(event)


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": {}}, {"detail": {}}, {"Records": [1]}])
def test_what_holds_no_notification_is_malformed(event: object) -> None:
    assert only(event).refs == ()
    assert len(only(event).malformed) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[" * 100_000,  # too deep for the parser
        "[]",
        "{}",
        json.dumps({"Type": "Notification", "Message": "not JSON"}),
        json.dumps({"Type": "Notification", "Message": None}),
        json.dumps({"detail-type": "Object Created", "source": "aws.ec2", "detail": {}}),
        json.dumps({"detail-type": "Object Created", "source": "aws.s3"}),
    ],
)
def test_a_malformed_message_stands_alone(body: str) -> None:
    bad, good = parse_request(sqs_batch(body, notification(record("a.jpg")))).deliveries

    assert (bad.id, bad.refs, len(bad.malformed)) == ("message-0", (), 1)
    assert (good.id, len(good.refs), good.malformed) == ("message-1", 1, ())


def test_a_malformed_sns_record_stands_alone() -> None:
    event = sns_event(notification(record("a.jpg")), notification(record("b.jpg")))
    event["Records"][0]["Sns"]["Message"] = "{"

    bad, good = parse_request(event).deliveries

    assert len(bad.malformed) == 1
    assert [ref.key for ref in good.refs] == ["b.jpg"]


def test_a_malformed_task_stands_alone() -> None:
    event = batch_job("a.jpg", "b.jpg")
    del event["tasks"][0]["s3Key"]

    bad, good = parse_request(event).deliveries

    assert (bad.id, len(bad.malformed)) == ("task-0", 1)
    assert [ref.key for ref in good.refs] == ["b.jpg"]


REMOVE = object()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), "text"),
        (("eventSource",), "aws:sqs"),
        (("eventSource",), REMOVE),
        (("eventName",), REMOVE),
        (("eventTime",), 17),
        (("eventTime",), "x" * 65),
        (("s3",), REMOVE),
        (("s3", "bucket"), None),
        (("s3", "bucket", "name"), ""),
        (("s3", "bucket", "name"), 3),
        (("s3", "object"), "a.jpg"),
        (("s3", "object", "key"), REMOVE),
        (("s3", "object", "key"), None),
        (("s3", "object", "key"), ""),
        (("s3", "object", "key"), "%FF%FE.jpg"),  # not UTF-8
        (("s3", "object", "key"), "\ud800.jpg"),  # half a character
        (("s3", "object", "versionId"), ["v"]),
        (("s3", "object", "sequencer"), "not hexadecimal"),
        (("s3", "object", "sequencer"), 17),
    ],
)
def test_a_malformed_record_stands_alone(path: tuple[str, ...], value: Any) -> None:
    event = copy.deepcopy(notification(record("good.jpg"), record("bad.jpg"), record("too.jpg")))
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

    delivery = only(event)

    assert [ref.key for ref in delivery.refs] == ["good.jpg", "too.jpg"]
    assert len(delivery.malformed) == 1


def some_json() -> st.SearchStrategy[Any]:
    names = st.sampled_from(
        ["Records", "s3", "object", "key", "bucket", "name", "eventSource", "eventName", "detail-type", "detail",
         "source", "Sns", "Message", "Type", "EventSource", "body", "tasks", "taskId", "Event"]
    )  # fmt: skip
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    leaves |= st.sampled_from(["aws:s3", "aws:sqs", "aws:sns", "aws.s3", "Object Created", "Notification"])
    return st.recursive(leaves, lambda some: st.lists(some, max_size=3) | st.dictionaries(names, some, max_size=5))


@given(some_json())
def test_no_event_leads_to_any_other_error(event: Any) -> None:
    for each in (event, sqs_batch(event), sns_event(event), {"Records": [event]}, {"tasks": [event]}):
        try:
            parse_request(each)
        except MalformedEvent:
            continue


def test_the_path_is_bucket_and_key() -> None:
    assert refs(notification(record("a/b c.jpg")))[0].path == "uploads/a/b c.jpg"
