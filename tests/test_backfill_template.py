"""The resources of the template for backfills."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.aws.moto import local_aws
from local.aws.stack import Stack, deploy
from ops.batch_operations import FOLDER, BackfillTarget, Selection, job_request
from tests.support import ROOT
from tests.template import RESOURCES, TEMPLATE_CONTENT, as_list, properties


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Deployed with backfills on, and another bucket to label."""
    with local_aws() as aws:
        yield deploy(aws, parameters={"BackfillConcurrency": "20", "BackfillBucket": "other-pictures"})


def statements(resource: dict[str, Any]) -> list[dict[str, Any]]:
    policies = resource.get("Policies") or [resource]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def test_the_backfill_function_is_the_classify_function_with_its_own_concurrency() -> None:
    backfill, classify = properties("BackfillFunction"), properties("ClassifyFunction")
    for same in ("Handler", "CodeUri", "Layers", "Runtime", "Architectures"):
        assert backfill[same] == classify[same], same
    assert backfill["ReservedConcurrentExecutions"] == {"Ref": "BackfillConcurrency"}
    assert "ReservedConcurrentExecutions" not in classify  # uploads are bounded by their queue
    variables, others = (function["Environment"]["Variables"] for function in (backfill, classify))
    differing = {name for name in variables.keys() | others.keys() if variables.get(name) != others.get(name)}
    assert differing == {"ONNX_THREADS", "POWERTOOLS_SERVICE_NAME"}


def test_it_has_one_vcpu_and_one_thread() -> None:
    backfill = properties("BackfillFunction")
    assert backfill["MemorySize"] == 1769
    assert backfill["Environment"]["Variables"]["ONNX_THREADS"] == "1"


def test_nothing_but_batch_operations_invokes_it() -> None:
    assert "Events" not in properties("BackfillFunction")
    sources = [r["Properties"]["FunctionName"] for r in RESOURCES.values() if r["Type"].endswith("EventSourceMapping")]
    assert "BackfillFunction" not in str(sources)
    trust = properties("BackfillJobRole")["AssumeRolePolicyDocument"]["Statement"]
    assert [statement["Principal"] for statement in trust] == [{"Service": "batchoperations.s3.amazonaws.com"}]


def test_it_is_off_until_a_concurrency_is_set() -> None:
    # A new account has too little to reserve any, and must be able to deploy the stack.
    assert TEMPLATE_CONTENT["Parameters"]["BackfillConcurrency"]["Default"] == 0


def test_batch_operations_may_invoke_list_and_report_and_nothing_else(stack: Stack) -> None:
    granted = {
        (action, resource)
        for statement in statements(stack.properties["BackfillJobRole"])
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    reports = f"arn:aws:s3:::{stack.outputs['ReportsBucketName']}/{FOLDER}/*"
    assert granted == {
        ("lambda:InvokeFunction", stack.outputs["BackfillFunctionArn"]),
        ("s3:PutInventoryConfiguration", f"arn:aws:s3:::{stack.uploads_bucket}"),
        ("s3:PutInventoryConfiguration", "arn:aws:s3:::other-pictures"),
        ("s3:GetObject", reports),
        ("s3:GetObjectVersion", reports),
        ("s3:PutObject", reports),
    }


def test_a_jobs_manifest_and_report_are_where_the_role_may_write_and_trigger_nothing(stack: Stack) -> None:
    reports = stack.outputs["ReportsBucketName"]
    target = BackfillTarget(
        "s", "1" * 12, "us-east-1", "u", reports, stack.outputs["BackfillFunctionArn"], "r", 1, 1769, "x86_64"
    )
    request = job_request(target, Selection("u"), "token")
    location = request["ManifestGenerator"]["S3JobManifestGenerator"]["ManifestOutputLocation"]
    assert location["Bucket"] == request["Report"]["Bucket"] == f"arn:aws:s3:::{reports}"
    assert location["ManifestPrefix"].startswith(f"{FOLDER}/")
    assert request["Report"]["Prefix"] == FOLDER
    assert "NotificationConfiguration" not in stack.properties["ReportsBucket"]


def test_a_named_other_bucket_may_be_labelled_like_the_uploads_bucket(stack: Stack) -> None:
    def allowed(names: list[str], bucket: str) -> set[tuple[str, str]]:
        return {
            (action, str(resource).replace(bucket, "BUCKET"))
            for name in names
            for statement in statements(stack.properties[name])
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }

    own = allowed(["ReadPicturesPolicy", "WriteTagsPolicy"], stack.uploads_bucket)
    assert allowed(["BackfillBucketAccess"], "other-pictures") == own
    assert RESOURCES["BackfillBucketAccess"]["Condition"] == "HasBackfillBucket"


@pytest.mark.parametrize("name", ["Backfill", "Classify", "Score"])
def test_each_function_has_its_own_role_which_may_write_its_own_log(stack: Stack, name: str) -> None:
    group = stack.properties[f"{name}Function"]["LoggingConfig"]["LogGroup"]
    assert group == f"/aws/lambda/{stack.name}-{name.lower()}"
    assert properties(f"{name}Function")["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
    writable = [
        resource
        for statement in statements(properties(f"{name}Role"))
        if "logs:PutLogEvents" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]
    assert writable == [{"Fn::GetAtt": [f"{name}LogGroup", "Arn"]}]


def test_it_is_built_from_the_same_sources(tmp_path: Path) -> None:
    for function in ("BackfillFunction", "ClassifyFunction"):
        (tmp_path / function).mkdir()
        command = [
            "make",
            "--silent",
            "-C",
            ROOT / "functions",
            f"build-{function}",
            f"ARTIFACTS_DIR={tmp_path / function}",
        ]
        subprocess.run(command, check=True)
    built, other = (
        {str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*.py")}
        for name in ("BackfillFunction", "ClassifyFunction")
    )
    assert built == other
    assert "classify/app.py" in built


def test_earlier_models_are_retained_for_rollback_and_earlier_libraries_are_not() -> None:
    assert properties("ModelLayer")["RetentionPolicy"] == "Retain"
    assert properties("LibrariesLayer")["RetentionPolicy"] == "Delete"
