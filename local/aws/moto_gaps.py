"""Set through boto3 what the template declares and moto's CloudFormation (5.2.5) does not support."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from local.aws.moto import LocalAws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import QueueConfigurationTypeDef
    from mypy_boto3_sqs import SQSClient

# Types that moto's CloudFormation has no model for, and versions of code, which is not deployed locally.
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

# The properties of a bucket and a table that moto's CloudFormation sets.
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


def set_missing(
    aws: LocalAws, types: Mapping[str, str], resources: Mapping[str, str], properties: Mapping[str, Any]
) -> tuple[str, ...]:
    """Set what is missing on the deployed `resources`; return the properties that stay unset.

    `types` and `resources` give type and physical id by logical id, `properties` the resolved properties.
    """
    return tuple(
        f"{logical_id}.{name}"
        for resource_type, step in _STEPS.items()
        for logical_id in properties
        if types[logical_id] == resource_type
        for name in sorted(step(aws, resources.get(logical_id, ""), properties[logical_id]) or ())
    )


# Each step completes the resource with the physical id `name`; it returns the properties that it cannot set.


def _queue(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> set[str]:
    return properties.keys() & {"RedriveAllowPolicy"}


def _queue_policy(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    sqs: SQSClient = aws.client("sqs")
    for url in properties["Queues"]:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(properties["PolicyDocument"])})


def _bucket_policy(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> set[str]:
    # moto ignores a statement's Condition: "deny without TLS" would deny everything.
    document = properties["PolicyDocument"]
    document = json.loads(document) if isinstance(document, str) else document
    statements = [statement for statement in document["Statement"] if "Condition" not in statement]
    if statements:
        s3: S3Client = aws.client("s3")
        s3.put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(document | {"Statement": statements}))
    return set() if len(statements) == len(document["Statement"]) else {"PolicyDocument"}


def _topic_policy(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    policy = json.dumps(properties["PolicyDocument"])
    for topic in properties["Topics"]:
        aws.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


def _subscription(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    aws.client("sns").subscribe(**properties)


def _alarm(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    # A threshold that is a parameter's value is text.
    aws.client("cloudwatch").put_metric_alarm(**dict(properties) | {"Threshold": float(properties["Threshold"])})


def _schedule(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    aws.client("scheduler").create_schedule(**properties)  # moto stores it and starts nothing


def _invoke_config(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> None:
    without_version = {key: value for key, value in properties.items() if key != "Qualifier"}  # "$LATEST"
    aws.client("lambda").put_function_event_invoke_config(**without_version)


def _table(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> set[str]:
    return _call(aws.client("dynamodb"), _TABLE_CALLS, {"TableName": name}, properties) - _TABLE_BY_MOTO


def _bucket(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> set[str]:
    s3: S3Client = aws.client("s3")
    left_out = _call(s3, _BUCKET_CALLS, {"Bucket": name}, properties) - _BUCKET_BY_MOTO
    notification = properties.get("NotificationConfiguration", {})
    if set(notification) == {"QueueConfigurations"}:
        queues = [_notification(configuration) for configuration in notification["QueueConfigurations"]]
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": queues})
        left_out.remove("NotificationConfiguration")
    return left_out


def _call(client: Any, calls: Mapping[str, str], target: Mapping[str, str], properties: Mapping[str, Any]) -> set[str]:
    """Make those of `calls` whose property is set; return the other properties."""
    for name in calls.keys() & properties.keys():
        getattr(client, calls[name])(**target, **{name: properties[name]})
    return set(properties.keys() - calls.keys())


def _notification(configuration: Mapping[str, Any]) -> QueueConfigurationTypeDef:
    """A queue notification of CloudFormation in the shape of the S3 API."""
    notification: QueueConfigurationTypeDef = {
        "QueueArn": configuration["Queue"],
        "Events": [configuration["Event"]],
    }
    if rules := configuration.get("Filter", {}).get("S3Key", {}).get("Rules", []):
        notification["Filter"] = {"Key": {"FilterRules": rules}}
    return notification


# A queue's policy comes before the bucket's notification: S3 checks that it may send to the queue.
_STEPS: dict[str, Callable[[LocalAws, str, Mapping[str, Any]], set[str] | None]] = {
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
