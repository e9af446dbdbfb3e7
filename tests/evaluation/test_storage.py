"""Errors of AWS in the score function's calls. Their results are tested with the reports, in tests/score."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from botocore.stub import Stubber

from evaluation.storage import ReportStorage
from labeller.aws_errors import AwsFailure

CALLS: dict[str, tuple[str, Callable[[ReportStorage], Any], str]] = {
    "list_objects_v2": (
        "_s3",
        lambda storage: list(storage.list_keys("testset/")),
        "ListObjectsV2 for reports/testset/",
    ),
    "get_object": ("_s3", lambda storage: storage.read("a.json"), "GetObject for reports/a.json"),
    "put_object": (
        "_s3",
        lambda storage: storage.write("a.json", b"", "application/json"),
        "PutObject for reports/a.json",
    ),
    "delete_object": ("_s3", lambda storage: storage.delete("a.json"), "DeleteObject for reports/a.json"),
    "query": (
        "_dynamodb",
        lambda storage: list(storage.uploads_of_day("cats", date(2026, 11, 24))),
        "Query for cats of 2026-11-24",
    ),
    "publish": ("_sns", lambda storage: storage.mail("subject", "text"), "Publish for arn:topic"),
}


@pytest.fixture(scope="module")
def storage() -> ReportStorage:
    return ReportStorage("reports", "results", topic="arn:topic")


@pytest.mark.parametrize("operation", CALLS)
def test_every_error_names_the_operation_and_what_it_was_for(storage: ReportStorage, operation: str) -> None:
    client, call, message = CALLS[operation]
    with Stubber(getattr(storage, client)) as stubs:
        stubs.add_client_error(operation, "AccessDenied", http_status_code=403)
        with pytest.raises(AwsFailure, match=f"{message}: AccessDenied"):
            call(storage)


def test_folders_that_cannot_be_listed_are_an_error_too(storage: ReportStorage) -> None:
    with Stubber(storage._s3) as stubs:
        stubs.add_client_error("list_objects_v2", "AccessDenied", http_status_code=403)
        with pytest.raises(AwsFailure, match="ListObjectsV2 for reports/accuracy/: AccessDenied"):
            storage.list_folders("accuracy/")
