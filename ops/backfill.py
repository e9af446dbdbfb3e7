"""Label what is in a bucket already: `make backfill [BUCKET=...] [PREFIX=...] [STALE_ONLY=1] [STACK=...] [YES=1]`.

S3 Batch Operations invokes the stack's backfill function for each object; uploads go their own way meanwhile. Before
it starts, S3 counts the objects, and the minutes and dollars that they will take are shown and asked about. Broken
off, this command leaves the job running; started again (or with JOB=id) it follows it.

With ENGINE=local the same tasks run in this process, where Batch Operations cannot: against whatever S3 and DynamoDB
the environment leads to (AWS_ENDPOINT_URL), with the function's own settings (RESULTS_TABLE, ...) from it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3

from labeller.events import ONLY_STALE, TaskResult
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from labeller.settings import SettingsError
from local.aws.moto import process_environment
from local.aws.poller import LambdaContext
from ops import ROOT, batch_operations, task_runner
from ops.batch_operations import AWAITING, OVER, Place, Selection
from ops.capacity.__main__ import measured_image
from ops.capacity.prices import load_prices
from ops.cli import add_stack_argument, command_parser, exit_status
from ops.task_runner import BackfillError, Invoke, Job

MODEL = ROOT / "build/model"
FOLDER = ROOT / "build/backfill"
SERVICES = ("cloudformation", "lambda", "s3", "s3control")
POLL = 5.0  # seconds between two looks at a job
_SECONDS = 900  # that an invocation here has; the most that Lambda gives


def main(arguments: list[str] | None = None) -> int:
    """0: done, or called off by the user; 1: objects failed, or it could not be done."""
    options = _parse(arguments)
    return exit_status(lambda: _run(options), ModelError, SettingsError)


def _run(options: argparse.Namespace) -> int:
    _check(options)
    if options.engine == "local":
        return run_here(options)
    session = boto3.session.Session()
    clients = {name: session.client(name) for name in SERVICES}  # type: ignore[call-overload]
    return run_on_s3(clients, options, Screen(yes=options.yes))


@dataclass
class Screen:
    """Where progress goes and answers come from."""

    yes: bool = False
    ask: Callable[[str], str] = input
    sleep: Callable[[float], None] = time.sleep
    _shown: str = ""

    def show(self, line: str) -> None:
        """Say it, unless it was said just now; over the last line where somebody is watching."""
        if line != self._shown:
            print(
                f"\r{line:<100}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True
            )
            self._shown = line

    def say(self, line: str) -> None:
        """A line that stays."""
        print(f"\n{line}" if sys.stdout.isatty() and self._shown else line, flush=True)
        self._shown = ""

    def confirms(self, question: str) -> bool:
        """Whether the user agrees; YES=1 does beforehand. No answer at all is no."""
        if self.yes:
            return True
        try:
            return self.ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False


# ---- on S3 Batch Operations -------------------------------------------------------------------------------


def run_on_s3(clients: Mapping[str, Any], options: argparse.Namespace, screen: Screen) -> int:
    """Create and confirm a job, or take up one that is there; follow it to its end."""
    place = batch_operations.find_place(clients, options.stack)
    job = options.job or _under_way(clients, place, screen)
    if job is None:
        bucket, manifest = options.bucket or place.uploads_bucket, options.manifest
        if manifest:
            manifest = batch_operations.manifest_in_place(clients, place, manifest)
        selection = Selection(bucket, options.prefix, options.stale_only, manifest)
        job = batch_operations.create_job(clients, place, selection)
        screen.say(f"job {job}: {batch_operations.description(place, selection)}")
    try:
        return follow(clients, place, job, screen)
    except KeyboardInterrupt:
        screen.say(f"The job goes on without this command. To follow it: make backfill STACK={place.stack} JOB={job}")
        screen.say(
            f"To call it off: aws s3control update-job-status --account-id {place.account} --job-id {job} "
            "--requested-job-status Cancelled"
        )
        return 1


def follow(clients: Mapping[str, Any], place: Place, job: str, screen: Screen) -> int:
    """Show the job's progress; ask before it starts; say how it ended."""
    while True:
        now = batch_operations.describe(clients, place.account, job)
        if now["Status"] == AWAITING:
            if not _confirmed(clients, place, now, screen):
                batch_operations.set_status(clients, place.account, job, "Cancelled", "called off before it began")
                screen.say(f"job {job} is called off. Nothing was labelled.")
                return 0
            batch_operations.set_status(clients, place.account, job, "Ready", "confirmed")
        elif now["Status"] in OVER:
            return _ended(clients, place, now, screen)
        screen.show(progress_line(now))
        screen.sleep(POLL)


def progress_line(job: Mapping[str, Any]) -> str:
    """One line: status, share done, failures, minutes to go at the pace so far."""
    summary = job.get("ProgressSummary", {})
    total, succeeded, failed = (
        summary.get(name, 0) for name in ("TotalNumberOfTasks", "NumberOfTasksSucceeded", "NumberOfTasksFailed")
    )
    if job["Status"] in ("New", "Preparing"):
        return f"{job['Status']}: S3 lists the objects, {total:,} so far"
    done = succeeded + failed
    share = done / total if total else 0.0
    line = f"{job['Status']}: {done:,} of {total:,} ({share:.1%}), {failed:,} failed"
    seconds = summary.get("Timers", {}).get("ElapsedTimeInActiveSeconds", 0)
    if done and seconds and job["Status"] == "Active":
        line += f", {done / seconds:,.1f} a second, {(total - done) * seconds / done / 60:,.0f} minutes to go"
    return line


def _under_way(clients: Mapping[str, Any], place: Place, screen: Screen) -> str | None:
    jobs = batch_operations.unfinished(clients, place)
    if not jobs:
        return None
    if len(jobs) > 1:
        ids = ", ".join(str(job["JobId"]) for job in jobs)
        raise BackfillError(
            f"{len(jobs)} backfills of {place.stack} are not over: {ids}. Name the one to follow: JOB=id"
        )
    screen.say(f"job {jobs[0]['JobId']} is not over, and is taken up: {jobs[0]['Description']}")
    return str(jobs[0]["JobId"])


def _confirmed(clients: Mapping[str, Any], place: Place, job: Mapping[str, Any], screen: Screen) -> bool:
    objects = int(job.get("ProgressSummary", {}).get("TotalNumberOfTasks", 0))
    arguments = job.get("Operation", {}).get("LambdaInvoke", {}).get("UserArguments", {})
    only_stale = arguments.get(ONLY_STALE) == "true"
    prices = load_prices()
    try:
        image = measured_image()
    except ValueError as error:
        raise BackfillError(f"the measurements of `make bench` cannot be read: {error}. Remove them") from error
    expected = batch_operations.estimate(objects, place, only_stale, image, prices)
    screen.say(
        f"{expected}\n  {place.concurrency} at once ({place.memory:,} MB), an input of {image.side} pixels; prices of "
        f"{prices.region}, looked up on {prices.looked_up}: check them, see ops/capacity/prices.json"
    )
    return screen.confirms("Start?")


def _ended(clients: Mapping[str, Any], place: Place, job: Mapping[str, Any], screen: Screen) -> int:
    screen.say(progress_line(job))
    for reason in job.get("FailureReasons", []):
        screen.say(f"  {reason.get('FailureCode', '')}: {reason.get('FailureReason', '')}")
    failed = int(job.get("ProgressSummary", {}).get("NumberOfTasksFailed", 0))
    if failed:
        for line in batch_operations.failures(clients, place, job["JobId"]):
            screen.say(f"  {line}")
    screen.say(f"report: s3://{place.reports_bucket}/{batch_operations.FOLDER}/job-{job['JobId']}/manifest.json")
    return 0 if job["Status"] == "Complete" and not failed else 1


# ---- here -------------------------------------------------------------------------------------------------


def run_here(options: argparse.Namespace) -> int:
    """List the bucket once, then do what is not done yet."""
    if not options.bucket:
        raise BackfillError("name the bucket: BUCKET=...")
    screen, job = Screen(yes=options.yes), job_here(options)
    if not job.manifest.exists():
        task_runner.write_manifest(job.manifest, list_objects(boto3.client("s3"), options.bucket, options.prefix))
    objects = sum(1 for _ in task_runner.read_manifest(job.manifest))
    screen.say(f"{objects:,} objects, named in {job.manifest}; {job.per_invocation} at once, on this machine")
    if job.report.exists():
        screen.say(f"They are done: {job.report}. To do them again, remove {job.folder}")
        return 0
    if not (job.folder / task_runner.JOURNAL).exists() and not screen.confirms("Start?"):
        screen.say("Nothing was labelled.")
        return 0

    def show(done: int, failed: int) -> None:
        screen.show(f"{done:,} of {objects:,} ({done / objects:.1%}), {failed:,} failed")

    with (job.folder / "classify.log").open("a", encoding="utf-8") as log, process_environment(_variables()):
        ends = task_runner.run(job, handler_here(log), show)
    failed = [end for end in ends.values() if end.code is not TaskResult.SUCCEEDED]
    screen.say(f"{len(ends) - len(failed):,} of {objects:,} done, {len(failed):,} failed. Report: {job.report}")
    for end in failed[: batch_operations.SHOWN]:
        screen.say(f"  {end.said}")
    return 1 if failed else 0


def job_here(options: argparse.Namespace) -> Job:
    """The job that these arguments and the model of MODEL_DIR stand for: the same again is gone on with."""
    model = Manifest.from_file(Path(os.environ.get("MODEL_DIR", MODEL)) / MANIFEST_FILE).model_version
    what = [options.bucket, options.prefix, options.stale_only, model]
    name = f"{options.bucket}-{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]}"
    return Job((options.folder or FOLDER) / name, name, options.stale_only)


def list_objects(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Bucket and URL-encoded key of every object under `prefix`, folders aside."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/"):
                yield bucket, quote_plus(entry["Key"], safe="/")


def handler_here(log: Any) -> Invoke:
    """The function itself, in this process; what it prints goes into `log`."""
    with redirect_stdout(log):  # Powertools' logger keeps the stream that it starts with
        from classify.app import lambda_handler

    def invoke(event: dict[str, Any]) -> Mapping[str, Any]:
        context: Any = LambdaContext(
            "backfill", "0", "arn:aws:lambda:local:0:function:backfill", "", time.monotonic() + _SECONDS
        )
        with redirect_stdout(log):
            return dict(lambda_handler(event, context))

    return invoke


def _variables() -> dict[str, str]:
    """What Lambda would say, where the environment does not."""
    variables = {
        "MODEL_DIR": str(MODEL),
        "POWERTOOLS_SERVICE_NAME": "backfill",
        "POWERTOOLS_METRICS_NAMESPACE": "ImageLabeller",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    return {name: value for name, value in variables.items() if name not in os.environ}


# ---- command line -----------------------------------------------------------------------------------------


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = command_parser("ops.backfill", __doc__)
    parser.add_argument("--bucket", default="", help="the stack's own uploads, unless another is named")
    parser.add_argument("--prefix", default="", help="only keys that begin so")
    parser.add_argument("--stale-only", action="store_true", help="skip what has a label of the current model")
    parser.add_argument("--manifest", help="a file of lines bucket,key; or s3://..., also an inventory's manifest.json")
    add_stack_argument(parser)
    parser.add_argument("--job", help="follow this job")
    parser.add_argument("--yes", action="store_true", help="start without asking")
    parser.add_argument("--engine", choices=("s3", "local"), default="s3")
    parser.add_argument("--folder", type=Path, help="where jobs of the local engine are kept")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace) -> None:
    """Raise BackfillError for arguments of which one would be left out without a word."""
    given = {name.upper() for name in ("bucket", "prefix", "manifest", "job") if getattr(options, name)}
    if options.stale_only:
        given.add("STALE_ONLY")
    if options.engine == "local" and given & {"MANIFEST", "JOB"}:
        raise BackfillError(f"{_names(given & {'MANIFEST', 'JOB'})} is for S3 Batch Operations, not for ENGINE=local")
    if "JOB" in given and len(given) > 1:
        raise BackfillError(f"JOB follows a job as it is: {_names(given - {'JOB'})} cannot be changed any more")
    if "MANIFEST" in given and given & {"BUCKET", "PREFIX"}:
        raise BackfillError(f"MANIFEST names the objects already: leave {_names(given & {'BUCKET', 'PREFIX'})} out")


def _names(names: set[str]) -> str:
    return " and ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
