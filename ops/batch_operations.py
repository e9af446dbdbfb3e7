"""A backfill as a job of S3 Batch Operations: the calls to AWS, and an estimate of minutes and dollars."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

import boto3
from botocore.exceptions import ClientError

from labeller.events import ONLY_STALE, ObjectRef
from labeller.text import printable
from ops.capacity.prices import Prices
from ops.capacity.workload import Architecture, Image, backfill_cost
from ops.cli import CommandError
from ops.stack import describe_stack

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3control import S3ControlClient
    from mypy_boto3_s3control.literals import JobStatusType, RequestedJobStatusType
    from mypy_boto3_s3control.type_defs import (
        CreateJobRequestTypeDef,
        JobDescriptorTypeDef,
        JobListDescriptorTypeDef,
        ListJobsRequestTypeDef,
        S3JobManifestGeneratorTypeDef,
    )

FOLDER = "backfill"  # in the stack's bucket for reports: manifests, and the reports of jobs
FINISHED: frozenset[JobStatusType] = frozenset({"Complete", "Failed", "Cancelled"})
UNFINISHED: tuple[JobStatusType, ...] = (
    "Active", "Completing", "New", "Paused", "Pausing", "Preparing", "Ready", "Suspended",
)  # fmt: skip
AWAITING: JobStatusType = "Suspended"  # with ConfirmationRequired: S3 has made the manifest and counted the objects
SHOWN = 5  # failed tasks whose reason is printed


@dataclass(frozen=True, slots=True)
class Clients:
    """The AWS clients that a job takes."""

    cloudformation: CloudFormationClient
    functions: LambdaClient
    s3: S3Client
    s3control: S3ControlClient

    @classmethod
    def connect(cls) -> Clients:
        """Clients for the region and credentials of the environment."""
        session = boto3.session.Session()
        return cls(
            session.client("cloudformation"), session.client("lambda"), session.client("s3"),
            session.client("s3control"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BackfillTarget:
    """What a deployed stack has for backfills."""

    stack: str
    account: str
    region: str
    uploads_bucket: str  # "" if it labels several
    reports_bucket: str
    function_arn: str
    role_arn: str
    concurrency: int  # reserved for the function
    memory: int  # MB
    architecture: Architecture
    writes_rows: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects to label."""

    bucket: str
    prefix: str = ""
    only_stale: bool = False
    manifest: str | None = None  # s3://bucket/key of a CSV or of an inventory's manifest.json, in place of a prefix


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job takes, at least and at most. With only_stale: if no label is stale, and if all are."""

    objects: int
    minutes: tuple[float, float]
    dollars: tuple[float, float]

    def __str__(self) -> str:
        def span(low: str, high: str) -> str:
            return low if low == high else f"{low} to {high}"

        minutes = span(*(f"{value:,.0f}" for value in self.minutes))
        dollars = span(*(f"${value:,.2f}" for value in self.dollars))
        return f"{self.objects:,} objects, about {minutes} minutes, about {dollars}"


def estimate(objects: int, target: BackfillTarget, only_stale: bool, image: Image, prices: Prices) -> Estimate:
    """From the function's own concurrency and memory, and the figures of `python -m ops.capacity`."""

    def minutes(milliseconds: float) -> float:
        # "Requests per second are ten times the concurrency": Lambda developer guide, "Understanding concurrency".
        return objects * max(milliseconds / 1000, 0.1) / target.concurrency / 60

    def dollars(current: int) -> float:
        return backfill_cost(
            image, prices, target.memory, target.architecture, objects, only_stale=only_stale, current=current
        ).total

    labelled_ms = image.with_second_look().batch_ms(1, target.memory, target.architecture)
    if not only_stale:
        return Estimate(objects, (minutes(labelled_ms),) * 2, (dollars(0),) * 2)
    return Estimate(
        objects, (minutes(image.look_ms), minutes(image.look_ms + labelled_ms)), (dollars(objects), dollars(0))
    )


def find_target(clients: Clients, stack: str) -> BackfillTarget:
    """Ask the deployed stack. Raises CommandError if it is missing, older than backfills, or has them switched off."""
    described = describe_stack(stack, clients.cloudformation)
    arn, role = described.output("BackfillFunctionArn"), described.output("BackfillJobRoleArn")
    function = clients.functions.get_function_configuration(FunctionName=arn)
    reserved = clients.functions.get_function_concurrency(FunctionName=arn).get("ReservedConcurrentExecutions", 0)
    if not reserved:
        raise CommandError(
            f"backfills of {stack} are switched off: deploy it with the parameter BackfillConcurrency, the number of "
            "objects labelled at once, such as 10"
        )
    return BackfillTarget(
        stack=stack,
        account=arn.split(":")[4],
        region=arn.split(":")[3],
        uploads_bucket=described.buckets[0] if len(described.buckets) == 1 else "",
        reports_bucket=described.output("ReportsBucketName"),
        function_arn=arn,
        role_arn=role,
        concurrency=reserved,
        memory=function["MemorySize"],
        architecture="arm64" if function.get("Architectures") == ["arm64"] else "x86_64",
        writes_rows=described.writes("row"),
    )


# ---- manifests --------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> Iterator[ObjectRef]:
    """The objects that a CSV manifest names, in its order, keys decoded: S3BatchOperations_CSV_20180820.

    Raises CommandError, with the number of a line that names no object.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.reader(lines), 1):
                if len(row) not in (2, 3) or not row[0] or not row[1]:
                    raise CommandError(f"{path}, line {number}: not bucket,key or bucket,key,version: {row!r}")
                version = (row[2] or None) if len(row) == 3 else None
                yield ObjectRef(row[0], unquote_plus(row[1], errors="strict"), version)
    except OSError as error:
        raise CommandError(f"the manifest {path} cannot be read: {error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path} is not a list of bucket,key in UTF-8: {error}") from error


def upload_manifest(clients: Clients, target: BackfillTarget, manifest: str) -> str:
    """The s3:// address of a manifest that the job's role may read; a file of this machine is uploaded there.

    Raises CommandError for a file that is not a manifest, and for another address.
    """
    folder = f"s3://{target.reports_bucket}/{FOLDER}/"
    if manifest.startswith("s3://"):
        if not manifest.startswith(folder):
            raise CommandError(f"the job may read manifests under {folder} only: copy {manifest} there")
        return manifest
    objects = list(read_manifest(Path(manifest)))
    if not objects or any(ref.version_id for ref in objects):
        raise CommandError(f"{manifest} must have lines of bucket,key and no versions")
    content = Path(manifest).read_bytes()
    key = f"{FOLDER}/manifests/{hashlib.sha256(content).hexdigest()}.csv"
    # Batch Operations reads no CSV manifest that is encrypted with KMS, as the bucket's default may be: S3 user guide,
    # "Creating an S3 Batch Operations job".
    clients.s3.put_object(Bucket=target.reports_bucket, Key=key, Body=content, ServerSideEncryption="AES256")
    return f"s3://{target.reports_bucket}/{key}"


def split_s3_url(url: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key. Raises CommandError for anything else."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not url.startswith("s3://") or not bucket or not key:
        raise CommandError(f"a manifest is named s3://bucket/key, not {url!r}")
    return bucket, key


# ---- the job ----------------------------------------------------------------------------------------------


def create_job(clients: Clients, target: BackfillTarget, selection: Selection) -> str:
    """Create the job, which waits for confirmation, and return its id."""
    etag = None
    if selection.manifest is not None:
        bucket, key = split_s3_url(selection.manifest)
        try:
            etag = clients.s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
        except ClientError as error:
            raise CommandError(f"the manifest {selection.manifest} cannot be read: {error}") from error
    return clients.s3control.create_job(**job_request(target, selection, uuid.uuid4().hex, etag))["JobId"]


def job_request(
    target: BackfillTarget, selection: Selection, token: str, manifest_etag: str | None = None
) -> CreateJobRequestTypeDef:
    """The arguments of CreateJob: S3 API reference, CreateJob; user guide, "Creating an S3 Batch Operations job"."""
    reports = f"arn:aws:s3:::{target.reports_bucket}"
    request: CreateJobRequestTypeDef = {
        "AccountId": target.account,
        "ConfirmationRequired": True,
        "Operation": {
            "LambdaInvoke": {
                "FunctionArn": target.function_arn,
                "InvocationSchemaVersion": "2.0",  # 1.0 has no arguments
                "UserArguments": {ONLY_STALE: str(selection.only_stale).lower()},
            }
        },
        "Report": {
            "Bucket": reports,
            "Format": "Report_CSV_20180820",
            "Enabled": True,
            "Prefix": FOLDER,
            "ReportScope": "AllTasks",
            "ExpectedBucketOwner": target.account,
        },
        "ClientRequestToken": token,
        "Description": description(target, selection),
        "Priority": 10,
        "RoleArn": target.role_arn,
    }
    if selection.manifest is None:
        request["ManifestGenerator"] = {"S3JobManifestGenerator": _generator(target, selection, reports)}
        return request
    bucket, key = split_s3_url(selection.manifest)
    request["Manifest"] = {
        "Spec": {"Format": "S3InventoryReport_CSV_20161130"}
        if key.endswith("manifest.json")
        else {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]},
        "Location": {"ObjectArn": f"arn:aws:s3:::{bucket}/{key}", "ETag": manifest_etag or ""},
    }
    return request


def _generator(target: BackfillTarget, selection: Selection, reports: str) -> S3JobManifestGeneratorTypeDef:
    """S3 lists the objects itself, by the machinery of S3 Inventory but at once."""
    generator: S3JobManifestGeneratorTypeDef = {
        "ExpectedBucketOwner": target.account,
        "SourceBucket": f"arn:aws:s3:::{selection.bucket}",
        "EnableManifestOutput": True,
        "ManifestOutputLocation": {
            "ExpectedManifestBucketOwner": target.account,
            "Bucket": reports,
            "ManifestPrefix": f"{FOLDER}/manifests",
            "ManifestEncryption": {"SSES3": {}},
            "ManifestFormat": "S3InventoryReport_CSV_20211130",
        },
    }
    if selection.prefix:
        generator["Filter"] = {"KeyNameConstraint": {"MatchAnyPrefix": [selection.prefix]}}
    return generator


def description(target: BackfillTarget, selection: Selection) -> str:
    """The job's description, by which it is recognised as one of this stack's."""
    objects = selection.manifest or f"{selection.bucket}/{selection.prefix}"
    return f"{target.stack}: backfill of {objects}{', stale labels only' if selection.only_stale else ''}"[:256]


def unfinished_jobs(clients: Clients, target: BackfillTarget) -> list[JobListDescriptorTypeDef]:
    """The stack's backfills that are not finished."""
    request: ListJobsRequestTypeDef = {"AccountId": target.account, "JobStatuses": UNFINISHED}
    jobs: list[JobListDescriptorTypeDef] = []
    while True:  # botocore has no paginator for it
        page = clients.s3control.list_jobs(**request)
        jobs += page.get("Jobs", [])
        if not page.get("NextToken"):
            break
        request["NextToken"] = page["NextToken"]
    return [job for job in jobs if job.get("Description", "").startswith(f"{target.stack}: backfill of ")]


def describe_job(clients: Clients, account: str, job: str) -> JobDescriptorTypeDef:
    """The state of a job. Raises CommandError if it does not exist."""
    try:
        return clients.s3control.describe_job(AccountId=account, JobId=job)["Job"]
    except ClientError as error:
        raise CommandError(f"no job {job}: {error}") from error


def set_status(clients: Clients, account: str, job: str, status: RequestedJobStatusType, reason: str) -> None:
    """Confirm ("Ready") or cancel ("Cancelled") a job."""
    clients.s3control.update_job_status(
        AccountId=account, JobId=job, RequestedJobStatus=status, StatusUpdateReason=reason
    )


def failures(clients: Clients, target: BackfillTarget, job: str) -> list[str]:
    """The first tasks that failed, with their reasons, from the completion report."""
    folder = f"{FOLDER}/job-{job}"
    try:
        report = clients.s3.get_object(Bucket=target.reports_bucket, Key=f"{folder}/manifest.json")["Body"].read()
        lines: list[str] = []
        for part in json.loads(report)["Results"]:
            if part["TaskExecutionStatus"] != "failed" or len(lines) >= SHOWN:
                continue
            rows = clients.s3.get_object(Bucket=part["Bucket"], Key=part["Key"])["Body"].read().decode("utf-8")
            lines += [
                printable(f"{row[0]}/{unquote_plus(row[1])}: {row[-1]}") for row in csv.reader(io.StringIO(rows)) if row
            ]
        return lines[:SHOWN]
    except ClientError as error:
        return [f"the report in s3://{target.reports_bucket}/{folder}/ cannot be read: {error}"]
