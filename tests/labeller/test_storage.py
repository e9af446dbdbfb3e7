"""Storage against moto where it can say what AWS says, and against botocore's Stubber where it cannot."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import DataNotFoundError, EndpointConnectionError, IncompleteReadError
from botocore.loaders import Loader
from botocore.response import StreamingBody
from botocore.stub import Stubber

from labeller import clients
from labeller.aws_errors import AwsFailure, Denied, Gone
from labeller.clients import new_session
from labeller.events import ObjectRef
from labeller.reviews import ATTRIBUTES, following, review_of
from labeller.rows import ReviewChanged
from labeller.storage import Refusal, Storage, connect
from tests.support import table_definition

BUCKET, TABLE = "uploads", "results"
LOCATION = {"LocationConstraint": "eu-central-1"}


def ref(key: str = "a b/ü+.jpg", version_id: str | None = None) -> ObjectRef:
    return ObjectRef(BUCKET, key, version_id, "01")


@pytest.fixture
def aws(moto: None) -> Storage:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=LOCATION)
    boto3.client("dynamodb").create_table(TableName=TABLE, **table_definition())
    return connect(TABLE)


@pytest.fixture
def s3(aws: Storage) -> Any:
    return boto3.client("s3")


class Stubbed:
    """Storage on stubbed clients: nothing but what a test says it will be asked and answered."""

    def __init__(self) -> None:
        self.s3_client, self.dynamodb_client = boto3.client("s3"), boto3.client("dynamodb")
        self.s3, self.dynamodb = Stubber(self.s3_client), Stubber(self.dynamodb_client)
        self.s3.activate()
        self.dynamodb.activate()
        self.storage = Storage(self.s3_client, self.dynamodb_client, TABLE, boto3.client("events"))


@pytest.fixture
def stubbed() -> Iterator[Stubbed]:
    stubs = Stubbed()
    yield stubs
    stubs.s3.assert_no_pending_responses()
    stubs.dynamodb.assert_no_pending_responses()


# ---- objects ----------------------------------------------------------------------------------------------


def test_an_object_is_fetched_with_its_size_and_etag(aws: Storage, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="a b/ü+.jpg", Body=b"hello")

    fetched = aws.fetch(ref(), max_bytes=5)

    assert (fetched.data, fetched.size) == (b"hello", 5)
    assert fetched.etag == "5d41402abc4b2a76b9719d911017c592"  # md5sum of "hello"


def test_of_a_versioned_object_the_named_version_is_fetched(aws: Storage, s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=BUCKET, Key="k", Body=b"one")["VersionId"]
    second = s3.put_object(Bucket=BUCKET, Key="k", Body=b"two")["VersionId"]

    earlier, current = aws.fetch(ref("k", first), 10), aws.fetch(ref("k"), 10)

    assert (earlier.data, earlier.version_id) == (b"one", first)
    assert (current.data, current.version_id) == (b"two", second)


def test_an_object_above_the_limit_is_not_downloaded(stubbed: Stubbed) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

    stubbed.s3.add_response(
        "get_object",
        {"Body": StreamingBody(Unread(), 6), "ContentLength": 6, "ETag": '"e"'},
        {"Bucket": BUCKET, "Key": "k"},
    )

    fetched = stubbed.storage.fetch(ref("k"), max_bytes=5)

    assert (fetched.data, fetched.size, fetched.etag) == (None, 6, "e")


def test_an_object_that_was_deleted_is_gone(aws: Storage) -> None:
    with pytest.raises(Gone, match=r"GetObject for uploads/nothing: NoSuchKey"):
        aws.fetch(ref("nothing"), 10)
    with pytest.raises(Gone):
        aws.read_tags(ref("nothing"))
    with pytest.raises(Gone):
        aws.write_tags(ref("nothing"), [])


def test_an_object_under_a_delete_marker_is_gone(aws: Storage, s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"one")
    marker = s3.delete_object(Bucket=BUCKET, Key="k")["VersionId"]

    with pytest.raises(Gone):
        aws.fetch(ref("k"), 10)
    with pytest.raises(Gone, match=f"version {marker}"):
        aws.fetch(ref("k", marker), 10)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDenied", 403),
        ("SlowDown", 503),
        ("InternalError", 500),
        ("NoSuchBucket", 404),
        ("InvalidRequest", 400),
        ("KMS.ThrottlingException", 503),
    ],
)
def test_every_other_error_is_a_failure_that_names_object_and_code(stubbed: Stubbed, code: str, status: int) -> None:
    stubbed.s3.add_client_error("get_object", code, "some words", http_status_code=status)
    if code == "AccessDenied":  # then S3 is asked how the object is encrypted
        stubbed.s3.add_response("head_object", {"ETag": '"e"', "ServerSideEncryption": "AES256"})

    with pytest.raises(AwsFailure, match=rf"GetObject for uploads/k \(version v1\): {code}: .*some words"):
        stubbed.storage.fetch(ref("k", "v1"), 10)


NOT_MY_KEY = "User: arn:aws:sts::123456789012:assumed-role/r/f is not authorized to perform: kms:Decrypt on resource: k"
NO_SUCH_KEY = "The ciphertext refers to a customer master key that does not exist, ... or you are not allowed ..."
CUSTOMERS_KEY = "The object was stored using a form of Server Side Encryption. The correct ..."


@pytest.mark.parametrize(
    ("code", "message", "refusal"),
    [
        ("InvalidObjectState", "The operation is not valid for the object's storage class", Refusal.ARCHIVED),
        ("AccessDenied", NOT_MY_KEY, Refusal.ENCRYPTED),
        ("AccessDenied", NO_SUCH_KEY, Refusal.ENCRYPTED),
        ("KMS.DisabledException", "k is disabled.", Refusal.ENCRYPTED),
        ("KMS.KMSInvalidStateException", "k is pending deletion.", Refusal.ENCRYPTED),
        ("KMS.NotFoundException", "k does not exist.", Refusal.ENCRYPTED),
        ("InvalidRequest", CUSTOMERS_KEY, Refusal.ENCRYPTED),
    ],
)
def test_what_s3_does_not_hand_out_is_a_refusal_with_its_words(
    stubbed: Stubbed, code: str, message: str, refusal: Refusal
) -> None:
    stubbed.s3.add_client_error("get_object", code, message, http_status_code=403)

    fetched = stubbed.storage.fetch(ref("k", "v1"), 10)

    assert (fetched.data, fetched.size, fetched.etag, fetched.refusal) == (None, None, None, refusal)
    assert message in fetched.detail


def test_a_bare_denial_of_an_object_under_kms_is_a_refusal_too(stubbed: Stubbed) -> None:
    stubbed.s3.add_client_error("get_object", "AccessDenied", "Access Denied", http_status_code=403)
    stubbed.s3.add_response("head_object", {"ETag": '"e"', "ServerSideEncryption": "aws:kms"})

    assert stubbed.storage.fetch(ref("k", "v1"), 10).refusal is Refusal.ENCRYPTED


def test_a_denial_of_everything_is_a_failure(stubbed: Stubbed) -> None:
    stubbed.s3.add_client_error("get_object", "AccessDenied", "Access Denied", http_status_code=403)
    stubbed.s3.add_client_error("head_object", "403", "Forbidden", http_status_code=403)

    with pytest.raises(AwsFailure, match="GetObject for uploads/k"):
        stubbed.storage.fetch(ref("k", "v1"), 10)


def test_of_a_refused_object_the_current_version_is_known(aws: Storage, s3: Any) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=BUCKET, Key="k", Body=b"x", StorageClass="GLACIER")["VersionId"]

    fetched = aws.fetch(ref("k"), 10)

    assert (fetched.refusal, fetched.version_id) == (Refusal.ARCHIVED, version)


def test_an_object_is_unchanged_until_it_is_replaced_or_gone(aws: Storage, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"one")
    fetched = aws.fetch(ref("k"), 10)
    assert aws.is_unchanged(ref("k"), fetched)

    s3.put_object(Bucket=BUCKET, Key="k", Body=b"two")
    assert not aws.is_unchanged(ref("k"), fetched)

    s3.delete_object(Bucket=BUCKET, Key="k")
    with pytest.raises(Gone):
        aws.is_unchanged(ref("k"), fetched)
    assert not aws.exists(ref("k"))


def test_a_refused_object_is_unchanged_while_it_is_refused(aws: Storage, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"one", StorageClass="DEEP_ARCHIVE")
    fetched = aws.fetch(ref("k"), 10)
    assert aws.is_unchanged(ref("k"), fetched)

    s3.put_object(Bucket=BUCKET, Key="k", Body=b"one")
    assert not aws.is_unchanged(ref("k"), fetched)


def test_half_a_body_is_a_failure_and_not_a_short_picture(stubbed: Stubbed) -> None:
    stubbed.s3.add_response(
        "get_object", {"Body": StreamingBody(io.BytesIO(b"hal"), 4), "ContentLength": 4, "ETag": '"e"'}
    )

    with pytest.raises(AwsFailure, match="IncompleteReadError") as caught:
        stubbed.storage.fetch(ref("k"), 10)

    assert isinstance(caught.value.__cause__, IncompleteReadError)


def test_no_connection_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3.example")

    client = boto3.client("s3")
    monkeypatch.setattr(client, "get_object", unreachable)

    with pytest.raises(AwsFailure, match="GetObject for uploads/k: EndpointConnectionError"):
        Storage(client, boto3.client("dynamodb"), TABLE, boto3.client("events")).fetch(ref("k"), 10)


# ---- tags -------------------------------------------------------------------------------------------------


def test_tags_are_read_as_they_were_written(aws: Storage, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"x", Tagging="owner=Ann")
    assert aws.read_tags(ref("k")) == [{"Key": "owner", "Value": "Ann"}]

    aws.write_tags(ref("k"), [{"Key": "image-label", "Value": "Kätzchen 1/2"}])

    assert aws.read_tags(ref("k")) == [{"Key": "image-label", "Value": "Kätzchen 1/2"}]


def test_only_the_tags_of_the_named_version_are_touched(stubbed: Stubbed) -> None:
    address = {"Bucket": BUCKET, "Key": "k", "VersionId": "v1"}
    stubbed.s3.add_response("get_object_tagging", {"TagSet": []}, address)
    stubbed.s3.add_response("put_object_tagging", {}, {**address, "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}})

    stubbed.storage.read_tags(ref("k", "v1"))
    stubbed.storage.write_tags(ref("k", "v1"), [{"Key": "a", "Value": "b"}])


def test_tags_that_may_not_be_read_are_a_failure(stubbed: Stubbed) -> None:
    stubbed.s3.add_client_error("get_object_tagging", "AccessDenied", http_status_code=403)

    with pytest.raises(Denied, match="GetObjectTagging for uploads/k: AccessDenied"):
        stubbed.storage.read_tags(ref("k"))


# ---- rows -------------------------------------------------------------------------------------------------


def item(sequencer: str, label: str) -> dict[str, Any]:
    return {
        "object": "uploads/k",
        "version": "null",
        "sequencer": sequencer,
        "label": label,
        "confidence": Decimal("0.97"),
        "scores": {"cat": Decimal("0.97")},
    }


def stored() -> dict[str, Any]:
    table = boto3.resource("dynamodb").Table(TABLE)
    return table.get_item(Key={"object": "uploads/k", "version": "null"})["Item"]


def test_a_row_is_stored_as_it_is(aws: Storage) -> None:
    assert aws.put_row(ref("k"), item("01", "cat")) is True
    assert stored() == item("01", "cat")


@pytest.mark.parametrize(
    ("second", "written"), [("02", True), ("01", True), ("00", False)], ids=["later", "same", "earlier"]
)
def test_an_earlier_event_does_not_replace_a_later_result(aws: Storage, second: str, written: bool) -> None:
    aws.put_row(ref("k"), item("01", "cat"))

    assert aws.put_row(ref("k"), item(second, "dog")) is written
    assert stored()["label"] == ("dog" if written else "cat")


def test_a_row_that_is_written_returns_the_one_that_was_there(aws: Storage) -> None:
    assert aws.exchange_row(ref("k"), item("01", "cat")) == {}
    assert aws.exchange_row(ref("k"), item("02", "dog")) == item("01", "cat")
    assert aws.exchange_row(ref("k"), item("00", "cow")) is None


def test_a_row_is_written_under_the_sequencers_condition(stubbed: Stubbed) -> None:
    stubbed.dynamodb.add_response(
        "put_item",
        {},
        {
            "TableName": TABLE,
            "Item": {
                "object": {"S": "uploads/k"},
                "version": {"S": "null"},
                "sequencer": {"S": "01"},
                "status": {"S": "DELETED"},
            },
            "ConditionExpression": "attribute_not_exists(sequencer) OR sequencer <= :sequencer",
            "ExpressionAttributeValues": {":sequencer": {"S": "01"}},
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )

    deleted = {"object": "uploads/k", "version": "null", "sequencer": "01", "status": "DELETED"}
    assert stubbed.storage.put_row(ref("k"), deleted)


def test_the_sequencer_of_a_row_is_read_where_there_is_one(aws: Storage) -> None:
    assert aws.read_sequencer(ref("k")) == ""

    aws.put_row(ref("k"), item("01", "cat"))

    assert aws.read_sequencer(ref("k")) == "01"
    assert aws.read_sequencer(ref("k", "v1")) == ""


@pytest.mark.parametrize(
    ("stored", "read", "written"),
    [(None, "", True), ("01", "01", True), ("02", "01", False), ("01", "", False), ("", "", True), ("00", "01", False)],
)
def test_a_row_is_replaced_if_it_is_still_the_one_that_was_read(
    aws: Storage, stored: str | None, read: str, written: bool
) -> None:
    def row(sequencer: str, label: str) -> dict[str, Any]:
        return {name: value for name, value in item(sequencer, label).items() if value != ""}

    if stored is not None:
        boto3.resource("dynamodb").Table(TABLE).put_item(Item=row(stored, "cat"))

    assert aws.replace_row(ref("k"), row(read, "dog")) is written
    assert stored is None or stored_label() == ("dog" if written else "cat")


def stored_label() -> str:
    return str(stored()["label"])


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "ResourceNotFoundException"])
def test_a_row_that_cannot_be_written_is_a_failure(stubbed: Stubbed, code: str) -> None:
    stubbed.dynamodb.add_client_error("put_item", code)

    with pytest.raises(AwsFailure, match=f"PutItem for uploads/k: {code}"):
        stubbed.storage.put_row(ref("k"), item("01", "cat"))


REVIEW = following(None, "cat", "Ann", "2026-11-26T12:00:00.000000+00:00", "e1", queue="UNSURE")


def reviewed_row(aws: Storage, **more: str) -> None:
    aws.put_row(ref("k"), item("01", "dog") | {"etag": "e1"} | more)
    assert aws.write_review(ref("k"), REVIEW, None)


def test_a_review_stands_beside_what_the_model_said(aws: Storage) -> None:
    reviewed_row(aws)

    assert stored() == item("01", "dog") | {
        "etag": "e1",
        "human_label": "cat",
        "reviewed_by": "Ann",
        "reviewed_at": "2026-11-26T12:00:00.000000+00:00",
        "reviewed_etag": "e1",
        "reviews": [{"label": "cat", "by": "Ann", "at": "2026-11-26T12:00:00.000000+00:00", "queue": "UNSURE"}],
    }
    assert review_of(aws.read_row(ref("k"), *ATTRIBUTES), "e1", None) == REVIEW


def test_of_two_reviews_at_once_the_second_is_told_and_follows_the_first(aws: Storage) -> None:
    reviewed_row(aws)
    second = following(REVIEW, None, "Bob", "2026-11-26T12:00:01.000000+00:00", "e1")

    assert not aws.write_review(ref("k"), second, None)  # read before the first
    assert aws.write_review(ref("k"), second, REVIEW.at)

    assert "human_label" not in stored()
    assert [entry["by"] for entry in stored()["reviews"]] == ["Ann", "Bob"]


def test_a_review_of_other_content_is_not_written(aws: Storage) -> None:
    aws.put_row(ref("k"), item("01", "dog") | {"etag": "e2"})

    assert not aws.write_review(ref("k"), REVIEW, None)
    assert not aws.write_review(ref("nothing"), REVIEW, None)


@pytest.mark.parametrize("write", ["put_row", "replace_row"])
def test_a_result_is_not_written_over_a_review_that_it_does_not_have(aws: Storage, write: str) -> None:
    reviewed_row(aws)
    same = item("01", "bird") | {"etag": "e1"}

    with pytest.raises(ReviewChanged) as changed:
        getattr(aws, write)(ref("k"), same)
    assert changed.value.review == REVIEW
    assert stored()["label"] == "dog"

    assert getattr(aws, write)(ref("k"), same | REVIEW.attributes())
    assert (stored()["label"], stored()["human_label"]) == ("bird", "cat")


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"etag": "e2"}, False),  # other content
        ({"sequencer": "02", "etag": "e1"}, True),  # the same content again
        ({"sequencer": "01"}, True),  # archived since: S3 does not say its ETag
        ({"sequencer": "02"}, False),  # an archived object in its place
        ({"sequencer": "02", "status": "DELETED"}, False),
    ],
)
def test_a_review_is_of_one_content(aws: Storage, changed: dict[str, str], kept: bool) -> None:
    reviewed_row(aws)
    row = item("01", "bird") | changed

    if kept:
        with pytest.raises(ReviewChanged):
            aws.put_row(ref("k"), row)
    else:
        assert aws.put_row(ref("k"), row)
        assert "human_label" not in stored()


def test_a_late_result_is_late_with_and_without_a_review(aws: Storage) -> None:
    reviewed_row(aws)

    assert aws.put_row(ref("k"), item("00", "bird") | {"etag": "e0"}) is False
    assert aws.put_row(ref("k"), item("00", "bird") | {"etag": "e1"} | REVIEW.attributes()) is False


def test_a_review_that_other_content_has_removed_is_not_written_again(aws: Storage) -> None:
    reviewed_row(aws)
    aws.put_row(ref("k"), item("02", "bird") | {"etag": "e2"})

    with pytest.raises(ReviewChanged, match="another review") as changed:
        aws.put_row(ref("k"), item("03", "dog") | {"etag": "e1"} | REVIEW.attributes())
    assert changed.value.review is None


# ---- result events ----------------------------------------------------------------------------------------


def test_events_are_put_together_and_each_has_its_own_end() -> None:
    client = boto3.client("events")
    storage = Storage(None, None, TABLE, client, "pictures")
    details = [{"bucket": BUCKET, "key": key, "status": "LABELLED"} for key in ("ü.jpg", "b.jpg")]
    with Stubber(client) as stub:
        stub.add_response(
            "put_events",
            {"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, {"ErrorCode": "ThrottlingException"}]},
            {
                "Entries": [
                    {
                        "Source": "image-labeller",
                        "DetailType": "ImageClassified",
                        "Detail": f'{{"bucket": "uploads", "key": "{key}", "status": "LABELLED"}}',
                        "EventBusName": "pictures",
                    }
                    for key in ("ü.jpg", "b.jpg")
                ]
            },
        )

        first, second = storage.put_events(details)

    assert first is None
    assert str(second) == "PutEvents for uploads/b.jpg: ThrottlingException: "


def test_a_call_that_fails_fails_all_its_events() -> None:
    client = boto3.client("events")
    with Stubber(client) as stub:
        stub.add_client_error("put_events", "AccessDeniedException")
        failures = Storage(None, None, TABLE, client).put_events([{"bucket": BUCKET, "key": key} for key in "ab"])

    assert [str(failure).partition(": An error")[0] for failure in failures] == [
        "PutEvents for uploads/a: AccessDeniedException",
        "PutEvents for uploads/b: AccessDeniedException",
    ]


def test_a_call_that_gets_no_answer_fails_all_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EndpointConnectionError(endpoint_url="https://events.example")

    def unreachable(**_: Any) -> None:
        raise error

    client = boto3.client("events")
    monkeypatch.setattr(client, "put_events", unreachable)
    failures = Storage(None, None, TABLE, client).put_events([{"bucket": BUCKET, "key": key} for key in "ab"])

    assert [(type(failure), str(failure)) for failure in failures] == [
        (AwsFailure, f"PutEvents for uploads/{key}: EndpointConnectionError: {error}") for key in "ab"
    ]


# ---- how it is connected ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["s3", "dynamodb", "events"])
def test_models_are_those_of_botocore_in_plain_dictionaries(service: str) -> None:
    loader = new_session().get_component("data_loader")

    model, theirs = (loads.load_service_model(service, "service-2") for loads in (loader, Loader()))

    assert model == theirs
    assert list(model["shapes"]) == list(theirs["shapes"])
    assert {type(model), type(model["shapes"]), type(loader.load_data("endpoints"))} == {dict}
    with pytest.raises(DataNotFoundError):
        loader.load_data("absent")


def test_certificate_authorities_are_read_beside_the_first_client(monkeypatch: pytest.MonkeyPatch) -> None:
    is_reading, new_client = threading.Event(), clients._new_client

    def late(*arguments: Any) -> Any:
        assert is_reading.wait(10), "the authorities are read after the client is made"
        return new_client(*arguments)

    monkeypatch.setattr(clients, "_tls_context", lambda _: is_reading.set())
    monkeypatch.setattr(clients, "_new_client", late)

    connect(TABLE)


def test_a_row_is_written_as_the_serialiser_of_boto3_would_write_it(stubbed: Stubbed) -> None:
    row = {"object": "uploads/a", "version": "null", "label": "käse", "scores": {"käse": Decimal("0.700000")}}
    numbers = {"size": Decimal(12), "confidence": Decimal("0.700000"), "nothing": Decimal("0.000000")}
    serialised = TypeSerializer().serialize(row | numbers)["M"]
    stubbed.dynamodb.add_response(
        "put_item",
        {},
        {
            "TableName": TABLE,
            "Item": serialised,
            "ConditionExpression": "attribute_not_exists(sequencer)",
            "ReturnValues": "ALL_OLD",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )

    assert stubbed.storage.replace_row(ref(), row | numbers)


def test_a_request_without_a_key_is_not_sent_because_it_would_list_the_bucket(no_sockets: None) -> None:
    for call in (lambda: connect(TABLE).fetch(ref(""), 10), lambda: connect(TABLE).read_tags(ref(""))):
        with pytest.raises(AwsFailure, match="ParamValidationError"):
            call()


def test_the_clients_are_those_that_boto3_makes_and_boto3_is_not_loaded() -> None:
    code = """
import sys
from labeller.storage import connect
storage = connect("results")
assert "boto3" not in sys.modules and "s3transfer" not in sys.modules, "boto3 takes 20 ms of a cold start"
import boto3
for ours, name in ((storage._s3, "s3"), (storage._dynamodb, "dynamodb"), (storage._events, "events")):
    theirs = boto3.client(name)
    print((ours.meta.endpoint_url, ours.meta.service_model.api_version, ours.meta.region_name)
          == (theirs.meta.endpoint_url, theirs.meta.service_model.api_version, theirs.meta.region_name))
    print(ours.meta.config.user_agent.split("/")[0])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True", "image-labeller Botocore"] * 3, done.stderr
