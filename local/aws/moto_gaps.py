"""Set through boto3 what the template declares and moto's CloudFormation (5.2.5) does not support."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from local.aws.moto import LocalAws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import QueueConfigurationTypeDef

# Types that moto's CloudFormation has no model for, and versions of code, which is not deployed locally.
NOT_IN_MOTO = {
    "AWS::CloudWatch::Alarm",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Events::Rule",  # it is one, but only for a pattern that is not text
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

# The properties of the template's buckets and tables that moto's CloudFormation sets.
_BUCKET_BY_MOTO = {"BucketName", "BucketEncryption"}
_TABLE_BY_MOTO = {"AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema"}
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
    # Buckets come last: S3 checks a queue's policy when a bucket's notification is set.
    logical_ids = sorted(properties, key=lambda logical_id: types[logical_id] == "AWS::S3::Bucket")
    return tuple(
        f"{logical_id}.{name}"
        for logical_id in logical_ids
        for name in sorted(_set(aws, types[logical_id], resources.get(logical_id, ""), properties[logical_id]))
    )


def _set(aws: LocalAws, resource_type: str, name: str, properties: Mapping[str, Any]) -> set[str]:
    """Complete the resource with the physical id `name`; returns the properties that it cannot set."""
    match resource_type:
        case "AWS::SQS::Queue":
            return properties.keys() & {"RedriveAllowPolicy"}
        case "AWS::SQS::QueuePolicy":
            document = json.dumps(properties["PolicyDocument"])
            for url in properties["Queues"]:
                aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": document})
        case "AWS::S3::BucketPolicy":
            # moto ignores conditions, which all statements here have: "deny without TLS" would deny everything.
            return {"PolicyDocument"}
        case "AWS::SNS::TopicPolicy":
            document = json.dumps(properties["PolicyDocument"])
            for topic in properties["Topics"]:
                aws.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=document)
        case "AWS::SNS::Subscription":
            aws.client("sns").subscribe(**properties)
        case "AWS::Events::Rule":
            events = aws.client("events")
            events.put_rule(Name=properties["Name"], EventPattern=properties["EventPattern"])
            events.put_targets(Rule=properties["Name"], Targets=properties["Targets"])
        case "AWS::CloudWatch::Alarm":  # a threshold that is a parameter's value is text
            threshold = float(properties["Threshold"])
            aws.client("cloudwatch").put_metric_alarm(**dict(properties) | {"Threshold": threshold})
        case "AWS::Scheduler::Schedule":
            aws.client("scheduler").create_schedule(**properties)  # moto stores it and starts nothing
        case "AWS::Lambda::EventInvokeConfig":
            without_version = {key: value for key, value in properties.items() if key != "Qualifier"}  # "$LATEST"
            aws.client("lambda").put_function_event_invoke_config(**without_version)
        case "AWS::DynamoDB::Table":
            return _call(aws.client("dynamodb"), _TABLE_CALLS, {"TableName": name}, properties) - _TABLE_BY_MOTO
        case "AWS::S3::Bucket":
            return _set_bucket(aws.client("s3"), name, properties)
    return set()


def _set_bucket(s3: S3Client, name: str, properties: Mapping[str, Any]) -> set[str]:
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
    notification: QueueConfigurationTypeDef = {"QueueArn": configuration["Queue"], "Events": [configuration["Event"]]}
    if rules := configuration.get("Filter", {}).get("S3Key", {}).get("Rules", []):
        notification["Filter"] = {"Key": {"FilterRules": rules}}
    return notification
