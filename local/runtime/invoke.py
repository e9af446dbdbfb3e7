"""Run the built function on an event, against the local AWS: `python -m local.runtime.invoke EVENT.json`.

The response goes to standard output; the function's log, its REPORT line, and the tags and row of each object go to
standard error. Objects that the event names are uploaded first if they are missing, so that the samples in events/ work
as they are; the bucket "uploads" stands for the stack's own. An event with a "scheduled_time" goes to the score
function, which gets a test set of drawn pictures; its report is downloaded to build/invoke.

With --stack the function works on that stack's bucket, table and queues, with your credentials: it writes tags, rows,
events and reports there, and nothing is uploaded first. The variables of the deployed functions are also written to
build/invoke/env.json, for `sam local invoke --env-vars`.

Exit status: 0; 1 the function failed; 2 wrong arguments; 3 not built; 4 no Python of the runtime's version;
5 the emulator does not run on this machine.
"""

import argparse
import hashlib
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from labeller.events import Change, MalformedEvent, ObjectRef, parse_request
from labeller.manifest import MANIFEST_FILE, Manifest
from layers import PackagingError
from layers.runtime_python import ensure_runtime
from local.aws.moto import LocalAws, local_aws
from local.aws.results import read_result
from local.aws.stack import FUNCTION, Function, Stack, deploy, function_of
from local.demo.drawn import draw_picture
from local.runtime.account import ENV_JSON, credentials_environment, deployed_functions, write_env_json
from local.runtime.emulator import EmulatorError, RuntimeEmulator, emulator_program, host_architecture
from local.runtime.sam_build import BUILD, SamBuild, merge_layers, read_build
from local.score import SCORE_FUNCTION, draw_testset, fetch_reports
from ops.cli import CommandError, command_parser, exit_status, stack
from ops.stack import describe_stack
from ops.testset import BUCKET_OUTPUT
from score.keys import LATEST, night_key

OUT = Path("build/invoke")  # for the score function's report
MODEL_IN_LAYER = Path("model") / MANIFEST_FILE
PLACEHOLDER = "uploads"  # the bucket of the sample events; the real name holds an account number
FORMATS = {".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("local.runtime.invoke", "Run the built function on an event.")
    parser.add_argument(
        "event", type=_event, metavar="EVENT", help="a JSON file with the event, such as events/sqs-batch.json"
    )
    parser.add_argument("--image", type=_content, help="the picture to upload for the event's objects [a drawn one]")
    parser.add_argument("--stack", type=stack, help="name of a deployed stack, or local [a new local one]")
    parser.add_argument("--build", type=Path, default=BUILD, help="the output of `sam build` [.aws-sam/build]")
    options = parser.parse_args(arguments)
    event = options.event

    def invoke() -> int:
        nightly = isinstance(event, dict) and "scheduled_time" in event
        function_id = SCORE_FUNCTION if nightly else FUNCTION
        if options.stack:
            if options.image:
                raise CommandError("IMAGE is uploaded to a local AWS only: upload it to the stack's bucket yourself")
            return _invoke_on_stack(options.stack, function_id, options.build, event)
        build, python = prepare(options.build, function_id)
        with local_aws() as aws:
            stack = deploy(aws, build.template)
            if nightly:
                return _score(aws, stack, build, python, event)
            return _label(aws, stack, build, python, event, options.image)

    return exit_status(invoke, PackagingError)


def prepare(build: Path = BUILD, function_id: str = FUNCTION) -> tuple[SamBuild, Path]:
    """The build of a function, and a Python of its runtime with AWS's client. Raises CommandError, PackagingError.

    Call it before `local_aws`, which disables the proxy that an installation may need.
    """
    sam_build = read_build(build, function_id)
    emulator_program()
    return sam_build, ensure_runtime(sam_build.runtime.removeprefix("python"))


def built_function(
    environment: Mapping[str, str],
    function: Function,
    build: SamBuild,
    python: Path,
    echo: Callable[[str], None] | None = None,
) -> RuntimeEmulator:
    """The runtime of a built function, with its layers merged in "opt" beside the build.

    `environment` leads to AWS, see RuntimeEmulator. Raises EmulatorError if the layers are for another architecture.
    """
    host = host_architecture()
    layers_for = build.layers_for or function.architecture
    if layers_for != host:
        raise EmulatorError(
            f"the layers are filled for {layers_for}, this machine is {host}: run `make layer build ARCH={host}`"
        )
    return RuntimeEmulator(
        function,
        task_root=build.task_root,
        python=python,
        opt=merge_layers(build.layers, build.template.parent.with_name("opt")),
        environment=environment,
        echo=echo,
    )


def objects_named(event: Any) -> list[ObjectRef]:
    """The objects that `event` names; none if it cannot be parsed, which is for the function to report."""
    try:
        return list(parse_request(event).refs)
    except MalformedEvent:
        return []


def with_bucket(event: Any, bucket: str) -> Any:
    """A copy of `event` with `bucket` in place of the placeholder "uploads", also inside its messages."""

    def with_digest(value: dict[str, Any]) -> dict[str, Any]:
        if "md5OfBody" in value:
            value["md5OfBody"] = hashlib.md5(value["body"].encode(), usedforsecurity=False).hexdigest()
        return value

    text = re.sub(rf'((?:name|s3Bucket)\\*": *\\*"|:::){PLACEHOLDER}(?=\\*")', rf"\g<1>{bucket}", json.dumps(event))
    return json.loads(text, object_hook=with_digest)


def put_missing(aws: LocalAws, references: list[ObjectRef], picture: bytes | None = None) -> list[str]:
    """Upload a picture for each created object that is missing, and create its bucket; returns what was uploaded.

    Without `picture`, a drawn one in the format of the key's suffix, or JPEG.
    """
    s3 = aws.client("s3")
    uploaded = []
    created = [reference for reference in references if reference.change is Change.CREATED]
    for number, reference in enumerate(created):
        buckets = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        if reference.bucket not in buckets:
            s3.create_bucket(Bucket=reference.bucket)
        try:
            s3.head_object(Bucket=reference.bucket, Key=reference.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            body = picture or draw_picture(number, FORMATS.get(Path(reference.key).suffix.lower(), "JPEG"))
            s3.put_object(Bucket=reference.bucket, Key=reference.key, Body=body)
            uploaded.append(reference.path)
    return uploaded


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error


def _event(path: str) -> Any:
    try:
        return json.loads(_content(path))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path} is not JSON: {error}") from error


def _label(aws: LocalAws, stack: Stack, build: SamBuild, python: Path, event: Any, picture: bytes | None) -> int:
    event = with_bucket(event, stack.uploads_bucket)
    references = objects_named(event)
    for path in put_missing(aws, references, picture):
        _log(f"uploaded {path}")
    succeeded = _invoke(built_function(aws.environment, stack.function, build, python, echo=_log), event)
    _log_results(aws, stack.results_table, references)
    return 0 if succeeded else 1


def _log_results(aws: boto3.session.Session, table: str, references: list[ObjectRef]) -> None:
    for reference in references:
        result = read_result(aws, table, reference.bucket, reference.key, reference.version_id)
        _log(f"\n{result.path}\n  tags  {result.tags or 'none'}\n  row   {'' if result.row else 'none'}")
        for name, value in sorted(result.row.items()):
            _log(f"    {name} = {value if isinstance(value, str) else json.dumps(value, default=float)}")


def _invoke_on_stack(name: str, function_id: str, folder: Path, event: Any) -> int:
    """Invoke the built function on a deployed stack; returns the exit status."""
    described, session = describe_stack(name), boto3.session.Session()
    functions = deployed_functions(session, described)
    write_env_json(functions)
    _log(f"variables of {name}'s functions: {ENV_JSON}")
    build, python = prepare(folder, function_id)
    event = with_bucket(event, described.buckets[0])
    references = objects_named(event)
    for reference in references:
        _log(f"works on {reference.path}")
    environment = credentials_environment(session)
    succeeded = _invoke(built_function(environment, functions[function_id], build, python, echo=_log), event)
    _log_results(session, described.output("ResultsTableName"), references)
    return 0 if succeeded else 1


def _score(aws: LocalAws, stack: Stack, build: SamBuild, python: Path, event: Any) -> int:
    bucket = stack.outputs[BUCKET_OUTPUT]
    (manifest,) = (layer / MODEL_IN_LAYER for layer in build.layers if (layer / MODEL_IN_LAYER).is_file())
    number = draw_testset(aws, bucket, Manifest.from_file(manifest).labels)
    _log(f"uploaded {number} drawn pictures as a test set; the accuracy on them says nothing about photographs")
    function = function_of(aws, stack, SCORE_FUNCTION)
    if not _invoke(built_function(aws.environment, function, build, python, echo=_log), event):
        return 1
    fetch_reports(aws, bucket, OUT)
    _log(f"report  {OUT}/{night_key(LATEST)}")
    return 0


def _invoke(function: RuntimeEmulator, event: Any) -> bool:
    """Invoke the function once and print its response; returns whether it succeeded."""
    with function as runtime:
        response, report = runtime.invoke(event)
    print(json.dumps(response, indent=2, ensure_ascii=False), flush=True)
    if report.init_ms is not None:
        memory = "unknown" if report.peak_bytes is None else f"{report.peak_bytes / 2**20:.0f} MiB"
        _log(f"init {report.init_ms:.0f} ms, invocation {report.wall_ms:.0f} ms, peak memory {memory}")
    return report.error is None


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the emulator is stopped
    sys.exit(main())
