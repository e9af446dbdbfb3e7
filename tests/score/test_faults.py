"""AWS failures during a night are reported, never mistaken for results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from labeller.aws_errors import AwsFailure
from labeller.classifier import Classifier
from labeller.manifest import ModelError
from labeller.settings import SettingsError
from score import app, nightly
from tests.score.conftest import NIGHT, Service
from tests.support import Printed

DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "call")


def fail_for(monkeypatch: pytest.MonkeyPatch, owner: Any, call: str, key: str | None = None) -> None:
    """Make the call fail, or only for the object `key`."""
    real = getattr(owner, call)

    def fail(**arguments: Any) -> Any:
        if key is None or arguments.get("Key") == key:
            raise DENIED
        return real(**arguments)

    monkeypatch.setattr(owner, call, fail)


def test_a_picture_that_cannot_be_fetched_is_unscored_and_the_rest_is_scored(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.add_pictures(3, 2)
    fail_for(monkeypatch, app.get_job().pictures._s3, "get_object", "testset/red/0.png")
    detail = service.invoke()
    assert (detail["verdict"], detail["scored"], detail["unscored"]) == ("INCOMPLETE", 4, 1)
    (unscored,) = service.report()["unscored_examples"]
    assert unscored["key"] == "red/0.png"
    assert unscored["reason"].startswith("AWS: GetObject for reports/testset/red/0.png: AccessDenied")
    assert unscored["reason"] in service.read(f"{NIGHT}/index.html").decode()


def test_a_picture_deleted_after_the_listing_is_unscored(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_pictures(1, 1)
    keys = list(app.get_job().reports.list_keys("testset/"))
    monkeypatch.setattr(app.get_job().reports, "list_keys", lambda _: iter([*keys, "testset/red/gone.png"]))
    assert service.invoke()["unscored"] == 1
    assert service.report()["unscored_examples"][0]["reason"].startswith("GONE: ")


def test_a_test_set_that_cannot_be_listed_is_not_an_empty_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.add_pictures(1, 1)
    service.invoke()
    before = service.objects()

    def fail(*_: Any, **__: Any) -> Any:
        raise DENIED

    monkeypatch.setattr(app.get_job().reports._s3, "get_paginator", fail)
    with pytest.raises(AwsFailure, match="ListObjectsV2 for reports/testset/: AccessDenied"):
        service.invoke()
    assert service.objects() == before


def test_a_mistake_of_ours_fails_the_night_instead_of_its_pictures(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.add_pictures(1, 1)

    def mistake(*_: Any) -> Any:
        raise NameError("undefined")

    monkeypatch.setattr(Classifier, "predict", mistake)
    with pytest.raises(NameError):
        service.invoke()
    assert service.objects() == {}


def test_three_calls_that_hang_leave_time_for_the_report(service: Service) -> None:
    reports = app.get_job().reports
    for client in (reports._s3, reports._dynamodb, reports._events, reports._sns):
        config = client.meta.config
        assert config.retries == {"mode": "standard", "total_max_attempts": 5}
        pauses = 1 + 2 + 4 + 8  # seconds, the longest of botocore's standard mode
        hanging = 5 * (config.connect_timeout + config.read_timeout) + pauses
        assert 3 * hanging + 10 < nightly.RESERVED_FOR_REPORT < nightly.RESERVED_FOR_UPLOADS < 900 / 4


@pytest.mark.filterwarnings("error:No application metrics:UserWarning")
@pytest.mark.parametrize("variable", [None, "MINIMUM_ACCURACY", "MODEL_DIR"])
def test_a_night_without_a_report_is_counted(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    printed: Callable[[], Printed],
    variable: str | None,
) -> None:
    service.add_pictures(1, 1)
    if variable is None:
        fail_for(monkeypatch, app.get_job().reports._s3, "put_object")
    else:
        monkeypatch.setenv(variable, "nonsense")
    with pytest.raises((AwsFailure, SettingsError, ModelError)):
        service.invoke()
    assert printed().metrics == {"Failed": 1}


def test_without_the_days_rows_the_report_has_no_uploads(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_pictures(1, 1)

    def fail(*_: Any, **__: Any) -> Any:
        raise DENIED

    monkeypatch.setattr(app.get_job().reports._dynamodb, "get_paginator", fail)
    assert service.invoke()["verdict"] == "SAME"
    report = service.report()
    assert report["uploads"] is None
    assert "The uploads of the day before could not be read; the function's log has the cause." in report["reasons"]


def test_where_no_rows_are_written_the_report_says_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_pictures(1, 1)
    monkeypatch.setenv("WRITE", "tags,event")
    monkeypatch.setattr(app.get_job().reports._dynamodb, "get_paginator", lambda *_: pytest.fail("the table is read"))
    app.get_job.cache_clear()
    service.invoke()
    report = service.report()
    assert (report["uploads"], report["writes_rows"]) == (None, False)
    (sentence,) = (reason for reason in report["reasons"] if "uploads" in reason)
    assert sentence.startswith("The stack writes no rows (parameter Write), so the uploads of the day before are not")
