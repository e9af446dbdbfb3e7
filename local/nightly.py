"""The nightly report on this machine: `make nightly`.

    python -m local.nightly [--data DIR] [--model DIR] [--out DIR] [--shared DIR] [--stack local]

Deploys template.yaml on the local AWS, uploads the test photographs as its test set, runs the real score handler and
downloads the report to build/nightly. Reports of earlier runs are uploaded first, for the comparison.

With --stack local it scores the model of `make local` on the test set that `make testset STACK=local` has uploaded, and
downloads the report to build/local. The night is tomorrow's, so that the report includes today's uploads.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from local.aws.moto import LocalAws, local_aws
from local.aws.stack import deploy
from local.score import fetch_reports, put_reports, run_score
from ops import local_stack
from ops.cli import command_parser, exit_status, stack
from ops.stack import describe_stack
from ops.testset import BUCKET_OUTPUT, print_summary, upload
from score.keys import LATEST, LIST, night_key

OUT = Path("build/nightly")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 if there is a report, whatever its verdict."""
    parser = command_parser("local.nightly", __doc__)
    parser.add_argument("--data", type=Path, help="folder with test/<label>/... [what the build tested on]")
    parser.add_argument("--model", type=Path, default=Path("build/model"), help="output of `make model` [build/model]")
    parser.add_argument(
        "--out", type=Path, default=OUT, help=f"folder of the reports, this one and earlier ones [{OUT}]"
    )
    parser.add_argument("--shared", type=Path, help="folder with cats-and-dogs, whose test pictures are then scored")
    parser.add_argument("--stack", type=_local, help="local: the stack of `make local` [a new one]")
    options = parser.parse_args(arguments)
    if options.stack:
        return exit_status(_score_running_stack, ModelError)
    data = options.data or (options.shared and options.shared / "cats-and-dogs")
    folder = data / "test" if data else None
    return exit_status(lambda: _score(folder, options.model, options.out), ModelError)


def _score(folder: Path | None, model: Path, out: Path) -> int:
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    out.mkdir(parents=True, exist_ok=True)
    with local_aws() as aws, (out / "score.log").open("w", encoding="utf-8") as log:
        stack = deploy(aws)
        bucket = stack.outputs[BUCKET_OUTPUT]
        print_summary(upload(aws.client("s3"), bucket, folder, model=model), bucket)
        put_reports(aws, bucket, out)
        print(f"Scoring model {manifest.model_version} ...", flush=True)
        begin = time.perf_counter()
        detail = run_score(aws, stack.outputs, model, log, datetime.now(UTC))
        seconds = time.perf_counter() - begin
        fetch_reports(aws, bucket, out)
    _print_verdict(detail, out, seconds)
    return 0


def _local(name: str) -> str:
    if name != local_stack.LOCAL:
        raise argparse.ArgumentTypeError(f"only {local_stack.LOCAL}; a deployed stack runs its nights itself")
    return stack(name)


def _score_running_stack() -> int:
    described = describe_stack(local_stack.LOCAL)
    aws, model, out = LocalAws.running(), Path(os.environ[local_stack.MODEL]), local_stack.ENVIRONMENT.parent
    begin = time.perf_counter()
    with (out / "score.log").open("w", encoding="utf-8") as log:
        detail = run_score(aws, described.outputs, model, log, datetime.now(UTC) + timedelta(days=1))
    seconds = time.perf_counter() - begin
    fetch_reports(aws, described.output(BUCKET_OUTPUT), out)
    _print_verdict(detail, out, seconds)
    return 0


def _print_verdict(detail: Mapping[str, Any], out: Path, seconds: float) -> None:
    pictures = detail["scored"] + detail["unscored"]
    print(f"\n{detail['headline']}.")
    if detail["accuracy"] is not None:
        print(f"95% confidence interval: {detail['accuracy_low']:.1%} to {detail['accuracy_high']:.1%}.")
    print(f"Scored and reported {pictures} pictures in {seconds:.1f} s on {len(os.sched_getaffinity(0))} cores.")
    print(f"  report      {out}/{night_key(LATEST)}\n  all nights  {out}/{LIST}\n  log         {out}/score.log")


if __name__ == "__main__":
    sys.exit(main())
