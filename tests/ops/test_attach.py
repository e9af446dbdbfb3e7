"""`make attach` and `make detach` on the local AWS: existing buckets, with notifications of others."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws.moto import LocalAws
from local.aws.poller import deliver
from local.aws.results import read_result
from local.aws.stack import Stack, deploy
from local.classify import classify_handler
from ops import attach, detach
from ops.attach import Attachment
from ops.cli import CommandError
from ops.notifications import BucketNotifications, canonical
from ops.stack import describe_stack
from tests.support import BLUE, RED, encoded, plain, write_model
from tests.template import Resolver, properties

ACCOUNT, REGION = "123456789012", "us-east-1"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:archive"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:thumbnails"
OTHERS = {
    "TopicConfigurations": [
        {"Id": "archive", "TopicArn": TOPIC, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    ],
    "LambdaFunctionConfigurations": [
        {
            "Id": "thumbnails",
            "LambdaFunctionArn": FUNCTION,
            "Events": ["s3:ObjectCreated:Put"],
            "Filter": {
                "Key": {"FilterRules": [{"Name": "prefix", "Value": "raw/"}, {"Name": "suffix", "Value": ".nef"}]}
            },
        }
    ],
}


@pytest.fixture(scope="module")
def buckets_stack(aws: LocalAws) -> Stack:
    return deploy(aws, parameters={"Buckets": "photos,scans", "KeyPrefix": "in/"}, name="existing")


@pytest.fixture
def stack(aws: LocalAws, buckets_stack: Stack) -> Iterator[Stack]:
    """With two existing buckets: one has the notifications of others, one had its events on before."""
    s3 = aws.client("s3")
    for bucket in ("photos", "scans"):
        s3.create_bucket(Bucket=bucket)
    set_notifications(aws, "photos", OTHERS)
    set_notifications(aws, "scans", {**OTHERS, "EventBridgeConfiguration": {}})
    yield buckets_stack
    for bucket in ("photos", "scans"):
        for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
        s3.delete_bucket(Bucket=bucket)
        s3.delete_object(Bucket=buckets_stack.outputs["ReportsBucketName"], Key=f"attached/{bucket}.json")
    deliver(aws, buckets_stack, lambda *_: None)  # empties the queue


def set_notifications(aws: LocalAws, bucket: str, configuration: Any) -> None:
    aws.client("s3").put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)


def raw(aws: LocalAws, bucket: str) -> bytes:
    """The configuration as S3 sends it."""
    with urllib.request.urlopen(f"{aws.endpoint}/{bucket}?notification") as answer:
        content: bytes = answer.read()
    assert b"Configuration" in content
    return content


def run(command: Any, bucket: str, *options: str) -> int:
    status: int = command.main([bucket, "--stack", "existing", *options])
    return status


def test_two_existing_buckets_are_attached_labelled_and_detached_and_end_as_they_were(
    aws: LocalAws, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s3 = aws.client("s3")
    before = {bucket: raw(aws, bucket) for bucket in ("photos", "scans")}

    assert [run(attach, bucket) for bucket in before] == [0, 0]
    printed = capsys.readouterr().out
    assert "photos sends its events to EventBridge now; its other notifications are as they were." in printed
    assert "scans sends its events to EventBridge already. Nothing was changed." in printed
    assert raw(aws, "scans") == before["scans"]
    for bucket, colour in (("photos", RED), ("scans", BLUE)):
        s3.put_object(Bucket=bucket, Key="in/a b+ä.PNG", Body=encoded(plain(colour)), Tagging="owner=Ann")
        s3.put_object(Bucket=bucket, Key="out/a.png", Body=encoded(plain(colour)))
    from classify import app

    app.get_labeller.cache_clear()
    with classify_handler(stack, write_model(tmp_path / "model"), io.StringIO()) as handler:
        delivery = deliver(aws, stack, handler)
    app.get_labeller.cache_clear()
    assert (delivery.succeeded, delivery.failed) == (2, 0)
    for bucket, label in (("photos", "red"), ("scans", "blue")):
        result = read_result(aws, stack.results_table, bucket, "in/a b+ä.PNG")
        assert (result.tags["image-label"], result.tags["owner"], result.row["label"]) == (label, "Ann", label)
        assert read_result(aws, stack.results_table, bucket, "out/a.png").tags == {}

    assert [run(detach, bucket) for bucket in before] == [0, 0]
    assert {bucket: raw(aws, bucket) for bucket in before} == before


def test_attaching_again_changes_nothing_and_does_not_forget(aws: LocalAws, stack: Stack) -> None:
    before = raw(aws, "photos")
    assert run(attach, "photos") == 0
    attached = raw(aws, "photos")
    assert attached != before
    assert run(attach, "photos") == 0
    assert raw(aws, "photos") == attached
    assert run(detach, "photos") == 0
    assert raw(aws, "photos") == before


def test_what_was_not_attached_is_not_detached(aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    before = raw(aws, "scans")
    assert run(detach, "scans") == 1
    assert "nothing to take back" in capsys.readouterr().err
    assert raw(aws, "scans") == before


def test_notifications_that_others_add_later_stay(aws: LocalAws, stack: Stack) -> None:
    run(attach, "photos")
    queue = {"Id": "audit", "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:audit", "Events": ["s3:ObjectAcl:Put"]}
    later = {**OTHERS, "QueueConfigurations": [queue]}
    set_notifications(aws, "photos", {**later, "EventBridgeConfiguration": {}})
    assert run(detach, "photos") == 0
    found = BucketNotifications(aws.client("s3"), "photos", ACCOUNT).read()
    assert canonical(found) == canonical(later)


def test_the_events_stay_on_while_another_rule_takes_them(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    events = aws.client("events")
    run(attach, "photos")
    events.put_rule(Name="audit", EventPattern=json.dumps({"source": ["aws.s3"]}))
    try:
        assert run(detach, "photos") == 0
    finally:
        events.delete_rule(Name="audit")
    assert b"EventBridge" in raw(aws, "photos")
    assert "stay on: the rules audit use them" in capsys.readouterr().out


@pytest.mark.usefixtures("buckets_stack")
def test_a_rule_counts_if_it_may_take_the_events_of_the_bucket(aws: LocalAws) -> None:
    events = aws.client("events")
    patterns: dict[str, dict[str, Any]] = {
        "the bucket": {"source": ["aws.s3"], "detail": {"bucket": {"name": ["others", "photos"]}}},
        "any bucket": {"source": ["aws.s3"]},
        "perhaps the bucket": {"source": ["aws.s3"], "detail": {"bucket": {"name": [{"prefix": "ph"}]}}},
        "any source": {"detail-type": ["Object Created"]},
        "another bucket": {"source": ["aws.s3"], "detail": {"bucket": {"name": ["others"]}}},
        "another service": {"source": ["aws.ec2"]},
    }
    for name, pattern in patterns.items():
        events.put_rule(Name=name.replace(" ", "-"), EventPattern=json.dumps(pattern))
    events.put_rule(Name="hourly", ScheduleExpression="rate(1 hour)")
    try:
        found = set(detach.others_rules("existing-uploads", "photos"))
    finally:
        for name in ("hourly", *(name.replace(" ", "-") for name in patterns)):
            events.delete_rule(Name=name)
    assert found == {"the-bucket", "any-bucket", "perhaps-the-bucket", "any-source"}


def test_a_change_between_reading_and_writing_is_noticed_and_nothing_is_written(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, theirs = Attachment.record, {"TopicConfigurations": OTHERS["TopicConfigurations"]}

    def record(self: Attachment, *arguments: Any) -> None:
        real(self, *arguments)
        set_notifications(aws, "photos", theirs)  # by somebody else

    monkeypatch.setattr(Attachment, "record", record)
    assert run(attach, "photos") == 1
    assert "were changed meanwhile; nothing was written. Run again" in capsys.readouterr().err
    monkeypatch.undo()
    found = BucketNotifications(aws.client("s3"), "photos", ACCOUNT).read()
    assert canonical(found) == canonical(theirs)
    assert run(detach, "photos") == 0  # takes nothing back
    assert canonical(BucketNotifications(aws.client("s3"), "photos", ACCOUNT).read()) == canonical(theirs)


class SlowS3:
    """A bucket whose configuration is read as `reads` say, one after the other."""

    def __init__(self, *reads: dict[str, Any]) -> None:
        self.reads, self.written = list(reads), []

    def get_bucket_notification_configuration(self, **_: Any) -> dict[str, Any]:
        return {"ResponseMetadata": {}, **self.reads.pop(0)}

    def put_bucket_notification_configuration(self, **request: Any) -> None:
        self.written.append(request)


ON = {"EventBridgeConfiguration": {}}


def test_s3_may_return_the_earlier_configuration_for_a_while() -> None:
    s3, slept = SlowS3({}, {}, {}, ON), []
    BucketNotifications(s3, "b", ACCOUNT, slept.append).replace({}, ON)  # type: ignore[arg-type]
    assert len(slept) == 2
    (request,) = s3.written
    # Unchecked, S3 sends no test messages to the destinations of others.
    assert (request["SkipDestinationValidation"], request["ExpectedBucketOwner"]) == (True, ACCOUNT)


def test_a_configuration_that_is_neither_the_old_nor_the_new_one_is_an_error() -> None:
    s3 = SlowS3({}, {}, OTHERS)
    with pytest.raises(Exception, match="somebody else changed the notifications of b at the same time"):
        BucketNotifications(s3, "b", ACCOUNT, lambda _: None).replace({}, ON)  # type: ignore[arg-type]


def test_configurations_are_equal_whatever_the_order_and_the_capitals_of_s3() -> None:
    (function,) = OTHERS["LambdaFunctionConfigurations"]
    rules = [{"Name": "Suffix", "Value": ".nef"}, {"Name": "Prefix", "Value": "raw/"}]
    topic = {**OTHERS["TopicConfigurations"][0], "Events": ["s3:ObjectRemoved:*", "s3:ObjectCreated:*"]}
    returned = {
        "LambdaFunctionConfigurations": [{**function, "Filter": {"Key": {"FilterRules": rules}}}],
        "TopicConfigurations": [topic],
    }
    assert canonical(returned) == canonical(OTHERS)
    rules[0]["Value"] = ".NEF"
    assert canonical(returned) != canonical(OTHERS)


# ---- DIRECT -------------------------------------------------------------------------------------------


def test_directly_the_bucket_notifies_the_queue_beside_the_notifications_of_others(aws: LocalAws, stack: Stack) -> None:
    (function,) = OTHERS["LambdaFunctionConfigurations"]
    set_notifications(aws, "photos", {"LambdaFunctionConfigurations": [function]})  # of raw/: no overlap with in/
    before = raw(aws, "photos")
    assert [run(attach, "photos", "--direct") for _ in range(2)] == [0, 0]
    found = aws.client("s3").get_bucket_notification_configuration(Bucket="photos")
    assert found["LambdaFunctionConfigurations"] == [function]
    assert found["QueueConfigurations"] == [
        {
            "Id": "image-labeller-existing",
            "QueueArn": stack.queue_arn,
            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
        }
    ]
    assert run(attach, "photos") == 1  # by way of EventBridge too, every upload would come twice
    assert run(detach, "photos") == 0
    assert raw(aws, "photos") == before


def test_an_overlap_with_the_notification_of_others_is_explained_before_s3_refuses_it(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    before = raw(aws, "photos")
    assert run(attach, "photos", "--direct") == 1
    error = capsys.readouterr().err
    assert f"'archive' sends s3:ObjectCreated:* and s3:ObjectRemoved:* of keys that begin with '' to {TOPIC}" in error
    assert "All can share EventBridge: leave DIRECT out" in error
    assert raw(aws, "photos") == before


def test_directly_is_refused_where_the_rule_takes_the_events(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(attach, "scans", "--direct") == 1
    assert "DIRECT=1 would bring each upload twice" in capsys.readouterr().err


# ---- buckets that are refused -------------------------------------------------------------------------


def test_a_bucket_that_the_stack_may_not_read_is_refused(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(attach, "elsewhere") == 1
    assert "deploy it with the bucket in its parameter Buckets first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ClientError({"Error": {"Code": "404"}}, "HeadBucket"), "the bucket photos does not exist"),
        (ClientError({"Error": {"Code": "403"}}, "HeadBucket"), "belongs to another account than 123456789012"),
        ({"BucketRegion": "eu-west-1"}, "photos is in eu-west-1, the stack in us-east-1"),
    ],
)
@pytest.mark.usefixtures("buckets_stack")
def test_a_bucket_of_another_account_or_region_is_refused_with_the_reason(
    aws: LocalAws, answer: Any, reason: str
) -> None:
    s3 = aws.client("s3")

    def head_bucket(**request: Any) -> Any:
        assert request == {"Bucket": "photos", "ExpectedBucketOwner": ACCOUNT}
        if isinstance(answer, Exception):
            raise answer
        return answer

    s3.head_bucket = head_bucket  # type: ignore[method-assign]
    with pytest.raises(Exception, match=re.escape(reason)):
        attach.check(Attachment(s3, describe_stack("existing"), "photos"))


def test_a_bucket_whose_key_the_functions_may_not_use_is_refused(aws: LocalAws, stack: Stack) -> None:
    kms, s3 = aws.client("kms"), aws.client("s3")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/photos", TargetKeyId=key["KeyId"])
    described = describe_stack("existing")
    usable = {**described.parameters, "BucketKeyArns": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/other,{key['Arn']}"}
    for named in (key["Arn"], key["KeyId"], "alias/photos"):
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": named}
        rules: Any = {"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
        s3.put_bucket_encryption(Bucket="photos", ServerSideEncryptionConfiguration=rules)
        with pytest.raises(CommandError, match=f"encrypts with {key['Arn']}, which the functions may not use"):
            attach.check(Attachment(s3, described, "photos"))
        attach.check(Attachment(s3, replace(described, parameters=usable), "photos"))


# ---- the gate -----------------------------------------------------------------------------------------


def test_the_gate_is_printed_as_the_stack_sets_it_in_its_own_bucket_and_changes_nothing(
    aws: LocalAws, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    before = raw(aws, "photos")
    assert run(attach, "photos", "--gate") == 0
    printed = json.loads(capsys.readouterr().out)
    roles = {name: f"arn:aws:iam::{ACCOUNT}:role/{stack.resources[name]}" for name in ("ClassifyRole", "BackfillRole")}
    resolver = Resolver({"DenyUnlabelledReads": "true"}, {"UploadsBucket": "arn:aws:s3:::photos", **roles})
    own = resolver(properties("UploadsBucketPolicy")["PolicyDocument"])["Statement"]
    assert printed == own[1:]  # without DenyWithoutTls
    assert raw(aws, "photos") == before
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        aws.client("s3").get_bucket_policy(Bucket="photos")
