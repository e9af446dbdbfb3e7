"""Label the objects that a bucket already holds: `make backfill [BUCKET=...] [PREFIX=...] [STALE_ONLY=1] [STACK=...]`.

S3 Batch Operations invokes the stack's backfill function for each object; uploads have a function of their own. S3
first counts the objects; then the command shows the minutes and dollars they will take, and asks (YES=1 does not).
Interrupted, it leaves the job running; run again, or with JOB=id, it follows that job.

With ENGINE=local, and for the stack of `make local`, this process labels the objects, without Batch Operations: see
ops/local_backfill.py.

Exit status: 0 done, or declined; 1 objects failed, or it could not be done; 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labeller.events import ONLY_STALE
from labeller.manifest import ModelError
from labeller.settings import SettingsError
from ops import batch_operations, local_backfill, local_stack
from ops.batch_operations import AWAITING, FINISHED, BackfillTarget, Clients, Selection
from ops.capacity.prices import load_prices
from ops.capacity.workload import measured_image
from ops.cli import CommandError, Console, add_stack_argument, command_parser, exit_status

if TYPE_CHECKING:
    from mypy_boto3_s3control.type_defs import JobDescriptorTypeDef

POLL = 5.0  # seconds between two looks at a job


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(arguments)

    def run() -> int:
        check(options)
        console = Console(yes=options.yes)
        if options.engine == "local":
            return local_backfill.run(options, console)
        return run_job(Clients.connect(), options, console)

    return exit_status(run, ModelError, SettingsError)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line as it is, unchecked."""
    parser = command_parser("ops.backfill", __doc__)
    parser.add_argument("--bucket", default="", help="bucket to label [the stack's bucket for uploads]")
    parser.add_argument("--prefix", default="", help="only keys that begin with this")
    parser.add_argument("--stale-only", action="store_true", help="skip objects that have a label of the current model")
    parser.add_argument("--manifest", help="a file of lines bucket,key; or s3://..., also an inventory's manifest.json")
    add_stack_argument(parser)
    parser.add_argument("--job", help="follow the job of this id")
    parser.add_argument("--yes", action="store_true", help="start without asking")
    parser.add_argument("--engine", choices=("s3", "local"), default="s3", help="S3 Batch Operations, or this machine")
    parser.add_argument("--all", action="store_true", help="local engine: label current objects again, too")
    parser.add_argument("--log", type=Path, default=local_backfill.LOG, help="local engine: the function's log")
    options = parser.parse_args(arguments)
    if options.stack == local_stack.LOCAL:
        options.engine = "local"
    return options


def check(options: argparse.Namespace) -> None:
    """Raise CommandError for arguments of which one would be ignored."""
    given = {name.upper() for name in ("bucket", "prefix", "manifest", "job", "stale_only") if getattr(options, name)}
    if options.engine == "local" and "JOB" in given:
        raise CommandError("JOB is for S3 Batch Operations, not for ENGINE=local")
    if "JOB" in given and len(given) > 1:
        raise CommandError(f"JOB follows a job as it is: {_names(given - {'JOB'})} cannot be changed any more")
    if "MANIFEST" in given and given & {"BUCKET", "PREFIX"}:
        raise CommandError(f"MANIFEST names the objects already: leave {_names(given & {'BUCKET', 'PREFIX'})} out")
    if options.all and options.stale_only:
        raise CommandError("ALL labels current objects again, STALE_ONLY skips them: leave one out")
    if options.all and options.engine != "local":
        raise CommandError("ALL is for ENGINE=local: S3 Batch Operations labels all objects unless STALE_ONLY is set")


def _names(names: set[str]) -> str:
    return " and ".join(sorted(names))


# ---- a job of S3 Batch Operations -------------------------------------------------------------------------


def run_job(
    clients: Clients, options: argparse.Namespace, console: Console, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Create and confirm a job, or take up an unfinished one; follow it until it ends; returns the exit status."""
    target = batch_operations.find_target(clients, options.stack)
    if options.stale_only and not target.writes_rows:
        raise CommandError(
            f"STALE_ONLY goes by the rows, and {options.stack} writes none (parameter Write): leave it out to label all"
        )
    job = options.job or _unfinished_job(clients, target, console)
    if job is None:
        if not (options.manifest or options.bucket or target.uploads_bucket):
            raise CommandError(f"{options.stack} labels several buckets (parameter Buckets): name one, BUCKET=...")
        manifest = options.manifest and batch_operations.upload_manifest(clients, target, options.manifest)
        selection = Selection(
            options.bucket or target.uploads_bucket, options.prefix, options.stale_only, manifest or None
        )
        job = batch_operations.create_job(clients, target, selection)
        console.print(f"job {job}: {batch_operations.description(target, selection)}")
    try:
        return follow(clients, target, job, console, sleep)
    except KeyboardInterrupt:
        console.print(f"The job keeps running. To follow it: make backfill STACK={target.stack} JOB={job}")
        console.print(
            f"To cancel it: aws s3control update-job-status --account-id {target.account} --job-id {job} "
            "--requested-job-status Cancelled"
        )
        return 1


def follow(clients: Clients, target: BackfillTarget, job: str, console: Console, sleep: Callable[[float], None]) -> int:
    """Show the job's progress; ask before it starts; print its result; returns the exit status."""
    while True:
        state = batch_operations.describe_job(clients, target.account, job)
        if state["Status"] == AWAITING:
            if not _confirmed(target, state, console):
                batch_operations.set_status(clients, target.account, job, "Cancelled", "declined before it started")
                console.print(f"job {job} is cancelled. Nothing was labelled.")
                return 0
            batch_operations.set_status(clients, target.account, job, "Ready", "confirmed")
        elif state["Status"] in FINISHED:
            return _print_result(clients, target, job, state, console)
        console.show_progress(progress_line(state))
        sleep(POLL)


def progress_line(job: JobDescriptorTypeDef) -> str:
    """One line: status, share done, failures, minutes left at the rate so far."""
    summary = job.get("ProgressSummary", {})
    total, failed = summary.get("TotalNumberOfTasks", 0), summary.get("NumberOfTasksFailed", 0)
    if job["Status"] in ("New", "Preparing"):
        return f"{job['Status']}: S3 lists the objects, {total:,} so far"
    done = summary.get("NumberOfTasksSucceeded", 0) + failed
    line = f"{job['Status']}: {done:,} of {total:,} ({done / total if total else 0:.1%}), {failed:,} failed"
    seconds = summary.get("Timers", {}).get("ElapsedTimeInActiveSeconds", 0)
    if done and seconds and job["Status"] == "Active":
        line += f", {done / seconds:,.1f} a second, {(total - done) * seconds / done / 60:,.0f} minutes left"
    return line


def _unfinished_job(clients: Clients, target: BackfillTarget, console: Console) -> str | None:
    jobs = batch_operations.unfinished_jobs(clients, target)
    if not jobs:
        return None
    if len(jobs) > 1:
        ids = ", ".join(job["JobId"] for job in jobs)
        raise CommandError(f"{target.stack} has {len(jobs)} unfinished backfills: {ids}. Name one to follow: JOB=id")
    console.print(f"following job {jobs[0]['JobId']}, which is not finished: {jobs[0]['Description']}")
    return jobs[0]["JobId"]


def _confirmed(target: BackfillTarget, job: JobDescriptorTypeDef, console: Console) -> bool:
    """Show what the job will take, and ask."""
    objects = job.get("ProgressSummary", {}).get("TotalNumberOfTasks", 0)
    arguments = job.get("Operation", {}).get("LambdaInvoke", {}).get("UserArguments", {})
    prices = load_prices()
    try:
        image = measured_image()
    except ValueError as error:
        raise CommandError(f"the measurements of `make bench` cannot be read: {error}. Remove them") from error
    estimate = batch_operations.estimate(objects, target, arguments.get(ONLY_STALE) == "true", image, prices)
    console.print(
        f"{estimate}\n  {target.concurrency} at once ({target.memory:,} MB), input of {image.side} pixels; prices of "
        f"{prices.region}, looked up on {prices.looked_up}: check them, see ops/capacity/prices.json"
    )
    return console.confirms("Start?")


def _print_result(
    clients: Clients, target: BackfillTarget, job: str, state: JobDescriptorTypeDef, console: Console
) -> int:
    """Print counts, reasons and where the report is; returns the exit status."""
    console.print(progress_line(state))
    for reason in state.get("FailureReasons", []):
        console.print(f"  {reason.get('FailureCode', '')}: {reason.get('FailureReason', '')}")
    failed = state.get("ProgressSummary", {}).get("NumberOfTasksFailed", 0)
    if failed:
        for line in batch_operations.failures(clients, target, job):
            console.print(f"  {line}")
    console.print(f"report: s3://{target.reports_bucket}/{batch_operations.FOLDER}/job-{job}/manifest.json")
    return 0 if state["Status"] == "Complete" and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
