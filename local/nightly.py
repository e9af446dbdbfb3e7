"""The nightly report on this machine: `make nightly`.

    python -m local.nightly [--data DIR] [--model DIR] [--out DIR] [--shared DIR]

A test set -> local AWS made from template.yaml -> the real score handler -> the report, fetched to build/nightly.
Reports of earlier runs are put into the bucket first, so that tonight is compared with them.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from local.aws.handler_process import HandlerFailed, call
from local.aws.moto import LocalAws, local_aws
from local.aws.stack import Stack, deploy, function_of
from local.demo.drawn import CLASSES, draw
from ops.testset import BUCKET_OUTPUT, UploadError, print_summary, upload
from score.keys import LATEST, LIST, REPORTS_PREFIX, night_key
from score.testset import TESTSET_PREFIX

SCORE_FUNCTION = "ScoreFunction"
OUT = Path("build/nightly")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 if there is a report, whatever it says."""
    parser = argparse.ArgumentParser(prog="python -m local.nightly", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with test/<label>/... [cats-and-dogs of --shared]")
    parser.add_argument("--model", type=Path, default=Path("build/model"), help="what `make model` made [build/model]")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where reports go, and earlier ones are [{OUT}]")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="where to look for photographs")
    options = parser.parse_args(arguments)
    folder = (options.data or options.shared / "cats-and-dogs") / "test"
    try:
        manifest = Manifest.from_file(options.model / MANIFEST_FILE)
        options.out.mkdir(parents=True, exist_ok=True)
        with local_aws() as aws, (options.out / "score.log").open("w", encoding="utf-8") as log:
            stack = deploy(aws)
            bucket = stack.outputs[BUCKET_OUTPUT]
            print_summary(upload(aws.client("s3"), bucket, folder), bucket)
            put_reports(aws, bucket, options.out)
            print(f"Scoring model {manifest.model_version} ...", flush=True)
            begin = time.perf_counter()
            detail = run_score(aws, stack, options.model, log, datetime.now(UTC))
            seconds = time.perf_counter() - begin
            fetch_reports(aws, bucket, options.out)
    except (ModelError, UploadError, HandlerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_verdict(detail, options.out, seconds)
    return 0


def run_score(aws: LocalAws, stack: Stack, model: Path, log: TextIO, scheduled: datetime) -> dict[str, Any]:
    """Run the real handler for the night of `scheduled`, its log going to the file `log`; returns its response.

    Raises HandlerFailed.
    """
    function = function_of(aws, stack, SCORE_FUNCTION)
    environment = {
        **os.environ,  # which leads to the local AWS
        **function.environment,
        "MODEL_DIR": str(model),
        "ONNX_THREADS": str(len(os.sched_getaffinity(0))),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    return dict(call(function, {"scheduled_time": scheduled.isoformat()}, environment, log))


def draw_testset(aws: LocalAws, bucket: str, labels: Sequence[str], each: int = 4) -> int:
    """Put drawn pictures into the test set, `each` for every label; returns their number."""
    for number, label in enumerate(label for label in labels for _ in range(each)):
        content = io.BytesIO()
        draw(CLASSES[number % len(CLASSES)], random.Random(number)).save(content, "PNG")  # noqa: S311
        aws.client("s3").put_object(Bucket=bucket, Key=f"{TESTSET_PREFIX}{label}/{number}.png", Body=content.getvalue())
    return each * len(labels)


def put_reports(aws: LocalAws, bucket: str, out: Path) -> None:
    """Put the reports of earlier runs, out/accuracy/..., into the bucket."""
    for path in sorted((out / REPORTS_PREFIX).rglob("*")):
        if path.is_file():
            aws.client("s3").put_object(Bucket=bucket, Key=path.relative_to(out).as_posix(), Body=path.read_bytes())


def fetch_reports(aws: LocalAws, bucket: str, out: Path) -> None:
    """Fetch all reports of the bucket to out/accuracy/..."""
    s3 = aws.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=REPORTS_PREFIX):
        for item in page.get("Contents", []):
            path = out / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())


def print_verdict(detail: Mapping[str, Any], out: Path, seconds: float) -> None:
    """The verdict, how long it took, and where the page is."""
    pictures = detail["scored"] + detail["unscored"]
    print(f"\n{detail['headline']}.")
    if detail["accuracy"] is not None:
        print(f"95% interval {detail['accuracy_low']:.1%} to {detail['accuracy_high']:.1%}.")
    print(f"{pictures} pictures in {seconds:.1f} s, the report included ({len(os.sched_getaffinity(0))} cores).")
    print(f"  the report  {out}/{night_key(LATEST)}\n  all nights  {out}/{LIST}")
    print(f"  the log     {out}/score.log")


if __name__ == "__main__":
    sys.exit(main())
