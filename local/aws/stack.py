"""Deploy template.yaml on the local AWS.

SAM's translator turns the template into CloudFormation, moto creates what it supports, and local.aws.moto_gaps sets
the rest through boto3. It needs each resource's properties with every reference resolved, so moto's CloudFormation
resolves them: they are additional outputs of the stack.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local.aws.moto import LocalAws
from local.aws.moto_gaps import NOT_IN_MOTO, set_missing
from local.aws.template import to_cloudformation
from ops.cli import STACK_NAME
from ops.stack import describe_stack
from ops.template import TEMPLATE, TemplateError, read_template

FUNCTION = "ClassifyFunction"
_QUEUE, _MAPPING = "UploadsQueue", "UploadsToClassify"
_OUTPUTS = ("UploadsBucketName", "UploadsQueueUrl", "UploadsDeadLetterQueueUrl", "ResultsTableName")
_VERSIONS = (  # of code, and how they are exchanged: not deployed here
    "AWS::Lambda::LayerVersion", "AWS::Lambda::Version", "AWS::Lambda::Alias",
    "AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup",
)  # fmt: skip
# CreateStack answers when moto has made everything, on a busy machine after more than botocore's 60 s. botocore would
# then send it again, and the second one meets the queues of the first.
_PATIENT = Config(retries={"total_max_attempts": 1}, read_timeout=600)
_RESOLVED = "Resolved"  # prefix of the outputs that hold resolved properties


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the template, as Lambda runs it."""

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
        """The environment, with values under /opt, where Lambda unpacks layers, moved to the folder `opt`."""
        return {name: _under(opt, value) for name, value in self.environment.items()}

    def local_environment(self, model: Path) -> dict[str, str]:
        """The environment for a handler that runs from the sources: the model in the folder `model`, no X-Ray."""
        return {
            **self.environment,
            "MODEL_DIR": str(model),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "POWERTOOLS_TRACE_DISABLED": "true",
        }


@dataclass(frozen=True, slots=True)
class Stack:
    """The deployed template: names of its resources, and how the queue feeds the classify function."""

    name: str
    region: str
    uploads_bucket: str  # "" if it labels existing buckets
    queue_url: str
    queue_arn: str
    dead_letter_url: str
    max_receives: int  # receptions of a message before it goes to the dead-letter queue
    results_table: str
    function: Function  # classify
    batch_size: int
    reports_item_failures: bool  # the function's response may name single messages that failed
    outputs: Mapping[str, str]
    resources: Mapping[str, str]  # logical id -> physical id
    properties: Mapping[str, Any]  # logical id -> properties, every reference resolved
    left_out: tuple[str, ...]  # properties that the local AWS does not support


def deploy(
    aws: LocalAws,
    template: Path = TEMPLATE,
    parameters: Mapping[str, str] | None = None,
    name: str = STACK_NAME,
) -> Stack:
    """Create the resources of `template`, which is template.yaml or what `sam build` makes of it.

    `parameters` override the template's defaults. Raises TemplateError, also for a template of another application.
    """
    cloudformation = to_cloudformation(read_template(template), parameters or {})
    if missing := [name for name in (FUNCTION, _QUEUE, _MAPPING) if name not in cloudformation["Resources"]]:
        raise TemplateError(f"{template} is not the labeller's template: it has no {', '.join(missing)}")
    if missing := [name for name in _OUTPUTS if name not in cloudformation.get("Outputs", {})]:
        raise TemplateError(f"{template} is not the labeller's template: it has no output {', '.join(missing)}")
    types = {logical_id: resource["Type"] for logical_id, resource in cloudformation["Resources"].items()}
    client = aws.client("cloudformation", config=_PATIENT)
    body = json.dumps(_deployable(cloudformation))
    client.create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"])
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
        key.removeprefix(_RESOLVED): _without_no_value(json.loads(value))
        for key, value in outputs.items()
        if key.startswith(_RESOLVED)
    }
    mapping = properties[_MAPPING]
    return Stack(
        name=name,
        region=aws.region_name,
        uploads_bucket=outputs.get("UploadsBucketName", ""),
        queue_url=outputs["UploadsQueueUrl"],
        queue_arn=mapping["EventSourceArn"],
        dead_letter_url=outputs["UploadsDeadLetterQueueUrl"],
        max_receives=int(properties[_QUEUE]["RedrivePolicy"]["maxReceiveCount"]),
        results_table=outputs["ResultsTableName"],
        function=_function(aws, resources[FUNCTION], properties[FUNCTION]),
        batch_size=int(mapping["BatchSize"]),
        reports_item_failures="ReportBatchItemFailures" in mapping["FunctionResponseTypes"],
        outputs={key: value for key, value in outputs.items() if not key.startswith(_RESOLVED)},
        resources=resources,
        properties=properties,
        left_out=set_missing(aws, types, resources, properties),
    )


def function_of(aws: LocalAws, stack: Stack, logical_id: str) -> Function:
    """The function `logical_id` of the stack. Raises TemplateError if the template does not have it."""
    if "Handler" not in stack.properties.get(logical_id, {}):
        raise TemplateError(f"the template has no function {logical_id}")
    return _function(aws, stack.resources[logical_id], stack.properties[logical_id])


def running_function(aws: boto3.session.Session, name: str) -> Function:
    """The function `name` (or its ARN) as it is deployed, here or in an account."""
    known = aws.client("lambda").get_function_configuration(FunctionName=name)
    group = known.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{known['FunctionName']}")  # moto has none
    return _function(aws, known["FunctionName"], {**known, "LoggingConfig": {"LogGroup": group}})


def _deployable(cloudformation: Mapping[str, Any]) -> dict[str, Any]:
    """The template for moto: without code, and with the resolved properties as outputs."""
    resources, outputs = {}, dict(cloudformation.get("Outputs", {}))
    for logical_id, resource in _without_aliases(cloudformation["Resources"]).items():
        properties = dict(resource.get("Properties", {}))
        if resource["Type"] == "AWS::Lambda::Function":
            properties.pop("Layers", None)
            properties["Code"] = {"ZipFile": "# local.aws.poller and local.runtime.emulator run the function"}
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            properties["Enabled"] = False  # moto would run the function in Docker
        if resource["Type"] not in _VERSIONS:
            condition = {"Condition": resource["Condition"]} if "Condition" in resource else {}
            outputs[_RESOLVED + logical_id] = {"Value": {"Fn::ToJsonString": properties}} | condition
        if resource["Type"] not in NOT_IN_MOTO:
            resources[logical_id] = dict(resource) | {"Properties": properties}
    return dict(cloudformation) | {"Resources": resources, "Outputs": outputs}


def _without_no_value(value: Any) -> Any:
    """`value` without the members of lists that are AWS::NoValue, which moto turns into null."""
    if isinstance(value, list):
        return [_without_no_value(member) for member in value if member is not None]
    if isinstance(value, dict):
        return {name: _without_no_value(member) for name, member in value.items()}
    return value


def _without_aliases(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The resources, with references to a function's alias replaced by the function: it has one version here."""
    text = json.dumps(resources)
    for logical_id, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Alias":
            function = json.dumps(resource["Properties"]["FunctionName"])
            text = text.replace(json.dumps({"Ref": logical_id}), function)
    return dict(json.loads(text))


def _local_queue_urls(aws: LocalAws, types: Mapping[str, str], resources: Mapping[str, str]) -> dict[str, str]:
    """The URL that moto's CloudFormation gives each queue, an address of AWS -> its URL on this machine."""
    sqs = aws.client("sqs")
    addresses = [resources[name] for name in resources if types.get(name) == "AWS::SQS::Queue"]
    return {address: sqs.get_queue_url(QueueName=address.rpartition("/")[2])["QueueUrl"] for address in addresses}


def _function(aws: boto3.session.Session, name: str, properties: Mapping[str, Any]) -> Function:
    return Function(
        name=name,
        arn=aws.client("lambda").get_function_configuration(FunctionName=name)["FunctionArn"],
        handler=properties["Handler"],
        runtime=properties["Runtime"],
        architecture=properties["Architectures"][0],
        timeout=int(properties["Timeout"]),
        memory=int(properties["MemorySize"]),
        log_group=properties["LoggingConfig"]["LogGroup"],
        environment={key: str(value) for key, value in properties["Environment"]["Variables"].items()},
    )


def _under(opt: Path, value: str) -> str:
    return f"{opt}{value.removeprefix('/opt')}" if value == "/opt" or value.startswith("/opt/") else value
