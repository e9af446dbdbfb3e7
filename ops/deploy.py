"""Deploy what `make build` built, without questions: `make deploy ENV=dev`; with GUIDED=1, SAM asks for the parameters.

    python -m ops.deploy --env NAME [--arch ARCH] [--allow-replace] | --guided

`sam deploy` uploads the build and makes a change set, as the environment in samconfig.toml says. This command prints
the changes, refuses those that would remove or replace what holds data, executes the others and waits for the end.

Exit status: 0 deployed, or nothing had changed; 1 refused, or the deployment failed; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import WaiterError

from ops import ROOT
from ops.cli import CommandError, command_parser, exit_status
from ops.template import read_template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ResourceChangeTypeDef, WaiterConfigTypeDef

SAM = ROOT / ".venv-sam/bin/sam"
SAMCONFIG = Path("samconfig.toml")
REPORT = Path("build/model/report.json")
LAYERS_FOR = Path("build/layers/architecture")  # written by `make layer`
HOLDS_DATA = {
    "AWS::DynamoDB::Table": "its rows",
    "AWS::KMS::Key": "what is encrypted with it",
    "AWS::Logs::LogGroup": "its logs",
    "AWS::S3::Bucket": "its objects",
    "AWS::SNS::Topic": "its subscriptions",
    "AWS::SQS::Queue": "its messages",
}
_CHANGE_SET = re.compile(r"arn:[\w-]+:cloudformation:[^\s:]*:\d*:changeSet/\S+")
# Characters: Lambda's API reference, PublishVersion, "Description".
LONGEST_DESCRIPTION = 256
# Two hours: a gradual deployment takes up to half an hour.
_WAIT: WaiterConfigTypeDef = {"Delay": 5, "MaxAttempts": 1440}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.deploy", __doc__)
    parser.add_argument("--env", default="", help="environment in samconfig.toml, such as dev or prod")
    parser.add_argument("--guided", action="store_true", help="ask for the parameters, and save the answers")
    parser.add_argument("--arch", choices=("x86_64", "arm64"), help="of the functions [samconfig.toml, else x86_64]")
    parser.add_argument("--allow-replace", action="store_true", help="even if resources that hold data are replaced")
    options = parser.parse_args(arguments)
    return exit_status(lambda: deploy(options), OSError)


def deploy(options: argparse.Namespace) -> int:
    """Deploy; returns the exit status. Raises CommandError."""
    parameters = read_parameters(options.env or "default", required=not options.guided)
    if options.arch:
        parameters["Architecture"] = options.arch
    parameters = accuracy_default() | parameters
    require_short(parameters)
    if options.guided:
        command = [*_sam(options.env, parameters), "--guided"]
        return subprocess.run(command, check=False).returncode
    require_layers_for(parameters.get("Architecture", "x86_64"))
    change_set = create_change_set(_sam(options.env, parameters))
    if change_set is None:
        return 0
    cloudformation = boto3.client("cloudformation")
    changes = read_changes(cloudformation, change_set)
    print("\n".join(map(change_line, changes)), flush=True)
    if (losses := list(losses_of(changes))) and not options.allow_replace:
        cloudformation.delete_change_set(ChangeSetName=change_set)
        raise CommandError(
            "\n  ".join(["nothing is deployed, because these changes would lose data:", *losses])
            + "\nIf that is what you want: ALLOW_REPLACE=1"
        )
    execute(cloudformation, change_set)
    return 0


def read_parameters(environment: str, required: bool = True, samconfig: Path = SAMCONFIG) -> dict[str, str]:
    """The parameters that an environment of samconfig.toml sets. Raises CommandError if `required` and not there."""
    content = tomllib.loads(samconfig.read_text("utf-8")) if samconfig.is_file() else {}
    given = content.get(environment, {}).get("deploy", {}).get("parameters")
    if required and (given is None or environment == "default"):
        names = [name for name, value in content.items() if name != "default" and isinstance(value, dict)]
        raise CommandError(
            f"name an environment of {samconfig}: ENV={' or ENV='.join(names) or 'NAME'}. To be asked: GUIDED=1"
        )
    return parse_overrides((given or {}).get("parameter_overrides", []))


def parse_overrides(overrides: str | Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """Parameters as samconfig.toml may have them: `A="1" B="2"`, a list of such, or a table."""
    if isinstance(overrides, Mapping):
        return {name: str(value) for name, value in overrides.items()}
    text = overrides if isinstance(overrides, str) else " ".join(overrides)
    return dict(pair.split("=", 1) for pair in shlex.split(text) if "=" in pair)


def accuracy_default(report: Path = REPORT) -> dict[str, str]:
    """MinimumAccuracy that the model's own report supports: the lower end of its interval, on its test pictures.

    Empty without a report. A test set of other pictures has another accuracy, by chance alone.
    """
    try:
        low = json.loads(report.read_bytes())["accuracy"]["test"]["int8"]["interval"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    return {"MinimumAccuracy": str(int(1000 * low) / 1000)}  # rounded down


def require_layers_for(architecture: str) -> None:
    """Raise CommandError if the layers are for another architecture: every import would fail in the function."""
    packed = LAYERS_FOR.read_text().strip() if LAYERS_FOR.is_file() else architecture
    if packed != architecture:
        raise CommandError(
            f"the layers are for {packed}, the functions for {architecture}: make layer ARCH={architecture}"
        )


def require_short(parameters: Mapping[str, str]) -> None:
    """Raise CommandError if the description of the function's version, which lists parameters, is too long for Lambda.

    Lambda itself says so in the middle of the deployment, which is then rolled back.
    """
    template = read_template()
    defaults = {name: parameter.get("Default", "") for name, parameter in template["Parameters"].items()}
    _, parts = template["Resources"]["ClassifyFunction"]["Properties"]["VersionDescription"]["Fn::Join"]
    # A list is joined by commas, so its text is the parameter's.
    names = [part["Ref"] if "Ref" in part else part["Fn::Join"][1]["Ref"] for part in parts]
    values = {name: str(parameters.get(name, defaults[name])) for name in names}
    length = len(" ".join(values.values()))
    if length > LONGEST_DESCRIPTION:
        longest = sorted(names, key=lambda name: -len(values[name]))[:3]
        raise CommandError(
            f"the values of {', '.join(names)} have {length} characters together, spaces between them included. "
            f"Lambda allows {LONGEST_DESCRIPTION} in a version's description. The longest are {', '.join(longest)}"
        )


def create_change_set(command: Sequence[str]) -> str | None:
    """Run `sam deploy` and show its output; returns the change set's ARN, or None if nothing has changed."""
    options = ("--no-execute-changeset", "--no-confirm-changeset", "--no-fail-on-empty-changeset")
    change_set = None
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if found := _CHANGE_SET.search(line):
                change_set = found[0]
    if process.returncode:
        raise CommandError("sam deploy failed; its output above says why")
    return change_set


def read_changes(cloudformation: CloudFormationClient, change_set: str) -> list[ResourceChangeTypeDef]:
    """What the change set does to each resource."""
    pages = cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
    return [
        change["ResourceChange"] for page in pages for change in page.get("Changes", []) if "ResourceChange" in change
    ]


def change_line(change: ResourceChangeTypeDef) -> str:
    """Such as "Modify   ClassifyFunction (AWS::Lambda::Function)"."""
    replaced = {"True": ", replaced", "Conditional": ", perhaps replaced"}.get(change.get("Replacement", ""), "")
    return f"  {change['Action']:<8} {change['LogicalResourceId']} ({change['ResourceType']}{replaced})"


def losses_of(changes: Iterable[ResourceChangeTypeDef]) -> Iterable[str]:
    """A line for each change that would remove or replace a resource that holds data, or may do so."""
    for change in changes:
        content = HOLDS_DATA.get(change["ResourceType"])
        is_replaced = change.get("Replacement") in ("True", "Conditional")
        if content and (change["Action"] in ("Remove", "Dynamic") or (change["Action"] == "Modify" and is_replaced)):
            causes = sorted({detail.get("Target", {}).get("Name", "") for detail in change.get("Details", [])} - {""})
            because = f", because of {', '.join(causes)}" if causes else ""
            yield f"{change_line(change).strip()}: {content} would stay behind or be lost{because}"


def execute(cloudformation: CloudFormationClient, change_set: str) -> None:
    """Execute the change set and wait for its end. Raises CommandError with the reasons if it fails."""
    name = cloudformation.describe_change_set(ChangeSetName=change_set)["StackName"]
    is_new = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "REVIEW_IN_PROGRESS"
    print(f"deploying {name} ...", flush=True)
    cloudformation.execute_change_set(ChangeSetName=change_set)
    try:
        if is_new:
            cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=_WAIT)
        else:
            cloudformation.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig=_WAIT)
    except WaiterError as error:
        reasons = failures(cloudformation, name)
        raise CommandError("\n  ".join([f"the deployment of {name} failed and is rolled back:", *reasons])) from error
    print(f"{name} is deployed.")


def failures(cloudformation: CloudFormationClient, name: str) -> list[str]:
    """Why resources failed, first one first, in the latest deployment of the stack."""
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    latest = []
    for event in events:  # newest first
        if event.get("ResourceStatusReason") == "User Initiated":
            break
        if event["ResourceStatus"].endswith("_FAILED"):
            latest.append(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason is given')}")
    return latest[::-1]


def _sam(environment: str, parameters: Mapping[str, str]) -> list[str]:
    """The command; its own list of parameters replaces that of samconfig.toml, so it has all of them."""
    quoted = [f'{name}="{value}"' for name, value in parameters.items()]
    environments = ["--config-env", environment] if environment else []
    return [str(SAM), "deploy", *environments, *(["--parameter-overrides", *quoted] if quoted else [])]


if __name__ == "__main__":
    sys.exit(main())
