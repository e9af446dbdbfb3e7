"""What the template says and moto's CloudFormation does not do, done through boto3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from local.aws.moto import LocalAws

# Types that moto's CloudFormation has no model for, and layers and versions, whose content is not deployed locally.
NOT_IN_MOTO = {
    "AWS::CloudWatch::Alarm",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Version",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
}

# What moto's CloudFormation itself takes from a bucket and a table, and what it lacks of a queue.
_BUCKET_BY_MOTO = {"BucketName", "BucketEncryption", "Tags"}
_TABLE_BY_MOTO = {
    "TableName",
    "BillingMode",
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
    "StreamSpecification",
    "DeletionProtectionEnabled",
    "Tags",
}
_QUEUE_NOT_BY_MOTO = {"RedriveAllowPolicy"}
# Property -> the call that takes it as an argument of the same name and shape.
_BUCKET_CALLS = {
    "PublicAccessBlockConfiguration": "put_public_access_block",
    "OwnershipControls": "put_bucket_ownership_controls",
    "VersioningConfiguration": "put_bucket_versioning",
}
_TABLE_CALLS = {
    "TimeToLiveSpecification": "update_time_to_live",
    "PointInTimeRecoverySpecification": "update_continuous_backups",
}


def apply_rest(
    aws: LocalAws, types: Mapping[str, str], resources: Mapping[str, str], properties: Mapping[str, Any]
) -> tuple[str, ...]:
    """Set what is missing on the deployed `resources`; return the properties that are still not in force.

    `types` and `resources` give type and physical id by logical id, `properties` the resolved properties.
    """
    return tuple(
        f"{logical_id}.{left_out}"
        for kind, complete in _STEPS.items()
        for logical_id in properties
        if types[logical_id] == kind
        for left_out in sorted(complete(aws, resources.get(logical_id, ""), properties[logical_id]))
    )


# Each of the following completes the resource `name` and returns the names of the properties left out.


def _queue(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    return wanted.keys() & _QUEUE_NOT_BY_MOTO


def _queue_policy(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    policy = json.dumps(wanted["PolicyDocument"])
    for url in wanted["Queues"]:
        aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return set()


def _bucket_policy(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    # moto takes a statement for unconditional, whatever its Condition: "deny without TLS" would deny all.
    document = wanted["PolicyDocument"]
    document = json.loads(document) if isinstance(document, str) else document
    statements = [statement for statement in document["Statement"] if "Condition" not in statement]
    if statements:
        policy = json.dumps(dict(document) | {"Statement": statements})
        aws.client("s3").put_bucket_policy(Bucket=wanted["Bucket"], Policy=policy)
    return set() if len(statements) == len(document["Statement"]) else {"PolicyDocument"}


def _topic_policy(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    policy = json.dumps(wanted["PolicyDocument"])
    for topic in wanted["Topics"]:
        aws.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    return set()


def _subscription(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    aws.client("sns").subscribe(**wanted)
    return set()


def _alarm(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    # A threshold that comes from a parameter is text.
    aws.client("cloudwatch").put_metric_alarm(**dict(wanted) | {"Threshold": float(wanted["Threshold"])})
    return set()


def _schedule(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    aws.client("scheduler").create_schedule(**wanted)  # moto keeps it, and starts nothing
    return set()


def _invoke_config(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    without_version = {key: value for key, value in wanted.items() if key != "Qualifier"}  # "$LATEST"
    aws.client("lambda").put_function_event_invoke_config(**without_version)
    return set()


def _table(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    return _call(aws.client("dynamodb"), _TABLE_CALLS, {"TableName": name}, wanted) - _TABLE_BY_MOTO


def _bucket(aws: LocalAws, name: str, wanted: Mapping[str, Any]) -> set[str]:
    s3 = aws.client("s3")
    left_out = _call(s3, _BUCKET_CALLS, {"Bucket": name}, wanted) - _BUCKET_BY_MOTO
    notification = wanted.get("NotificationConfiguration", {})
    if set(notification) == {"QueueConfigurations"}:  # the one kind of target that a template here has
        queues = [_notification(configuration) for configuration in notification["QueueConfigurations"]]
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": queues})
        left_out.remove("NotificationConfiguration")
    return left_out


def _call(client: Any, calls: Mapping[str, str], target: Mapping[str, str], wanted: Mapping[str, Any]) -> set[str]:
    """Make each of `calls` whose property is wanted; return the names of the other wanted properties."""
    for key in calls.keys() & wanted.keys():
        getattr(client, calls[key])(**target, **{key: wanted[key]})
    return set(wanted.keys() - calls.keys())


def _notification(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """One queue notification, from CloudFormation's words to those of the S3 API."""
    notification = {"QueueArn": configuration["Queue"], "Events": [configuration["Event"]]}
    rules = configuration.get("Filter", {}).get("S3Key", {}).get("Rules", [])
    if rules:
        notification["Filter"] = {"Key": {"FilterRules": rules}}
    return notification


# As in AWS, a queue's policy stands before a bucket is told to notify the queue.
_STEPS: dict[str, Callable[[LocalAws, str, Mapping[str, Any]], set[str]]] = {
    "AWS::SQS::Queue": _queue,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SNS::Subscription": _subscription,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::Scheduler::Schedule": _schedule,
    "AWS::Lambda::EventInvokeConfig": _invoke_config,
    "AWS::DynamoDB::Table": _table,
    "AWS::S3::Bucket": _bucket,
}
