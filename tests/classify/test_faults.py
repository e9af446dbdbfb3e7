"""Every call to AWS fails once, or for good: nothing is lost, nothing is labelled wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError

from tests.classify.conftest import Printed, Service
from tests.support import BLUE, RED, encoded, notification, plain, sqs_batch

CALLS = ["GetObject", "GetObjectTagging", "PutObjectTagging", "PutItem"]
ERRORS: dict[str, Callable[[str], Exception]] = {
    "throttled": lambda call: ClientError({"Error": {"Code": "SlowDown"}}, call),
    "internal": lambda call: ClientError({"Error": {"Code": "InternalError"}}, call),
    "denied": lambda call: ClientError({"Error": {"Code": "AccessDenied"}}, call),
    "timeout": lambda _: ReadTimeoutError(endpoint_url="https://example"),
}


class Faults:
    """Makes calls fail by name, and keeps count of all of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.failing: dict[str, list[Exception]] = {}
        real = BaseClient._make_api_call

        def call(client: BaseClient, name: str, arguments: dict[str, Any]) -> Any:
            self.calls.append(name)
            if self.failing.get(name):
                raise self.failing[name].pop()
            return real(client, name, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)

    def fail(self, name: str, error: Exception, times: int = 1) -> None:
        self.failing[name] = [error] * times


@pytest.fixture
def faults(service: Service, monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", ERRORS)
def test_a_call_that_fails_once_brings_that_message_back_alone_and_then_all_is_right(
    service: Service, faults: Faults, printed: Callable[[], Printed], call: str, error: str
) -> None:
    red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")
    blue = service.upload("blue.png", encoded(plain(BLUE)))
    faults.fail(call, ERRORS[error](call))

    first = service.invoke(sqs_batch(notification(red), notification(blue)))

    assert first == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert set(service.rows()) == {"blue.png"}
    (line,) = [line for line in printed().logs if line["message"] == "failed"]
    assert (line["level"], line["key"]) == ("ERROR", "red.png")
    assert f"{call} for uploads/red.png" in line["error"]

    assert service.invoke(sqs_batch(notification(red))) == {"batchItemFailures": []}

    assert {key: row["label"] for key, row in service.rows().items()} == {
        "red.png": "red",
        "blue.png": "blue",
    }
    tags = service.tags("red.png")
    assert (tags["owner"], tags["image-label"]) == ("Ann", "red")


def test_nothing_is_written_after_a_failed_read_of_the_tags(service: Service, faults: Faults) -> None:
    red = service.upload("red.png", encoded(plain(RED)), tags="owner=Ann")
    faults.fail("GetObjectTagging", ERRORS["denied"]("GetObjectTagging"))
    faults.calls.clear()

    service.invoke(sqs_batch(notification(red)))

    assert faults.calls == ["GetObject", "GetObjectTagging"]
    assert service.tags("red.png") == {"owner": "Ann"}


def test_an_object_deleted_between_fetching_and_tagging_is_gone(service: Service, faults: Faults) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    faults.fail("PutObjectTagging", ClientError({"Error": {"Code": "NoSuchKey"}}, "PutObjectTagging"))

    assert service.invoke(sqs_batch(notification(red))) == {"batchItemFailures": []}
    assert service.rows() == {}


def test_a_picture_takes_four_calls(service: Service, faults: Faults) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    faults.calls.clear()

    service.invoke(sqs_batch(notification(red)))

    assert faults.calls == CALLS


def test_the_other_objects_of_a_failing_message_are_labelled_all_the_same(service: Service, faults: Faults) -> None:
    red, blue = (service.upload(f"{i}.png", encoded(plain(c))) for i, c in enumerate((RED, BLUE)))
    faults.fail("PutItem", ERRORS["throttled"]("PutItem"))

    answer = service.invoke(sqs_batch(notification(red, blue)))

    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
    assert set(service.rows()) == {"1.png"}


def test_what_fails_for_good_is_never_answered_as_done(service: Service, faults: Faults) -> None:
    red = service.upload("red.png", encoded(plain(RED)))
    faults.fail("PutItem", ERRORS["denied"]("PutItem"), times=5)  # template.yaml: five receptions, then the DLQ

    answers = [service.invoke(sqs_batch(notification(red))) for _ in range(5)]

    assert answers == [{"batchItemFailures": [{"itemIdentifier": "message-0"}]}] * 5
    assert service.rows() == {}
