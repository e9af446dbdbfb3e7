"""The calls are checked against botocore's model of the service, which moto does not have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from ops import batch_operations
from ops.batch_operations import (
    BackfillTarget,
    Clients,
    Selection,
    estimate,
    find_target,
    job_request,
    read_manifest,
    unfinished_jobs,
)
from ops.capacity.prices import Prices, load_prices
from ops.capacity.workload import Image
from ops.cli import CommandError

ACCOUNT = "123456789012"
FUNCTION = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:stack-BackfillFunction"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/stack-BackfillJobRole"
JOB = "f3cc4f60-61f6-4a2b-8a21-d07600c373ce"
TARGET = BackfillTarget("stack", ACCOUNT, "eu-central-1", "uploads", "reports", FUNCTION, ROLE, 10, 1769, "x86_64")


class Stubbed:
    """Clients with the answers that a test expects; botocore checks the arguments."""

    def __init__(self) -> None:
        self.clients = Clients.connect()
        self.stubs = {
            "cloudformation": Stubber(self.clients.cloudformation),
            "lambda": Stubber(self.clients.functions),
            "s3": Stubber(self.clients.s3),
            "s3control": Stubber(self.clients.s3control),
        }
        for stub in self.stubs.values():
            stub.activate()

    def expect(self, service: str, call: str, answer: dict[str, Any], expected: dict[str, Any] | None = None) -> None:
        self.stubs[service].add_response(call, answer, expected)

    def assert_no_pending_responses(self) -> None:
        for stub in self.stubs.values():
            stub.assert_no_pending_responses()


@pytest.fixture
def stubbed(one_session: None) -> Stubbed:
    return Stubbed()


def expect_stack(stubbed: Stubbed, concurrency: int = 10, write: str = "tags,row,event", **outputs: str) -> None:
    known = {
        "UploadsBucketName": "uploads",
        "ReportsBucketName": "reports",
        "BackfillFunctionArn": FUNCTION,
        "BackfillJobRoleArn": ROLE,
    } | outputs
    stack = {
        "StackName": "stack",
        "CreationTime": "2026-11-24T00:00:00Z",
        "StackStatus": "CREATE_COMPLETE",
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in known.items() if value],
        "Parameters": [{"ParameterKey": "Write", "ParameterValue": write}],
    }
    stubbed.expect("cloudformation", "describe_stacks", {"Stacks": [stack]}, {"StackName": "stack"})
    if all(known.values()):
        stubbed.expect(
            "lambda", "get_function_configuration", {"MemorySize": 1769, "Architectures": ["x86_64"]},
            {"FunctionName": FUNCTION},
        )  # fmt: skip
        reserved = {"ReservedConcurrentExecutions": concurrency}
        stubbed.expect("lambda", "get_function_concurrency", reserved, {"FunctionName": FUNCTION})


# ---- the stack --------------------------------------------------------------------------------------------


def test_the_target_is_read_from_the_stack(stubbed: Stubbed) -> None:
    expect_stack(stubbed)
    assert find_target(stubbed.clients, "stack") == TARGET


def test_a_stack_that_does_not_exist_is_named(stubbed: Stubbed) -> None:
    stubbed.stubs["cloudformation"].add_client_error("describe_stacks", "ValidationError", "does not exist")
    with pytest.raises(CommandError, match=r"stack cannot be read: .*STACK="):
        find_target(stubbed.clients, "stack")


def test_a_stack_of_an_older_template_must_be_deployed_again(stubbed: Stubbed) -> None:
    expect_stack(stubbed, BackfillJobRoleArn="")
    with pytest.raises(CommandError, match="has no output BackfillJobRoleArn"):
        find_target(stubbed.clients, "stack")


def test_backfills_that_are_switched_off_are_reported_before_a_job_is_created(stubbed: Stubbed) -> None:
    expect_stack(stubbed, concurrency=0)
    with pytest.raises(CommandError, match="parameter BackfillConcurrency"):
        find_target(stubbed.clients, "stack")


# ---- the job ----------------------------------------------------------------------------------------------


def create(stubbed: Stubbed, selection: Selection, etag: str | None = None) -> dict[str, Any]:
    request = job_request(TARGET, selection, "token", etag)
    stubbed.expect("s3control", "create_job", {"JobId": JOB}, request)
    stubbed.clients.s3control.create_job(**request)  # botocore refuses what its model does not have
    return request


def test_s3_lists_the_objects_under_the_prefix_and_waits_for_confirmation(stubbed: Stubbed) -> None:
    request = create(stubbed, Selection("uploads", "2025/"))
    assert request["ConfirmationRequired"] is True
    generator = request["ManifestGenerator"]["S3JobManifestGenerator"]
    assert generator["SourceBucket"] == "arn:aws:s3:::uploads"
    assert generator["Filter"] == {"KeyNameConstraint": {"MatchAnyPrefix": ["2025/"]}}
    assert generator["ManifestOutputLocation"]["Bucket"] == "arn:aws:s3:::reports"
    assert generator["ManifestOutputLocation"]["ManifestPrefix"].startswith("backfill/")


def test_the_job_invokes_the_backfill_function_and_reports_on_every_task(stubbed: Stubbed) -> None:
    request = create(stubbed, Selection("uploads", only_stale=True))
    assert request["Operation"]["LambdaInvoke"] == {
        "FunctionArn": FUNCTION,
        "InvocationSchemaVersion": "2.0",
        "UserArguments": {"onlyStale": "true"},
    }
    assert request["RoleArn"] == ROLE
    assert (request["Report"]["Bucket"], request["Report"]["Prefix"]) == ("arn:aws:s3:::reports", "backfill")
    assert request["Report"]["ReportScope"] == "AllTasks"


@pytest.mark.parametrize(
    ("manifest", "spec"),
    [
        ("s3://lists/keys.csv", {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]}),
        ("s3://lists/uploads/daily/2026-11-24T01-00Z/manifest.json", {"Format": "S3InventoryReport_CSV_20161130"}),
    ],
)
def test_a_manifest_may_be_a_list_of_keys_or_an_inventory(
    stubbed: Stubbed, manifest: str, spec: dict[str, Any]
) -> None:
    request = create(stubbed, Selection("uploads", manifest=manifest), etag="60e460c9d1046e73f7dde5043ac3ae85")
    assert request["Manifest"]["Spec"] == spec
    assert request["Manifest"]["Location"]["ObjectArn"] == manifest.replace("s3://", "arn:aws:s3:::")
    assert "ManifestGenerator" not in request


def test_a_manifest_of_this_machine_is_uploaded_where_the_job_may_read_it(stubbed: Stubbed, tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text("uploads,a+b.jpg\n")
    # printf 'uploads,a+b.jpg\n' | sha256sum
    key = "backfill/manifests/5f8a5980691fa87b91a941006c5301fecd8e085f577a82c55b1d577de1b72721.csv"
    put = {"Bucket": "reports", "Key": key, "Body": b"uploads,a+b.jpg\n", "ServerSideEncryption": "AES256"}
    stubbed.expect("s3", "put_object", {}, put)
    address = batch_operations.upload_manifest(stubbed.clients, TARGET, str(tmp_path / "keys.csv"))
    assert address == f"s3://reports/{key}"
    stubbed.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "must have lines"), ("uploads,a,v1\n", "no versions"), ("uploads\n", "line 1")],
)
def test_a_file_that_is_not_a_manifest_is_not_uploaded(
    stubbed: Stubbed, tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "keys.csv").write_text(content)
    with pytest.raises(CommandError, match=message):
        batch_operations.upload_manifest(stubbed.clients, TARGET, str(tmp_path / "keys.csv"))


def test_a_file_that_is_not_text_is_not_uploaded(stubbed: Stubbed, tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_bytes(b"uploads,\xff.jpg\n")
    with pytest.raises(CommandError, match="not a list of bucket,key in UTF-8"):
        batch_operations.upload_manifest(stubbed.clients, TARGET, str(tmp_path / "keys.csv"))


def test_a_manifest_that_the_jobs_role_may_not_read_is_refused(stubbed: Stubbed) -> None:
    inventory = "s3://reports/backfill/inventory/uploads/all/2026-11-24T01-00Z/manifest.json"
    assert batch_operations.upload_manifest(stubbed.clients, TARGET, inventory) == inventory
    with pytest.raises(CommandError, match="under s3://reports/backfill/ only"):
        batch_operations.upload_manifest(stubbed.clients, TARGET, "s3://lists/keys.csv")


def test_the_etag_of_a_manifest_is_read_from_s3(stubbed: Stubbed) -> None:
    stubbed.expect("s3", "head_object", {"ETag": '"abc"'}, {"Bucket": "lists", "Key": "keys.csv"})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    assert (
        batch_operations.create_job(stubbed.clients, TARGET, Selection("uploads", manifest="s3://lists/keys.csv"))
        == JOB
    )
    stubbed.assert_no_pending_responses()


@pytest.mark.parametrize("manifest", ["keys.csv", "s3://lists", "s3:///keys.csv", "https://lists/keys.csv"])
def test_a_manifest_is_named_by_bucket_and_key(manifest: str) -> None:
    with pytest.raises(CommandError, match="s3://bucket/key"):
        batch_operations.split_s3_url(manifest)


def test_only_backfills_of_the_stack_count_as_unfinished(stubbed: Stubbed) -> None:
    jobs = [
        {"JobId": JOB, "Description": "stack: backfill of uploads/", "Status": "Active"},
        {"JobId": "job-2", "Description": "other: backfill of uploads/", "Status": "Active"},
        {"JobId": "job-3", "Description": "copying", "Status": "Active"},
        {"JobId": "job-4", "Status": "Active"},
    ]
    stubbed.expect("s3control", "list_jobs", {"Jobs": jobs[1:], "NextToken": "more"})
    stubbed.expect("s3control", "list_jobs", {"Jobs": jobs[:1]})
    assert [job["JobId"] for job in unfinished_jobs(stubbed.clients, TARGET)] == [JOB]
    stubbed.assert_no_pending_responses()


def test_failed_tasks_are_listed_with_decoded_keys(stubbed: Stubbed) -> None:
    def body(text: str) -> dict[str, Any]:
        data = text.encode()
        return {"Body": StreamingBody(io.BytesIO(data), len(data))}

    results = [
        {"TaskExecutionStatus": "succeeded", "Bucket": "reports", "Key": "s.csv"},
        {"TaskExecutionStatus": "failed", "Bucket": "reports", "Key": f"backfill/job-{JOB}/results/f.csv"},
    ]
    stubbed.expect(
        "s3", "get_object", body(json.dumps({"Results": results})),
        {"Bucket": "reports", "Key": f"backfill/job-{JOB}/manifest.json"},
    )  # fmt: skip
    stubbed.expect(
        "s3", "get_object", body('uploads,a+b%2B.jpg,,failed,200,PermanentFailure,"no, not today"\n'),
        {"Bucket": "reports", "Key": f"backfill/job-{JOB}/results/f.csv"},
    )  # fmt: skip
    assert batch_operations.failures(stubbed.clients, TARGET, JOB) == ["uploads/a b+.jpg: no, not today"]


def test_a_manifest_names_objects_and_may_name_versions(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('pictures,"a%2Cb+c.jpg"\npictures,%E3%81%AD%E3%81%93.jpg,v1\npictures,d.jpg,\n')
    assert [(ref.bucket, ref.key, ref.version_id) for ref in read_manifest(tmp_path / "m.csv")] == [
        ("pictures", "a,b c.jpg", None),
        ("pictures", "ねこ.jpg", "v1"),
        ("pictures", "d.jpg", None),
    ]


@pytest.mark.parametrize("line", ["pictures", "pictures,", ",a.jpg", "a,b,c,d"])
def test_a_line_that_names_no_object_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.csv").write_text(f"pictures,a.jpg\n{line}\n")
    with pytest.raises(CommandError, match="line 2"):
        list(read_manifest(tmp_path / "m.csv"))


# ---- minutes and dollars ----------------------------------------------------------------------------------

IMAGE = Image(inference_vcpu_ms=170, decode_vcpu_ms=10, overhead_vcpu_ms=20, wait_ms=100, efficiency=1)


def test_minutes_follow_from_the_objects_and_the_concurrency() -> None:
    # 1,769 MB: 300 ms an object and 22 ms to look at it again, ten at once: 12,000 objects in 386.4 s.
    assert estimate(12_000, TARGET, False, IMAGE, load_prices()).minutes == pytest.approx((6.44, 6.44))


def test_a_unit_of_concurrency_allows_ten_invocations_a_second() -> None:
    # Looking at an object that is labelled takes 29 ms, but Lambda allows ten a second each.
    low, high = estimate(12_000, TARGET, True, IMAGE, load_prices()).minutes
    assert low == pytest.approx(12_000 * 0.1 / 10 / 60)
    assert high == pytest.approx(12_000 * (0.029 + 0.322) / 10 / 60)


def test_stale_only_costs_between_none_stale_and_all_stale() -> None:
    prices = Prices(
        "", "", "", dict.fromkeys(load_prices().unit_prices, 0.0) | {"s3_batch_object": 1.0, "s3_put": 10.0}
    )
    assert estimate(100, TARGET, True, IMAGE, prices).dollars == (100, 1100)
    assert estimate(100, TARGET, False, IMAGE, prices).dollars == (1100, 1100)


def test_the_estimate_is_one_sentence() -> None:
    sentence = str(batch_operations.Estimate(1_000_000, (90.2, 90.2), (16.5, 16.5)))
    assert sentence == "1,000,000 objects, about 90 minutes, about $16.50"
    sentence = str(batch_operations.Estimate(10, (1.0, 2.0), (0.1, 0.2)))
    assert sentence == "10 objects, about 1 to 2 minutes, about $0.10 to $0.20"
