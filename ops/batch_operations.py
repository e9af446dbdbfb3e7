"""A backfill as a job of S3 Batch Operations: what is asked of AWS, and what it will take."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from labeller.events import ONLY_STALE
from ops.capacity.prices import Prices
from ops.capacity.workload import Architecture, Image, backfill_cost
from ops.stack import describe_stack
from ops.task_runner import BackfillError, read_manifest

FOLDER = "backfill"  # in the stack's bucket for reports: manifests, and the reports of jobs
OVER = frozenset({"Complete", "Failed", "Cancelled"})
UNDER_WAY = ["Active", "Completing", "New", "Paused", "Pausing", "Preparing", "Ready", "Suspended"]
AWAITING = "Suspended"  # with ConfirmationRequired: the manifest is there and counted
SHOWN = 5  # failed tasks whose reason is printed


@dataclass(frozen=True, slots=True)
class Place:
    """What a deployed stack has for backfills."""

    stack: str
    account: str
    region: str
    uploads_bucket: str
    reports_bucket: str
    function_arn: str
    role_arn: str
    concurrency: int  # of the function, reserved
    memory: int  # MB
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects."""

    bucket: str
    prefix: str = ""
    only_stale: bool = False
    manifest: str | None = None  # s3://bucket/key of a CSV or of an inventory's manifest.json, in place of a prefix


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will take. With only_stale a range: nothing is stale, everything is."""

    objects: int
    minutes: tuple[float, float]
    dollars: tuple[float, float]

    def __str__(self) -> str:
        def span(low: float, high: float, form: str) -> str:
            one, other = format(low, form), format(high, form)
            return one if one == other else f"{one} to {other}"

        minutes, dollars = span(*self.minutes, ",.0f"), span(*self.dollars, ",.2f")
        return f"{self.objects:,} objects, about {minutes} minutes, about {dollars} dollars"


def estimate(objects: int, place: Place, only_stale: bool, image: Image, prices: Prices) -> Estimate:
    """From the function's own concurrency and memory, and the figures of `python -m ops.capacity`."""

    def minutes(ms: float) -> float:
        # "Requests per second are ten times the concurrency": Lambda developer guide, "Understanding concurrency".
        each = max(ms / 1000, 0.1) / place.concurrency
        return objects * each / 60

    def dollars(current: int) -> float:
        return backfill_cost(
            image, prices, place.memory, place.architecture, objects, only_stale=only_stale, current=current
        ).total

    all_done = image.batch_ms(1, place.memory, place.architecture)
    if not only_stale:
        return Estimate(objects, (minutes(all_done),) * 2, (dollars(0),) * 2)
    return Estimate(
        objects, (minutes(image.look_ms), minutes(image.look_ms + all_done)), (dollars(objects), dollars(0))
    )


def find_place(clients: Mapping[str, Any], stack: str) -> Place:
    """Ask the deployed stack. Raises BackfillError where it is missing, or not made for backfills."""
    described = describe_stack(stack, clients["cloudformation"])
    arn, role = described.output("BackfillFunctionArn"), described.output("BackfillJobRoleArn")
    function = clients["lambda"].get_function_configuration(FunctionName=arn)
    reserved = clients["lambda"].get_function_concurrency(FunctionName=arn).get("ReservedConcurrentExecutions", 0)
    if not reserved:
        raise BackfillError(
            f"the backfill function of {stack} may not run: its concurrency is 0. Deploy with a number for the "
            "parameter BackfillConcurrency (so many objects at once), such as 10"
        )
    return Place(
        stack=stack,
        account=arn.split(":")[4],
        region=arn.split(":")[3],
        uploads_bucket=described.output("UploadsBucketName"),
        reports_bucket=described.output("ReportsBucketName"),
        function_arn=arn,
        role_arn=role,
        concurrency=int(reserved),
        memory=int(function["MemorySize"]),
        architecture=function.get("Architectures", ["x86_64"])[0],
    )


def manifest_in_place(clients: Mapping[str, Any], place: Place, given: str) -> str:
    """The s3:// address of a manifest that the job's role may read; a file of this machine is uploaded there.

    Raises BackfillError for a file that is no manifest, and for an address elsewhere.
    """
    folder = f"s3://{place.reports_bucket}/{FOLDER}/"
    if given.startswith("s3://"):
        if not given.startswith(folder):
            raise BackfillError(f"the job may read manifests under {folder} only, not {given}: put it there")
        return given
    try:
        content = Path(given).read_bytes()
        tasks = list(read_manifest(Path(given)))
    except OSError as error:
        raise BackfillError(f"the manifest {given} cannot be read: {error}") from error
    if not tasks or any(task.version for task in tasks):
        raise BackfillError(f"{given} must have lines of bucket,key and no versions")
    key = f"{FOLDER}/manifests/{hashlib.sha256(content).hexdigest()}.csv"
    # Batch Operations reads no CSV manifest that is encrypted with KMS, as the bucket's default may be: S3 user guide,
    # "Creating an S3 Batch Operations job".
    clients["s3"].put_object(Bucket=place.reports_bucket, Key=key, Body=content, ServerSideEncryption="AES256")
    return f"s3://{place.reports_bucket}/{key}"


def create_job(clients: Mapping[str, Any], place: Place, selection: Selection) -> str:
    """Create the job, which waits for a confirmation, and return its id."""
    request = job_request(place, selection, uuid.uuid4().hex, _etag(clients["s3"], selection.manifest))
    return str(clients["s3control"].create_job(**request)["JobId"])


def job_request(place: Place, selection: Selection, token: str, manifest_etag: str | None = None) -> dict[str, Any]:
    """The arguments of CreateJob: S3 API reference, CreateJob; user guide, "Creating an S3 Batch Operations job"."""
    reports = f"arn:aws:s3:::{place.reports_bucket}"
    request: dict[str, Any] = {
        "AccountId": place.account,
        "ConfirmationRequired": True,
        "Operation": {
            "LambdaInvoke": {
                "FunctionArn": place.function_arn,
                "InvocationSchemaVersion": "2.0",  # the first to take arguments
                "UserArguments": {ONLY_STALE: str(selection.only_stale).lower()},
            }
        },
        "Report": {
            "Bucket": reports,
            "Format": "Report_CSV_20180820",
            "Enabled": True,
            "Prefix": FOLDER,
            "ReportScope": "AllTasks",
            "ExpectedBucketOwner": place.account,
        },
        "ClientRequestToken": token,
        "Description": description(place, selection),
        "Priority": 10,
        "RoleArn": place.role_arn,
    }
    if selection.manifest is None:
        return request | {"ManifestGenerator": {"S3JobManifestGenerator": _generator(place, selection, reports)}}
    bucket, key = split_s3_url(selection.manifest)
    spec: dict[str, Any] = {"Format": "S3InventoryReport_CSV_20161130"}
    if not key.endswith("manifest.json"):
        spec = {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]}
    location = {"ObjectArn": f"arn:aws:s3:::{bucket}/{key}", "ETag": manifest_etag}
    return request | {"Manifest": {"Spec": spec, "Location": location}}


def description(place: Place, selection: Selection) -> str:
    """By which a job is known as one of this stack's."""
    what = selection.manifest or f"{selection.bucket}/{selection.prefix}"
    return f"{place.stack}: backfill of {what}{', stale labels only' if selection.only_stale else ''}"[:256]


def unfinished(clients: Mapping[str, Any], place: Place) -> list[dict[str, Any]]:
    """Backfills of this stack that are not over."""
    jobs: list[dict[str, Any]] = []
    page: dict[str, Any] = {}
    while not page or page.get("NextToken"):  # botocore has no paginator for it
        token = {"NextToken": page["NextToken"]} if page else {}
        page = clients["s3control"].list_jobs(AccountId=place.account, JobStatuses=UNDER_WAY, **token)
        jobs += page.get("Jobs", [])
    return [job for job in jobs if job.get("Description", "").startswith(f"{place.stack}: backfill of ")]


def describe(clients: Mapping[str, Any], account: str, job: str) -> dict[str, Any]:
    """What S3 says of the job. BackfillError if there is none."""
    try:
        return dict(clients["s3control"].describe_job(AccountId=account, JobId=job)["Job"])
    except ClientError as error:
        raise BackfillError(f"no job {job}: {error}") from error


def set_status(clients: Mapping[str, Any], account: str, job: str, status: str, reason: str) -> None:
    """Confirm ("Ready") or call off ("Cancelled") a job."""
    clients["s3control"].update_job_status(
        AccountId=account, JobId=job, RequestedJobStatus=status, StatusUpdateReason=reason
    )


def failures(clients: Mapping[str, Any], place: Place, job: str) -> list[str]:
    """The first tasks that failed, with their reasons, from the completion report."""
    s3, folder = clients["s3"], f"{FOLDER}/job-{job}"
    try:
        body = s3.get_object(Bucket=place.reports_bucket, Key=f"{folder}/manifest.json")["Body"].read()
        failed = [each for each in json.loads(body)["Results"] if each["TaskExecutionStatus"] == "failed"]
        rows: list[str] = []
        for each in failed:
            text = s3.get_object(Bucket=each["Bucket"], Key=each["Key"])["Body"].read().decode("utf-8")
            rows += [f"{row[0]}/{unquote_plus(row[1])}: {row[-1]}" for row in csv.reader(io.StringIO(text)) if row]
            if len(rows) >= SHOWN:
                break
        return rows[:SHOWN]
    except ClientError as error:
        return [f"the report in s3://{place.reports_bucket}/{folder}/ cannot be read: {error}"]


def split_s3_url(url: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key. BackfillError for anything else."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket or not key:
        raise BackfillError(f"a manifest is named s3://bucket/key, not {url!r}")
    return bucket, key


def _generator(place: Place, selection: Selection, reports: str) -> dict[str, Any]:
    """S3 makes the list itself, by S3 Inventory's machinery but at once."""
    generator: dict[str, Any] = {
        "ExpectedBucketOwner": place.account,
        "SourceBucket": f"arn:aws:s3:::{selection.bucket}",
        "EnableManifestOutput": True,
        "ManifestOutputLocation": {
            "ExpectedManifestBucketOwner": place.account,
            "Bucket": reports,
            "ManifestPrefix": f"{FOLDER}/manifests",
            "ManifestEncryption": {"SSES3": {}},
            "ManifestFormat": "S3InventoryReport_CSV_20211130",
        },
    }
    if selection.prefix:
        generator["Filter"] = {"KeyNameConstraint": {"MatchAnyPrefix": [selection.prefix]}}
    return generator


def _etag(s3: Any, manifest: str | None) -> str | None:
    if manifest is None:
        return None
    bucket, key = split_s3_url(manifest)
    try:
        return str(s3.head_object(Bucket=bucket, Key=key)["ETag"]).strip('"')
    except ClientError as error:
        raise BackfillError(f"the manifest {manifest} cannot be read: {error}") from error
