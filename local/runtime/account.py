"""The functions as a stack in an account has them, for the built function here: their variables, and who calls AWS."""

import json
import os
from pathlib import Path

import boto3
from botocore.exceptions import NoCredentialsError

from local.aws.stack import Function, running_function
from ops.stack import StackDescription

ENV_JSON = Path("build/invoke/env.json")
OUTPUTS = {  # logical id -> the output that names the function
    "ClassifyFunction": "ClassifyFunctionName",
    "ScoreFunction": "ScoreFunctionName",
    "BackfillFunction": "BackfillFunctionArn",
}


def deployed_functions(session: boto3.session.Session, stack: StackDescription) -> dict[str, Function]:
    """Each function of the stack by its logical id. Raises CommandError, ClientError."""
    return {logical_id: running_function(session, stack.output(output)) for logical_id, output in OUTPUTS.items()}


def write_env_json(functions: dict[str, Function], path: Path = ENV_JSON) -> None:
    """Write the variables for `sam local invoke --env-vars`. SAM itself takes a !Ref for the name of a resource."""
    path.parent.mkdir(parents=True, exist_ok=True)
    variables = {logical_id: dict(function.environment) for logical_id, function in functions.items()}
    path.write_text(json.dumps(variables, indent=2, ensure_ascii=False) + "\n", "utf-8")


def credentials_environment(session: boto3.session.Session) -> dict[str, str]:
    """The variables that give the function the session's credentials and region. Raises NoCredentialsError."""
    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    frozen = credentials.get_frozen_credentials()
    region = session.region_name or ""
    variables = {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": frozen.access_key or "",
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key or "",
        "AWS_SESSION_TOKEN": frozen.token or "",
        "AWS_ENDPOINT_URL": os.environ.get("AWS_ENDPOINT_URL", ""),  # of `make local`
    }
    return {name: value for name, value in variables.items() if value}
