"""Deploy template.yaml itself on the local AWS.

SAM's translator turns it into CloudFormation, and moto's CloudFormation creates what it can: the bucket
with its encryption, queues with their dead-letter queues, the table with its keys, the role, the log group,
the function, the topic and its key, the dashboard. moto 5.2.5 leaves out the bucket's notification, versions,
public access block and ownership, the policies of bucket, queues and topic, alarms, the table's expiry and
backups. `local.aws.moto_gaps` sets those through boto3, from the template's own properties: they are asked back from
moto as additional outputs of the stack, every Ref, Sub, If, GetAtt and FindInMap resolved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.aws.moto import LocalAws
from local.aws.moto_gaps import NOT_IN_MOTO, apply_rest
from local.aws.template import to_cloudformation
from ops.cli import STACK_NAME
from ops.stack import describe_stack
from ops.template import TEMPLATE, TemplateError, read_template

FUNCTION = "ClassifyFunction"
_VERSIONS = ("AWS::Lambda::LayerVersion", "AWS::Lambda::Version", "AWS::Lambda::Alias")  # of code, not deployed here
_RESOLVED = "Resolved"  # prefix of the outputs that carry resolved properties


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the template, with what Lambda would give it."""

    name: str
    arn: str
    handler: str  # module.function
    runtime: str  # such as "python3.13"
    architecture: str  # "x86_64" or "arm64"
    timeout: int  # seconds
    memory: int  # MB
    log_group: str
    environment: Mapping[str, str]

    def environment_at(self, opt: Path) -> dict[str, str]:
        """The environment, with values under /opt, where Lambda puts layers, moved to the folder `opt`."""
        return {name: _under(opt, value) for name, value in self.environment.items()}


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed template: names of what exists, and how the function is fed."""

    name: str
    region: str
    uploads_bucket: str
    queue_url: str
    queue_arn: str
    dead_letter_url: str
    max_receives: int  # receptions of a message before it goes to the dead-letter queue
    results_table: str
    function: Function
    batch_size: int
    reports_item_failures: bool  # the function's response may name single messages that failed
    outputs: Mapping[str, str]
    resources: Mapping[str, str]  # logical id -> physical id
    properties: Mapping[str, Any]  # logical id -> properties, every reference resolved
    left_out: tuple[str, ...]  # properties of buckets, queues and tables that the local AWS does not know


def deploy(
    aws: LocalAws,
    template: Path = TEMPLATE,
    parameters: Mapping[str, str] | None = None,
    name: str = STACK_NAME,
    function_id: str = FUNCTION,
) -> Stack:
    """Create the resources of `template` and return what has become of them.

    `parameters` override the template's defaults. `function_id` is the logical id of the function that the
    queue feeds. Raises TemplateError where the template has no such function, queue, bucket or table.
    """
    cloudformation = to_cloudformation(read_template(template), parameters or {})
    types = {logical_id: resource["Type"] for logical_id, resource in cloudformation["Resources"].items()}
    client = aws.client("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(_deployable(cloudformation)),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    resources = {
        summary["LogicalResourceId"]: summary["PhysicalResourceId"]
        for page in client.get_paginator("list_stack_resources").paginate(StackName=name)
        for summary in page["StackResourceSummaries"]
    }
    outputs = dict(describe_stack(name, client).outputs)
    for address, url in _local_queue_urls(aws, types, resources).items():
        outputs = {key: value.replace(address, url) for key, value in outputs.items()}
        resources = {logical_id: value.replace(address, url) for logical_id, value in resources.items()}
    properties = {
        key.removeprefix(_RESOLVED): json.loads(value) for key, value in outputs.items() if key.startswith(_RESOLVED)
    }
    queue = _follow(aws, function_id, types, resources, properties)
    left_out = apply_rest(aws, types, resources, properties)
    return Stack(
        name=name,
        region=aws.region,
        function=_function(aws, resources[function_id], properties[function_id]),
        outputs={key: value for key, value in outputs.items() if not key.startswith(_RESOLVED)},
        resources=resources,
        properties=properties,
        left_out=left_out,
        **queue,
    )


def function_of(aws: LocalAws, stack: Stack, logical_id: str) -> Function:
    """Another function of the stack. Raises TemplateError where the template has none of that name."""
    if logical_id not in stack.properties or "Handler" not in stack.properties[logical_id]:
        raise TemplateError(f"the template has no function {logical_id}")
    return _function(aws, stack.resources[logical_id], stack.properties[logical_id])


def _deployable(cloudformation: Mapping[str, Any]) -> dict[str, Any]:
    """The template as moto is to have it: without code, and with the resolved properties as outputs."""
    resources, outputs = {}, dict(cloudformation.get("Outputs", {}))
    for logical_id, resource in _without_aliases(cloudformation["Resources"]).items():
        properties = dict(resource.get("Properties", {}))
        if resource["Type"] == "AWS::Lambda::Function":
            properties.pop("Layers", None)
            properties["Code"] = {"ZipFile": "# not run here: local.aws.poller and local.runtime.emulator do"}
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            properties["Enabled"] = False  # moto would run the function in Docker
        if resource["Type"] not in _VERSIONS:
            condition = {"Condition": resource["Condition"]} if "Condition" in resource else {}
            outputs[_RESOLVED + logical_id] = {"Value": {"Fn::ToJsonString": properties}} | condition
        if resource["Type"] not in NOT_IN_MOTO:
            resources[logical_id] = dict(resource) | {"Properties": properties}
    return dict(cloudformation) | {"Resources": resources, "Outputs": outputs}


def _without_aliases(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The resources, with the function itself wherever one refers to its alias: there is one version here."""
    text = json.dumps(resources)
    for logical_id, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Alias":
            function = json.dumps(resource["Properties"]["FunctionName"])
            text = text.replace(json.dumps({"Ref": logical_id}), function)
    return dict(json.loads(text))


def _local_queue_urls(aws: LocalAws, types: Mapping[str, str], resources: Mapping[str, str]) -> dict[str, str]:
    """What moto's CloudFormation says for the URL of each queue, an address of AWS's, -> its URL here."""
    sqs = aws.client("sqs")
    addresses = [resources[each] for each in resources if types.get(each) == "AWS::SQS::Queue"]
    return {each: sqs.get_queue_url(QueueName=each.rpartition("/")[2])["QueueUrl"] for each in addresses}


def _follow(
    aws: LocalAws,
    function_id: str,
    types: Mapping[str, str],
    resources: Mapping[str, str],
    properties: Mapping[str, Any],
) -> dict[str, Any]:
    """Fields of Stack, found by the template's own references: bucket -> queue -> function -> table."""

    def of_type(kind: str) -> list[str]:
        return [logical_id for logical_id in properties if types[logical_id] == kind]

    if types.get(function_id) != "AWS::Lambda::Function" or function_id not in properties:
        raise TemplateError(f"the template has no function {function_id}")
    mappings = [properties[each] for each in of_type("AWS::Lambda::EventSourceMapping")]
    mapping = _only(
        [each for each in mappings if each["FunctionName"] == resources[function_id]],
        f"queue that feeds {function_id}",
    )
    queue_arn = mapping["EventSourceArn"]
    queues = {_arn(aws, resources[each]): each for each in of_type("AWS::SQS::Queue")}
    bucket = _only(
        [each for each in of_type("AWS::S3::Bucket") if queue_arn in _notified(properties[each])],
        f"bucket that notifies {queues[queue_arn]}",
    )
    variables = properties[function_id].get("Environment", {}).get("Variables", {})
    table = _only(
        [each for each in of_type("AWS::DynamoDB::Table") if resources[each] in variables.values()],
        f"table that {function_id} is told of",
    )
    redrive = properties[queues[queue_arn]].get("RedrivePolicy")
    if redrive is None:
        raise TemplateError(f"{queues[queue_arn]} has no dead-letter queue")
    return {
        "uploads_bucket": resources[bucket],
        "queue_url": resources[queues[queue_arn]],
        "queue_arn": queue_arn,
        "dead_letter_url": resources[queues[redrive["deadLetterTargetArn"]]],
        "max_receives": int(redrive["maxReceiveCount"]),
        "results_table": resources[table],
        "batch_size": int(mapping.get("BatchSize", 10)),  # Lambda's default
        "reports_item_failures": "ReportBatchItemFailures" in mapping.get("FunctionResponseTypes", []),
    }


def _function(aws: LocalAws, name: str, properties: Mapping[str, Any]) -> Function:
    variables = properties.get("Environment", {}).get("Variables", {})
    return Function(
        name=name,
        arn=aws.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"],
        handler=properties["Handler"],
        runtime=properties["Runtime"],
        architecture=properties.get("Architectures", ["x86_64"])[0],  # these defaults are Lambda's
        timeout=int(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
        log_group=properties.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
        environment={key: str(value) for key, value in variables.items()},
    )


def _arn(aws: LocalAws, queue_url: str) -> str:
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return str(attributes["Attributes"]["QueueArn"])


def _notified(bucket: Mapping[str, Any]) -> list[str]:
    """ARNs of the queues that a bucket sends its events to."""
    configurations = bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", [])
    return [configuration["Queue"] for configuration in configurations]


def _only(found: list[Any], what: str) -> Any:
    if len(found) != 1:
        raise TemplateError(f"the template should have one {what}; it has {len(found)}")
    return found[0]


def _under(opt: Path, value: str) -> str:
    return f"{opt}{value.removeprefix('/opt')}" if value == "/opt" or value.startswith("/opt/") else value
