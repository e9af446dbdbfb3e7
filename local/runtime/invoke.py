"""Run the built function on an event, against the local AWS: `python -m local.runtime.invoke EVENT.json`.

The function's log and its REPORT line go to standard error, the response to standard output. Objects that
the event names and that are not there are made first, so that the samples in events/ work by themselves; a
bucket called "uploads" stands for the stack's own. Afterwards the tags and the row of each object are
shown. An event with a "scheduled_time" is for the score function: it gets a test set of drawn pictures, and its
report is fetched to build/invoke.

Exit status: 0; 1 the function failed; 2 wrong arguments; 3 not built; 4 no Python of the runtime's version;
5 the emulator does not run here.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from labeller.events import Change, MalformedEvent, ObjectRef, parse_request
from labeller.manifest import MANIFEST_FILE, Manifest
from layers import PackagingError
from layers.runtime_python import ensure_runtime
from local.aws.moto import LocalAws, local_aws
from local.aws.stack import FUNCTION, Function, Stack, deploy, function_of
from local.demo.drawn import CLASSES, draw
from local.nightly import SCORE_FUNCTION, draw_testset, fetch_reports
from local.runtime.emulator import EmulatorError, RuntimeEmulator, emulator_program, host_architecture
from local.runtime.sam_build import BUILD, Built, lay_out, read_build
from ops.cli import command_parser, exit_status
from ops.testset import BUCKET_OUTPUT
from score.keys import LATEST, night_key

OUT = Path("build/invoke")  # for the score function's report
MODEL_IN_LAYER = Path("model") / MANIFEST_FILE
PLACEHOLDER = "uploads"  # what the sample events call the bucket, whose real name holds an account's number


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("local.runtime.invoke", "Run the built function on an event.")
    parser.add_argument("event", type=Path, help="a JSON file with the event, such as events/sqs-batch.json")
    parser.add_argument("--image", type=Path, help="the picture to upload for objects the event names [a drawn one]")
    parser.add_argument("--build", type=Path, default=BUILD, help="what `sam build` made [.aws-sam/build]")
    chosen = parser.parse_args(arguments)
    try:
        event = json.loads(chosen.event.read_text(encoding="utf-8"))
        picture = chosen.image.read_bytes() if chosen.image else None
    except (OSError, ValueError) as error:
        parser.error(str(error))

    def invoke() -> int:
        nightly = isinstance(event, dict) and "scheduled_time" in event
        built, python = prepare(chosen.build, SCORE_FUNCTION if nightly else FUNCTION)
        with local_aws() as aws:
            return _score(aws, built, python, event) if nightly else _run(aws, built, python, event, picture)

    return exit_status(invoke, PackagingError)


def prepare(build: Path = BUILD, function_id: str = FUNCTION) -> tuple[Built, Path]:
    """The build of a function, and a Python of its runtime with AWS's client. Raises CommandError for what is missing.

    To be called before `local_aws` is entered: installing may need a proxy, which is shut off there.
    """
    built = read_build(build, function_id)
    emulator_program()
    return built, ensure_runtime(built.runtime.removeprefix("python"))


def built_function(
    aws: LocalAws,
    stack: Stack,
    built: Built,
    python: Path,
    echo: Callable[[str], None] | None = None,
    function: Function | None = None,
) -> RuntimeEmulator:
    """The built function in its runtime, its layers in "opt" beside the build; to be entered and invoked.

    `function` is the one that was built, if not the stack's first. Raises EmulatorError where its layers are for
    another processor.
    """
    function, host = function or stack.function, host_architecture()
    filled_for = built.layers_for or function.architecture
    if filled_for != host:
        raise EmulatorError(
            f"the layers are filled for {filled_for}, this machine is {host}: run `make layer build ARCH={host}`"
        )
    return RuntimeEmulator(
        function,
        task_root=built.task_root,
        python=python,
        opt=lay_out(built.layers, built.template.parent.with_name("opt")),
        environment=aws.environment,
        echo=echo,
    )


def objects_named(event: Any) -> list[ObjectRef]:
    """The objects that `event` tells of, whatever its shape.

    What cannot be understood names none: what to make of it is the function's business.
    """
    try:
        return list(parse_request(event).refs)
    except MalformedEvent:
        return []


def with_bucket(event: Any, bucket: str) -> Any:
    """A copy of `event` that names `bucket` where it names the placeholder "uploads", in messages inside it too."""
    if isinstance(event, list):
        return [with_bucket(each, bucket) for each in event]
    if not isinstance(event, dict):
        return event
    copied = {name: with_bucket(each, bucket) for name, each in event.items()}
    arn = f"arn:aws:s3:::{bucket}"
    named = copied.get("bucket")
    if isinstance(named, dict) and named.get("name") == PLACEHOLDER:
        copied["bucket"] = named | {"name": bucket} | ({"arn": arn} if "arn" in named else {})
    for name, placeholder, instead in [
        ("s3Bucket", PLACEHOLDER, bucket),
        ("s3BucketArn", f"arn:aws:s3:::{PLACEHOLDER}", arn),
    ]:
        if copied.get(name) == placeholder:
            copied[name] = instead
    for name in ("body", "Message"):  # of SQS, of SNS
        content = _parsed(copied.get(name))
        if (renamed := with_bucket(content, bucket)) != content:
            copied[name] = json.dumps(renamed)
    if copied.get("body") != event.get("body"):
        copied["md5OfBody"] = hashlib.md5(copied["body"].encode(), usedforsecurity=False).hexdigest()
    return copied


def put_missing(aws: LocalAws, references: list[ObjectRef], picture: bytes | None = None) -> list[str]:
    """Upload a picture for each object that is to be there and is not, and make its bucket; what was uploaded."""
    s3, made = aws.client("s3"), []
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
            body = picture or _drawn(reference.key, number)
            s3.put_object(Bucket=reference.bucket, Key=reference.key, Body=body)
            made.append(reference.path)
    return made


def recorded(aws: LocalAws, stack: Stack, reference: ObjectRef) -> dict[str, Any]:
    """What the function left for an object.

    {"object": "bucket/key", "tags": {name: value}, "row": {attribute: value} or None}
    """
    version = {"VersionId": reference.version_id} if reference.version_id else {}
    try:
        tags = aws.client("s3").get_object_tagging(Bucket=reference.bucket, Key=reference.key, **version)["TagSet"]
    except ClientError:
        tags = []  # gone, or not that version
    table = aws.session.resource("dynamodb", endpoint_url=aws.endpoint).Table(stack.results_table)
    key = {"object": reference.path, "version": reference.version_id or "null"}
    return {
        "object": reference.path,
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
        "row": table.get_item(Key=key).get("Item"),
    }


def _run(aws: LocalAws, built: Built, python: Path, event: Any, picture: bytes | None) -> int:
    stack = deploy(aws, built.template)
    event = with_bucket(event, stack.uploads_bucket)
    references = objects_named(event)
    for path in put_missing(aws, references, picture):
        _say(f"uploaded {path}")
    with built_function(aws, stack, built, python, echo=_say) as runtime:
        response, report = runtime.invoke(event)
    print(json.dumps(response, indent=2, ensure_ascii=False), flush=True)
    if report.init_ms is not None:
        _say(f"init {report.init_ms:.0f} ms, call {report.wall_ms:.0f} ms, {_megabytes(report.peak_bytes)}")
    for reference in references:
        found = recorded(aws, stack, reference)
        _say(f"\n{found['object']}")
        _say(f"  tags  {found['tags'] or 'none'}")
        _say(f"  row   {'none' if found['row'] is None else ''}")
        for name, value in sorted((found["row"] or {}).items()):
            _say(f"    {name} = {value if isinstance(value, str) else json.dumps(value, default=float)}")
    return 1 if report.error else 0


def _score(aws: LocalAws, built: Built, python: Path, event: Any) -> int:
    stack = deploy(aws, built.template)
    bucket = stack.outputs[BUCKET_OUTPUT]
    (manifest,) = (layer / MODEL_IN_LAYER for layer in built.layers if (layer / MODEL_IN_LAYER).is_file())
    number = draw_testset(aws, bucket, Manifest.from_file(manifest).labels)
    _say(f"uploaded {number} drawn pictures as a test set: the accuracy says nothing, the path is what is shown")
    function = function_of(aws, stack, SCORE_FUNCTION)
    with built_function(aws, stack, built, python, echo=_say, function=function) as runtime:
        response, report = runtime.invoke(event)
    print(json.dumps(response, indent=2, ensure_ascii=False), flush=True)
    if report.init_ms is not None:
        _say(f"init {report.init_ms:.0f} ms, call {report.wall_ms:.0f} ms, {_megabytes(report.peak_bytes)}")
    if report.error:
        return 1
    fetch_reports(aws, bucket, OUT)
    _say(f"the report  {OUT}/{night_key(LATEST)}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _megabytes(size: int | None) -> str:
    return "peak memory unknown" if size is None else f"peak memory {size / 2**20:.0f} MiB"


def _parsed(body: Any) -> Any:
    try:
        return json.loads(body)
    except (TypeError, ValueError):
        return None


def _drawn(key: str, number: int) -> bytes:
    """A drawn picture in the format that the key's suffix promises, JPEG where it promises none."""
    suffix = Path(key).suffix.lower()
    file_format = {".png": "PNG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}.get(suffix, "JPEG")
    picture = io.BytesIO()
    draw(CLASSES[number % len(CLASSES)], random.Random(number)).save(picture, file_format)  # noqa: S311
    return picture.getvalue()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    sys.exit(main())
