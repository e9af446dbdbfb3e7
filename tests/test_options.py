"""The template's options, and what holds with all of them. A deployment resolves every reference."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local.aws.moto import local_aws
from local.aws.stack import Stack, deploy
from local.aws.template import to_cloudformation
from ops.attach import gate
from tests.template import PARAMETERS, TEMPLATE_CONTENT, Resolver, as_list, of_type, properties, references

KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BOUNDARY = "arn:aws:iam::111122223333:policy/limits"
ALL_ON = {
    "Architecture": "arm64",
    "SnapStart": "true",
    "Versioning": "true",
    "DenyUnlabelledReads": "true",
    "KmsKeyArn": KEY,
    "TagPrefix": "kind",
    "AlarmEmail": "operator@example.com",
    "Deployment": "Canary10Percent5Minutes",
    "PermissionsBoundary": BOUNDARY,
    "SubnetIds": "subnet-1,subnet-2",
    "SecurityGroupIds": "sg-1",
}


@pytest.fixture(scope="module")
def stacks() -> Iterator[dict[str, Stack]]:
    """The stack with its defaults, and with every option on."""
    with local_aws() as aws:
        yield {"default": deploy(aws, name="default"), "all on": deploy(aws, name="all-on", parameters=ALL_ON)}


@pytest.fixture
def default(stacks: dict[str, Stack]) -> Stack:
    return stacks["default"]


@pytest.fixture
def all_on(stacks: dict[str, Stack]) -> Stack:
    return stacks["all on"]


@pytest.fixture(params=["default", "all on"])
def stack(request: pytest.FixtureRequest, stacks: dict[str, Stack]) -> Stack:
    return stacks[request.param]


def of(stack: Stack, kind: str) -> dict[str, dict[str, Any]]:
    """Resolved properties of the resources of a type."""
    return {name: stack.properties[name] for name in of_type(kind) if name in stack.properties}


def statements(document: Any) -> dict[str, dict[str, Any]]:
    """A policy's statements by their Sid."""
    document = json.loads(document) if isinstance(document, str) else document
    return {statement["Sid"]: statement for statement in document["Statement"]}


def bucket_policy(stack: Stack) -> dict[str, dict[str, Any]]:
    return statements(stack.properties["UploadsBucketPolicy"]["PolicyDocument"])


def labellers(stack: Stack) -> list[str]:
    """ARNs of the roles of the functions that label."""
    return [f"arn:aws:iam::123456789012:role/{stack.resources[name]}" for name in ("ClassifyRole", "BackfillRole")]


# ---- whatever the options say -------------------------------------------------------------------------


def test_buckets_are_encrypted_private_and_without_acls(stack: Stack) -> None:
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    for bucket in of(stack, "AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(names, True)
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_bucket_queues_and_topic_refuse_requests_without_tls(stack: Stack) -> None:
    kinds = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    guarded = []
    for policy in [policy for kind in kinds for policy in of(stack, kind).values()]:
        deny = statements(policy["PolicyDocument"])["DenyWithoutTls"]
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        guarded += as_list(deny["Resource"])
    bucket = f"arn:aws:s3:::{stack.uploads_bucket}"
    queues = [f"arn:aws:sqs:{stack.region}:123456789012:{url.rpartition('/')[2]}" for url in queue_urls(stack)]
    assert set(guarded) >= {bucket, f"{bucket}/*", *queues, stack.resources["AlarmsTopic"]}


def queue_urls(stack: Stack) -> list[str]:
    return [stack.resources[name] for name in of(stack, "AWS::SQS::Queue")]


def test_only_our_bucket_in_our_account_may_send_to_the_queue(stack: Stack) -> None:
    allow = statements(stack.properties["UploadsQueuePolicy"]["PolicyDocument"])["OnlyTheBucketSends"]
    assert (allow["Effect"], allow["Principal"]) == ("Allow", {"Service": "s3.amazonaws.com"})
    assert allow["Action"] == "sqs:SendMessage"
    assert allow["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{stack.uploads_bucket}"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }


def test_only_the_uploads_queue_may_put_its_dead_letters_there(stack: Stack) -> None:
    assert stack.properties["UploadsDeadLetterQueue"]["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [stack.queue_arn],
    }


def test_only_alarms_of_this_account_publish_to_the_topic(stack: Stack) -> None:
    policy = statements(stack.properties["AlarmsTopicPolicy"]["PolicyDocument"])
    allowed = [statement for statement in policy.values() if statement["Effect"] == "Allow"]
    assert [(statement["Principal"], statement["Action"]) for statement in allowed] == [
        ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    ]
    assert allowed[0]["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_the_names_of_buckets_fit_s3_with_the_longest_stack_name_that_the_readme_allows() -> None:
    # S3 user guide, "Bucket naming rules": 3 to 63 characters. The longest region is ap-southeast-1 or us-gov-east-1.
    for bucket in of_type("AWS::S3::Bucket").values():
        name = bucket["BucketName"]["Fn::Sub"]
        longest = name.replace("${AWS::StackName}", "s" * 27).replace("${AWS::AccountId}", "1" * 12)
        assert len(longest.replace("${AWS::Region}", "ap-southeast-1")) <= 63


# ---- encryption ---------------------------------------------------------------------------------------


def test_without_a_key_everything_is_encrypted_with_keys_of_awss_and_the_topic_with_its_own(default: Stack) -> None:
    (rule,) = default.properties["UploadsBucket"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    for queue in of(default, "AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"] is True
        assert "KmsMasterKeyId" not in queue
    assert default.properties["ResultsTable"]["SSESpecification"] == {"SSEEnabled": True}
    assert all("KmsKeyId" not in group for group in of(default, "AWS::Logs::LogGroup").values())
    # Alarms cannot publish to a topic with the AWS-managed key: https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
    assert default.properties["AlarmsTopic"]["KmsMasterKeyId"] == default.resources["AlarmsKey"]
    key = statements(default.properties["AlarmsKey"]["KeyPolicy"])
    assert key["AlarmsArePublished"]["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert set(key["AlarmsArePublished"]["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}
    assert "ClassifyKeyPolicy" not in default.properties


def test_with_a_key_everything_is_encrypted_with_it(all_on: Stack) -> None:
    for bucket in of(all_on, "AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule == {
            "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY},
            "BucketKeyEnabled": True,
        }
    for queue in of(all_on, "AWS::SQS::Queue").values():
        assert (queue["SqsManagedSseEnabled"], queue["KmsMasterKeyId"]) == (False, KEY)
    for table in of(all_on, "AWS::DynamoDB::Table").values():
        assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}
    assert [group["KmsKeyId"] for group in of(all_on, "AWS::Logs::LogGroup").values()] == [KEY] * len(
        of_type("AWS::Logs::LogGroup")
    )
    assert all_on.properties["AlarmsTopic"]["KmsMasterKeyId"] == KEY
    assert "AlarmsKey" not in all_on.properties


@pytest.mark.parametrize(
    ("name", "read_from"), [("Classify", ("s3", "sqs", "dynamodb")), ("Backfill", ("s3", "dynamodb"))]
)
def test_a_function_may_use_the_key_to_decrypt_through_the_services_it_reads_from_and_for_nothing_else(
    all_on: Stack, name: str, read_from: tuple[str, ...]
) -> None:
    policy = all_on.properties[f"{name}KeyPolicy"]
    assert policy["Roles"] == [all_on.resources[f"{name}Role"]]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": KEY,
        "Condition": {
            "StringEquals": {"kms:ViaService": [f"{service}.us-east-1.amazonaws.com" for service in read_from]}
        },
    }


def test_the_schedule_may_start_the_score_function_and_keep_what_it_could_not_start(
    default: Stack, all_on: Stack
) -> None:
    for stack in (default, all_on):
        role = stack.properties["ScoreScheduleRole"]
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
        assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
        (policy,) = role["Policies"]
        allowed = {s["Action"]: s["Resource"] for s in policy["PolicyDocument"]["Statement"]}
        (schedule,) = (p for p in stack.properties.values() if "ScheduleExpression" in p)
        assert schedule["Target"]["RoleArn"] == f"arn:aws:iam::123456789012:role/{stack.resources['ScoreScheduleRole']}"
        assert allowed == {
            "lambda:InvokeFunction": schedule["Target"]["Arn"],
            "sqs:SendMessage": schedule["Target"]["DeadLetterConfig"]["Arn"],
        }
    # EventBridge Scheduler user guide, "Configuring a dead-letter queue": these two, for an encrypted queue.
    key = all_on.properties["ScoreScheduleKeyPolicy"]
    assert key["Roles"] == [all_on.resources["ScoreScheduleRole"]]
    assert key["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": KEY,
            "Condition": {"StringEquals": {"kms:ViaService": "sqs.us-east-1.amazonaws.com"}},
        }
    ]
    assert "ScoreScheduleKeyPolicy" not in default.properties


# ---- reading only what is labelled --------------------------------------------------------------------


def test_reading_is_open_by_default(default: Stack) -> None:
    assert set(bucket_policy(default)) == {"DenyWithoutTls"}


def test_an_object_without_the_label_tag_can_be_read_by_the_functions_that_label_alone(all_on: Stack) -> None:
    deny = bucket_policy(all_on)["DenyReadsUntilLabelled"]
    assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
    assert set(deny["Action"]) == {"s3:GetObject", "s3:GetObjectVersion"}
    assert deny["Resource"] == f"arn:aws:s3:::{all_on.uploads_bucket}/*"
    # All conditions must hold: the tag is missing, and it is neither function that asks.
    assert deny["Condition"] == {
        "Null": {"s3:ExistingObjectTag/kind": "true"},
        "ArnNotEquals": {"aws:PrincipalArn": labellers(all_on)},
    }


def test_nobody_but_the_functions_that_label_can_write_the_label_tag(all_on: Stack) -> None:
    deny = bucket_policy(all_on)["OnlyTheFunctionsLabel"]
    assert set(deny["Action"]) == {"s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"}
    assert deny["Condition"] == {
        "ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["kind"]},
        "ArnNotEquals": {"aws:PrincipalArn": labellers(all_on)},
    }


@pytest.mark.parametrize("tag", [PARAMETERS["TagPrefix"]["Default"], "kind"])
def test_the_gate_is_the_same_for_the_default_tag_and_for_one_of_your_own(tag: str) -> None:
    roles = {name: f"arn:aws:iam::111122223333:role/{name}" for name in ("ClassifyRole", "BackfillRole")}
    arns = {"UploadsBucket": "arn:aws:s3:::photos", **roles}
    policies = [
        Resolver({"DenyUnlabelledReads": switch, "TagPrefix": tag}, arns)(properties("UploadsBucketPolicy"))
        for switch in ("false", "true")
    ]
    # CloudFormation takes a policy as an object or as JSON in a string.
    without, with_gate = (statements(policy["PolicyDocument"]) for policy in policies)
    gate_alone = {name: statement for name, statement in with_gate.items() if name not in without}
    assert without == {name: with_gate[name] for name in without}
    assert list(gate_alone.values()) == gate("arn:aws:s3:::photos", tag, list(roles.values()))


def test_the_gate_is_refused_where_no_tags_are_written() -> None:
    (assertion,) = TEMPLATE_CONTENT["Rules"]["ReadGateNeedsTags"]["Assertions"]
    allowed, tested = assertion["Assert"]["Fn::Contains"]
    assert tested == {"Ref": "Write"}
    assert allowed == [value for value in PARAMETERS["Write"]["AllowedValues"] if "tags" in value]


# ---- what is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", PARAMETERS["Write"]["AllowedValues"])
def test_every_combination_of_what_is_written_is_a_condition_of_its_own(write: str) -> None:
    resolver = Resolver({"Write": write}, {})
    conditions = {"tags": "WritesTags", "row": "WritesRow", "event": "WritesEvent"}
    assert [name for name, condition in conditions.items() if resolver.holds(condition)] == write.split(",")
    configurations = resolver(properties("UploadsBucket")["NotificationConfiguration"])["QueueConfigurations"]
    removals = ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"] if "row" in write else []
    assert [sent["Event"] for sent in configurations] == ["s3:ObjectCreated:*", *removals]


def test_tags_or_a_row_are_always_written() -> None:
    combinations = {frozenset(value.split(",")) for value in PARAMETERS["Write"]["AllowedValues"]}
    subsets = {frozenset(c) for n in range(4) for c in itertools.combinations(("tags", "row", "event"), n)}
    assert combinations == {subset for subset in subsets if subset & {"tags", "row"}}


# ---- versions of objects, architecture, SnapStart ----------------------------------------------------------------


def test_versioning_is_left_alone_unless_asked_for(default: Stack, all_on: Stack) -> None:
    assert "VersioningConfiguration" not in default.properties["UploadsBucket"]
    assert all_on.properties["UploadsBucket"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_function_and_layers_are_of_the_architecture_that_is_asked_for(default: Stack, all_on: Stack) -> None:
    assert (default.function.architecture, all_on.function.architecture) == ("x86_64", "arm64")


def test_somebody_is_mailed_only_where_an_address_is_given(default: Stack, all_on: Stack) -> None:
    assert "AlarmsSubscription" not in default.properties
    assert all_on.properties["AlarmsSubscription"]["Endpoint"] == "operator@example.com"


def test_snapshots_are_of_published_versions(default: Stack, all_on: Stack) -> None:
    assert default.properties["ClassifyFunction"]["SnapStart"] == {"ApplyOn": "None"}
    assert all_on.properties["ClassifyFunction"]["SnapStart"] == {"ApplyOn": "PublishedVersions"}


def translated(**parameters: str) -> dict[str, Any]:
    return to_cloudformation(TEMPLATE_CONTENT, parameters)["Resources"]


def named(resources: dict[str, Any], kind: str) -> list[str]:
    return [name for name, resource in resources.items() if resource["Type"] == kind]


def test_the_queue_invokes_the_alias_of_the_newest_version() -> None:
    resources = translated()
    (alias,) = named(resources, "AWS::Lambda::Alias")
    assert resources["UploadsToClassify"]["Properties"]["FunctionName"] == {"Ref": alias}
    assert "UpdatePolicy" not in resources[alias]  # CloudFormation itself moves it, at once
    assert named(resources, "AWS::CodeDeploy::DeploymentGroup") == []


def test_a_gradual_deployment_moves_the_alias_in_steps_and_back_at_an_alarm_of_the_function() -> None:
    resources = translated(Deployment="Canary10Percent5Minutes")
    (alias,) = named(resources, "AWS::Lambda::Alias")
    (group,) = named(resources, "AWS::CodeDeploy::DeploymentGroup")
    update = resources[alias]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert update["DeploymentGroupName"] == {"Ref": group}
    deployment = resources[group]["Properties"]
    assert deployment["DeploymentConfigName"] == {
        "Fn::Sub": ["CodeDeployDefault.Lambda${ConfigName}", {"ConfigName": "Canary10Percent5Minutes"}]
    }
    assert deployment["AlarmConfiguration"]["Alarms"] == [
        {"Name": {"Ref": name}} for name in ("ErrorsAlarm", "FailedObjectsAlarm")
    ]
    assert "DEPLOYMENT_STOP_ON_ALARM" in deployment["AutoRollbackConfiguration"]["Events"]
    # No other role: SAM's own would lack the boundary.
    assert set(named(resources, "AWS::IAM::Role")) == set(named(translated(), "AWS::IAM::Role"))


# ---- rules of the account --------------------------------------------------------------------------------


def test_a_permissions_boundary_limits_every_role(default: Stack, all_on: Stack) -> None:
    assert {role["PermissionsBoundary"] for role in of(all_on, "AWS::IAM::Role").values()} == {BOUNDARY}
    assert "DeploymentRole" in all_on.properties
    assert all("PermissionsBoundary" not in role for role in of(default, "AWS::IAM::Role").values())


@pytest.mark.parametrize("name", ["Classify", "Score", "Backfill"])
def test_in_a_vpc_a_function_has_the_subnets_and_may_have_network_interfaces(
    name: str, default: Stack, all_on: Stack
) -> None:
    assert all_on.properties[f"{name}Function"]["VpcConfig"] == {
        "SubnetIds": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-1"],
    }
    policy = "arn:aws:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"
    assert all_on.properties[f"{name}Role"]["ManagedPolicyArns"] == [policy]
    assert "VpcConfig" not in default.properties[f"{name}Function"]
    assert "ManagedPolicyArns" not in default.properties[f"{name}Role"]


# ---- versions of the function ----------------------------------------------------------------------------


def version(template: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    resources = to_cloudformation(template, {})["Resources"]
    ((name, resource),) = ((n, r) for n, r in resources.items() if r["Type"] == "AWS::Lambda::Version")
    return name, resource


@pytest.mark.parametrize("layer", ["LibrariesLayer", "ModelLayer"])
def test_another_layer_makes_another_version(layer: str) -> None:
    changed = copy.deepcopy(TEMPLATE_CONTENT)
    changed["Resources"][layer]["Properties"]["Description"] = "as after a change of its content"
    assert version(changed)[0] != version(TEMPLATE_CONTENT)[0]


def test_another_value_of_any_parameter_that_the_function_sees_makes_another_version() -> None:
    # CloudFormation reference, AWS::Lambda::Version: an update of Description requires replacement.
    other = ("VersionDescription", "DeploymentPreference")
    function = {name: value for name, value in properties("ClassifyFunction").items() if name not in other}
    seen = (set(references(function)) & set(PARAMETERS)) | {"SnapStart"}  # it is seen through a condition
    assert set(references(version(TEMPLATE_CONTENT)[1]["Properties"]["Description"])) == seen
