"""A night's report is replaced as a whole, or not at all: every single put fails once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from evaluation.storage import ReportStorage
from labeller.aws_errors import AwsFailure
from score import app
from tests.score.conftest import BUCKET, NIGHT, Service
from tests.support import BLUE, encoded, plain

PUTS = 9  # two of the run, three of the night, three of latest, the list


class Faulty:
    """S3 whose n-th put fails; with `taken`, S3 has stored the object nevertheless."""

    def __init__(self, s3: Any, number: int, taken: bool) -> None:
        self._s3, self._number, self._taken = s3, number, taken
        self.puts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **arguments: Any) -> Any:
        self.puts += 1
        if self.puts != self._number:
            return self._s3.put_object(**arguments)
        if self._taken:
            self._s3.put_object(**arguments)
            raise ReadTimeoutError(endpoint_url="https://s3")
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")


def break_put(monkeypatch: pytest.MonkeyPatch, number: int, taken: bool) -> Faulty:
    """Make the n-th put from now on fail; later ones succeed."""
    reports: ReportStorage = app.get_job().reports
    faulty = Faulty(reports._s3, number, taken)
    monkeypatch.setattr(reports, "_s3", faulty)
    return faulty


def visible(service: Service) -> dict[str, bytes]:
    """The objects that people open: all but those of single runs."""
    return {key: body for key, body in service.objects().items() if "/runs/" not in key}


def test_the_number_of_puts_is_as_tested(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_pictures(1, 1)
    faulty = break_put(monkeypatch, 0, taken=False)
    service.invoke()
    assert faulty.puts == PUTS


@pytest.mark.parametrize("taken", [False, True])
def test_a_failed_put_leaves_the_earlier_report(service: Service, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    service.add_pictures(1, 1)
    service.invoke()
    before = visible(service)
    service.add("red/really blue.png", encoded(plain(BLUE)))  # so the next report differs
    for number in range(1, PUTS + 1):
        with monkeypatch.context() as patch:
            break_put(patch, number, taken)
            with pytest.raises(AwsFailure, match="PutObject"):
                service.invoke()
        assert visible(service) == before, number
    service.invoke()
    after = visible(service)
    assert set(after) == set(before)
    assert all(after[key] != before[key] for key in before)


def test_a_failed_put_of_a_first_report_leaves_none(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_pictures(1, 1)
    for number in (1, 5, PUTS):
        with monkeypatch.context() as patch:
            break_put(patch, number, taken=True)
            with pytest.raises(AwsFailure):
                service.invoke()
        assert visible(service) == {}, number


def test_all_links_of_a_page_lead_to_one_run(service: Service) -> None:
    service.add_pictures(1, 1)
    service.invoke()
    service.invoke()
    run = service.report()["run"]
    page = service.read(f"{NIGHT}/index.html").decode()
    links = re.findall(r'href="\.\./([^"]+)"', page)
    assert links == [f"{NIGHT}/runs/{run}/report.json", f"{NIGHT}/runs/{run}/predictions.csv", "index.html"]
    for link in links:
        service.s3.head_object(Bucket=BUCKET, Key=f"accuracy/{link}")
    assert service.report()["predictions_key"] == f"accuracy/{NIGHT}/runs/{run}/predictions.csv"


@pytest.mark.parametrize("call", ["announce", "mail"])
def test_a_report_that_cannot_be_announced_is_published_all_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: Any) -> None:
        raise AwsFailure("PutEvents: InternalFailure")

    service.add_pictures(1, 1)
    monkeypatch.setattr(app.get_job().reports, call, fail)
    assert service.invoke()["verdict"] == "SAME"
    assert service.report()["verdict"] == "SAME"
