"""The template with Buckets: existing buckets take the place of the stack's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.template import PARAMETERS, RESOURCES, TEMPLATE_CONTENT, Resolver, as_list, properties, references

EXISTING = {"Buckets": "photos,scans.2026"}
RULE = "arn:aws:events:eu-central-1:123456789012:rule/stack-uploads"


def pattern(**parameters: str) -> dict[str, Any]:
    text = Resolver(EXISTING | parameters, {})(properties("UploadsRule")["EventPattern"])
    return dict(json.loads(text))


def test_the_stack_has_its_own_bucket_or_a_rule_for_existing_ones() -> None:
    own, existing = Resolver({}, {}), Resolver(EXISTING, {})
    conditions = {name: resource["Condition"] for name, resource in RESOURCES.items() if "Condition" in resource}
    assert {name for name, condition in conditions.items() if own.holds(condition) != existing.holds(condition)} == {
        "UploadsBucket",
        "UploadsBucketPolicy",
        "UploadsRule",
    }
    assert own.holds(conditions["UploadsBucket"])
    assert existing.holds(conditions["UploadsRule"])


def test_nothing_that_is_deployed_with_existing_buckets_refers_to_the_bucket_that_is_not() -> None:
    existing = Resolver(EXISTING, {})

    def chosen(value: Any) -> Any:
        """`value` with the branch of each Fn::If that is taken."""
        if isinstance(value, list):
            return [chosen(member) for member in value]
        if isinstance(value, dict):
            if "Fn::If" in value:
                condition, yes, no = value["Fn::If"]
                return chosen(yes if existing.holds(condition) else no)
            return {name: chosen(member) for name, member in value.items()}
        return value

    parts = [*RESOURCES.values(), *TEMPLATE_CONTENT["Outputs"].values()]
    deployed = [part for part in parts if "Condition" not in part or existing.holds(part["Condition"])]
    assert "UploadsBucket" not in {name for part in deployed for name in references(chosen(part))}


def test_the_rule_asks_for_what_is_created_in_and_deleted_from_these_buckets() -> None:
    assert pattern() == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created", "Object Deleted"],
        "detail": {"bucket": {"name": ["photos", "scans.2026"]}},
    }


@pytest.mark.parametrize("write", PARAMETERS["Write"]["AllowedValues"])
def test_deletions_are_asked_for_where_rows_are_written(write: str) -> None:
    expected = ["Object Created", "Object Deleted"] if "row" in write else ["Object Created"]
    assert pattern(Write=write)["detail-type"] == expected


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"KeyPrefix": "in/ä "}, [{"prefix": "in/ä "}]),
        ({"KeySuffixes": ".jpg"}, [{"suffix": {"equals-ignore-case": ".jpg"}}]),
        (
            {"KeySuffixes": ".jpg,.png"},
            [{"suffix": {"equals-ignore-case": ".jpg"}}, {"suffix": {"equals-ignore-case": ".png"}}],
        ),
        # Matchers of one value are alternatives: a prefix and a suffix together would let everything else in.
        ({"KeyPrefix": "in/", "KeySuffixes": ".jpg"}, [{"prefix": "in/"}]),
    ],
)
def test_the_rule_filters_keys_as_the_function_does(parameters: dict[str, str], key: list[Any]) -> None:
    assert pattern(**parameters)["detail"]["object"] == {"key": key}


def test_the_pattern_of_forty_buckets_and_twelve_suffixes_is_within_eventbridges_limit() -> None:
    # EventBridge quotas: 2,048 characters. Bucket names of 25 characters.
    names = ",".join(f"{number:025}" for number in range(40))
    suffixes = ".jpg,.jpeg,.png,.webp,.gif,.bmp,.tif,.tiff,.avif,.heic,.heif,.jpe"
    text = Resolver({"Buckets": names, "KeySuffixes": suffixes}, {})(properties("UploadsRule")["EventPattern"])
    assert len(text) <= 2048


def sent_by(policy: str, parameters: dict[str, str]) -> dict[str, Any]:
    """Who may send to the queue, by service: the condition."""
    document = Resolver(parameters, {})(properties(policy)["PolicyDocument"])
    allowed = [statement for statement in document["Statement"] if statement["Effect"] == "Allow"]
    assert {statement["Action"] for statement in allowed} <= {"sqs:SendMessage"}
    return {statement["Principal"]["Service"]: statement["Condition"] for statement in allowed}


def test_the_rule_and_these_buckets_may_send_to_the_queue_and_nobody_else() -> None:
    assert sent_by("UploadsQueuePolicy", EXISTING) == {
        "s3.amazonaws.com": {
            "ArnEquals": {"aws:SourceArn": ["arn:*:s3:::photos", "arn:*:s3:::scans.2026"]},
            "StringEquals": {"aws:SourceAccount": "123456789012"},
        },
        "events.amazonaws.com": {"ArnEquals": {"aws:SourceArn": RULE}},
    }
    assert set(sent_by("UploadsQueuePolicy", {})) == {"s3.amazonaws.com"}


def test_what_the_rule_cannot_send_goes_to_the_dead_letters() -> None:
    (target,) = properties("UploadsRule")["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["UploadsQueue", "Arn"]}
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["UploadsDeadLetterQueue", "Arn"]}}
    allowed = sent_by("UploadsDeadLetterQueuePolicy", EXISTING)
    assert allowed == {"events.amazonaws.com": {"ArnEquals": {"aws:SourceArn": RULE}}}
    assert sent_by("UploadsDeadLetterQueuePolicy", {}) == {}


def test_the_functions_may_decrypt_with_the_keys_of_the_buckets_through_s3() -> None:
    keys = [f"arn:aws:kms:eu-central-1:123456789012:key/{name}" for name in "ab"]
    for role in ("ClassifyRole", "BackfillRole"):
        granted = Resolver({"BucketKeyArns": ",".join(keys)}, {}).granted(role)
        assert [arn for action, arn in granted if action.startswith("kms:")] == keys
        assert {action for action, _ in granted if action.startswith("kms:")} == {"kms:Decrypt"}
    (statement,) = properties("BucketKeysPolicy")["PolicyDocument"]["Statement"]
    via = Resolver({}, {})(statement["Condition"])["StringEquals"]["kms:ViaService"]
    assert as_list(via) == ["s3.eu-central-1.the AWS::URLSuffix"]


def test_options_of_the_stacks_own_bucket_are_refused_with_existing_buckets() -> None:
    rule = TEMPLATE_CONTENT["Rules"]["ExistingBucketsAreLeftAlone"]
    (assertion,) = rule["Assertions"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::EachMemberEquals": [{"Ref": "Buckets"}, ""]}]}
    assert assertion["Assert"] == {
        "Fn::And": [
            {"Fn::Equals": [{"Ref": "Versioning"}, "false"]},
            {"Fn::Equals": [{"Ref": "DenyUnlabelledReads"}, "false"]},
        ]
    }
