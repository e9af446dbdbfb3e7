"""Every error of botocore as one of the project's own."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from labeller.aws_errors import Archived, AwsFailure, Denied, Gone, aws_errors, error_code

# Amazon S3 API reference, "Error responses"; the numbers are the codes of responses without a body.
GONE = ["NoSuchKey", "NoSuchVersion", "404", "405", "NotFound", "MethodNotAllowed"]
OTHERS = {
    "AccessDenied": Denied,
    "403": Denied,
    "Forbidden": Denied,
    "InvalidObjectState": Archived,
    "SlowDown": AwsFailure,
    "NoSuchBucket": AwsFailure,
    "InternalError": AwsFailure,
    "unheard of": AwsFailure,
}


def response(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")


@pytest.mark.parametrize(("code", "kind"), [*((code, Gone) for code in GONE), *OTHERS.items()])
def test_the_code_of_a_call_for_an_object_says_what_has_happened_to_it(code: str, kind: type[Exception]) -> None:
    error = response(code)

    with pytest.raises((Gone, AwsFailure)) as raised, aws_errors("GetObject", "uploads/a.jpg", of_object=True):
        raise error

    assert type(raised.value) is kind
    assert raised.value.__cause__ is error
    assert str(raised.value).startswith(f"GetObject for uploads/a.jpg: {code}: ")
    assert str(raised.value).endswith("no")


@pytest.mark.parametrize(("code", "kind"), [*((code, AwsFailure) for code in GONE), *OTHERS.items()])
def test_without_an_object_nothing_is_gone(code: str, kind: type[Exception]) -> None:
    with pytest.raises(AwsFailure) as raised, aws_errors("PutEvents", "default:"):
        raise response(code)

    assert type(raised.value) is kind


def test_an_error_without_a_response_is_named_after_its_class() -> None:
    with pytest.raises(AwsFailure, match="EndpointConnectionError") as raised, aws_errors("GetItem", "results:"):
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    assert type(raised.value) is AwsFailure


@pytest.mark.parametrize("answer", [{}, {"Error": {}}])
def test_a_response_without_a_code_has_an_unknown_one(answer: dict) -> None:
    assert error_code(ClientError(answer, "GetObject")) == "unknown"


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), aws_errors("GetObject", "uploads/a.jpg", of_object=True):
        raise KeyError
