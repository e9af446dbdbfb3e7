"""A candidate beside the deployed model, on the stack deployed here: real pictures, real networks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from scipy.stats import binomtest

from labeller.aws_errors import AwsFailure, Gone
from labeller.images import Reason, Unreadable
from labeller.manifest import ModelError
from labeller.results import Status
from local.aws.moto import LocalAws, process_environment
from local.aws.poller import LambdaContext
from local.aws.stack import Stack
from ops import shadow
from ops.agreement import Agreement, Answer, UploadFlip, draw_sample, measure_agreement, upload_lines
from ops.stack import StackDescription, describe_stack
from tests.support import (
    BLUE,
    RED,
    colour_network,
    encoded,
    notification,
    plain,
    record,
    write_familiar_model,
    write_model,
)

pytestmark = pytest.mark.midnight

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = NOON.date()


class Noon(datetime):
    """The clock of the handler that labels the uploads: all of them on one day, whenever the tests run."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Noon:
        return cls(2026, 11, 23, 12, tzinfo=tz)


def brighter_is_blue() -> onnx.ModelProto:
    """The colour network, except that it calls pictures with much green blue."""
    network = colour_network((8, 8))
    (weights,) = network.graph.initializer
    values = onnx.numpy_helper.to_array(weights).copy()
    values[1] = [-5 * values[0, 0], 5 * values[0, 0]]
    weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), weights.name))
    return network


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "deployed": write_model(folder / "deployed"),
        "same": write_model(folder / "same", model_version="colour-2"),
        "worse": write_model(folder / "worse", brighter_is_blue(), model_version="green-1"),
        "familiar": write_familiar_model(folder / "familiar", threshold=0.7, model_version="familiar-1"),
    }


@pytest.fixture(scope="module")
def live(aws: LocalAws, stack: Stack, models: dict[str, Path]) -> LocalAws:
    """A stack with a test set, and with uploads of DAY, labelled by the deployed model."""
    s3 = aws.client("s3")
    reports = stack.outputs["ReportsBucketName"]
    for number in range(12):
        green = 0 if number % 2 else 90  # half of the reds have green in them
        s3.put_object(Bucket=reports, Key=f"testset/red/{number}.png", Body=encoded(plain((250 - number, green, 0))))
        s3.put_object(Bucket=reports, Key=f"testset/blue/{number}.png", Body=encoded(plain((0, 0, 250 - number))))
    uploads = {"red.png": RED, "blue.png": BLUE, "orange <b>.png": (255, 90, 0), "gone.png": RED, "other.png": RED}
    records = []
    for key, colour in uploads.items():
        s3.put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(plain(colour)))
        records.append(record(key, stack.uploads_bucket))
    from classify import app, labelling

    app.get_labeller.cache_clear()
    with process_environment(stack.function.local_environment(models["deployed"])), pytest.MonkeyPatch.context() as at:
        at.setattr(labelling, "datetime", Noon)
        context: Any = LambdaContext("classify", "0", "arn", "", deadline=time.monotonic() + 600)
        app.lambda_handler(notification(*records), context)
    app.get_labeller.cache_clear()
    s3.delete_object(Bucket=stack.uploads_bucket, Key="gone.png")
    s3.put_object(Bucket=stack.uploads_bucket, Key="other.png", Body=encoded(plain(BLUE)))
    return aws


@pytest.fixture
def command(
    live: LocalAws, stack: Stack, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def run(candidate: str, *arguments: str) -> tuple[int, str]:
        fixed = ["--stack", stack.name, "--day", str(DAY), "--baseline", str(models["deployed"])]
        status = shadow.main([str(models[candidate]), *fixed, *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


# ---- the command ------------------------------------------------------------------------------------------


def test_an_equal_candidate_agrees_everywhere(command: Callable[..., tuple[int, str]]) -> None:
    status, printed = command("same")
    assert status == 0
    assert "Test set, 24 pictures:" in printed
    assert printed.count("100.00%") >= 3  # both on the test set, and the agreement
    assert "colour-1 (" in printed
    assert "0 newly right, 0 newly wrong, 0 with another label" in printed
    assert "no significant difference (McNemar's test: p = 1.000)" in printed


def test_a_worse_candidate_shows_in_flips_accuracy_and_mcnemars_test(
    command: Callable[..., tuple[int, str]],
) -> None:
    status, printed = command("worse", "--json")
    figures = json.loads(printed)
    assert status == 3
    test_set = figures["test_set"]
    assert (test_set["correct_before"], test_set["correct_now"]) == (24, 18)
    assert (test_set["newly_right"], test_set["newly_wrong"]) == (0, 6)
    assert test_set["p_value"] == pytest.approx(binomtest(6, 6, 0.5).pvalue)
    assert {flip["key"] for flip in test_set["flips"]} == {f"red/{number}.png" for number in range(0, 12, 2)}
    uploads = figures["uploads"]
    assert (uploads["compared"], uploads["agreed"]) == (3, 2)
    [flip] = uploads["flips"]
    assert flip["object"].endswith("/orange <b>.png")
    assert (flip["before"], flip["now"]) == ("red", "blue")
    assert uploads["models_before"] == {"colour-1": 3}


def test_deleted_and_replaced_uploads_are_counted_and_not_compared(
    command: Callable[..., tuple[int, str]],
) -> None:
    _, printed = command("same", "--json")
    assert json.loads(printed)["uploads"]["left_out"] == {"deleted or replaced since": 2}


def test_only_the_sample_is_compared(command: Callable[..., tuple[int, str]]) -> None:
    _, printed = command("same", "--json", "--sample", "2")
    uploads = json.loads(printed)["uploads"]
    assert uploads["compared"] + sum(uploads["left_out"].values()) == 2


def test_uploads_with_a_label_that_only_the_deployed_model_has_are_compared_if_it_is_named(
    command: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def rows(_dynamodb: object, _table: str, label: str, _day: date) -> list[dict[str, Any]]:
        asked.append(label)
        return []

    monkeypatch.setattr(shadow, "rows_of_day", rows)
    command("same", "--label", "green")
    assert asked == ["red", "blue", "green", "UNSURE", "UNKNOWN"]


def test_a_day_without_uploads_is_reported(command: Callable[..., tuple[int, str]]) -> None:
    _, printed = command("same", "--day", "2001-01-01")
    assert "Uploads of 2001-01-01: none to compare" in printed


@pytest.fixture
def _no_reports_left(live: LocalAws, stack: Stack) -> Iterator[None]:
    """Other tests have no nightly report."""
    yield
    s3, bucket = live.client("s3"), stack.outputs["ReportsBucketName"]
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix="accuracy/")["Contents"]:
        s3.delete_object(Bucket=bucket, Key=entry["Key"])


@pytest.mark.usefixtures("_no_reports_left")
def test_the_latest_report_has_the_deployed_models_answers(
    live: LocalAws, stack: Stack, models: dict[str, Path], command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    from local.score import run_score

    with (tmp_path / "log").open("w") as log:
        run_score(live, stack.outputs, models["worse"], log, NOON)
    status, printed = command("same")
    assert status == 0
    assert f"green-1 (the night of {DAY})" in printed
    assert "6 newly right, 0 newly wrong" in printed
    assert "BETTER" in printed


def test_without_report_and_baseline_the_error_says_what_to_do(
    command: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    status, printed = command("same", "--baseline", str(tmp_path / "none"))
    assert status == 1
    assert "BASELINE=" in printed


def test_a_folder_without_a_model_is_an_error(
    live: LocalAws, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shadow.main([str(tmp_path), "--stack", stack.name]) == 1
    assert "manifest.json is missing" in capsys.readouterr().err


def test_test_pictures_without_an_answer_are_listed(
    live: LocalAws, stack: Stack, command: Callable[..., tuple[int, str]]
) -> None:
    key, bucket = "testset/red/notes.png", stack.outputs["ReportsBucketName"]
    live.client("s3").put_object(Bucket=bucket, Key=key, Body=b"Milk")
    try:
        _, printed = command("same")
        _, as_json = command("same", "--json")
    finally:
        live.client("s3").delete_object(Bucket=bucket, Key=key)
    assert "1 without the candidate's answer, such as red/notes.png: NOT_AN_IMAGE: " in printed
    assert [picture["key"] for picture in json.loads(as_json)["unscored"]] == ["red/notes.png"]


def test_the_stacks_threshold_decides_what_is_unsure(
    command: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(name: str) -> StackDescription:
        return replace(describe_stack(name), parameters={"ConfidenceThreshold": "1"})

    monkeypatch.setattr(shadow, "describe_stack", describe)
    _, printed = command("same", "--json")
    uploads = json.loads(printed)["uploads"]
    assert uploads["unsure_now"] == uploads["compared"] == 3  # by the manifest's 0.9 all three are sure


def test_an_upload_that_the_candidate_does_not_know_is_not_counted_as_sure(
    command: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, printed = command("familiar", "--json")
    uploads = json.loads(printed)["uploads"]
    assert (uploads["unsure_now"], uploads["unknown_now"]) == (0, 1)  # orange: 1 - 90 / 255 = 0.65 is below 0.7

    def describe(name: str) -> StackDescription:
        return replace(describe_stack(name), parameters={"FamiliarityThreshold": "0"})

    monkeypatch.setattr(shadow, "describe_stack", describe)
    _, printed = command("familiar", "--json")
    assert json.loads(printed)["uploads"]["unknown_now"] == 0  # the stack says that nothing is unknown


# ---- sample and agreement ---------------------------------------------------------------------------------


def row(name: str, label: str = "cats", status: str = "LABELLED", model: str = "m1") -> dict[str, Any]:
    return {"object": f"b/{name}", "version": "null", "label": label, "status": status, "model": model}


def test_the_sample_depends_on_neither_order_nor_name() -> None:
    rows = [row(f"{index:05}") for index in range(2000)]
    chosen = draw_sample(rows, 200)
    assert chosen == draw_sample(reversed(rows), 200)
    first_half = sum(int(row["object"].removeprefix("b/")) < 1000 for row in chosen)
    assert binomtest(first_half, 200, 0.5).pvalue > 0.001


def test_fewer_uploads_than_the_sample_size_are_all_sampled() -> None:
    assert len(draw_sample([row("a"), row("b")], 500)) == 2


def test_agreement_counts_labels_uncertainty_and_what_is_left_out() -> None:
    rows = [row("a"), row("b", "dogs"), row("c", status="UNSURE", model="m0"), row("d"), row("e"), row("f")]
    rows += [row("g"), row("h", status="UNKNOWN")]
    answers: list[Answer | Exception] = [
        ("cats", 0.99, Status.LABELLED),
        ("cats", 0.7, Status.LABELLED),
        ("cats", 0.4, Status.UNSURE),
        Unreadable(Reason.TRUNCATED, "short"),
        Gone("gone"),
        AwsFailure("throttled"),
        ("cats", 0.98, Status.UNKNOWN),
        ("cats", 0.97, Status.UNKNOWN),
    ]
    agreement = measure_agreement(date(2026, 11, 23), rows, answers)
    low, high = binomtest(4, 5).proportion_ci(method="wilson")
    assert agreement == Agreement(
        day=date(2026, 11, 23),
        compared=5,
        agreed=4,
        interval=agreement.interval,
        unsure_before=1,
        unsure_now=1,
        unknown_before=1,
        unknown_now=2,
        models_before={"m1": 4, "m0": 1},
        flips=(UploadFlip("b/b", "dogs", "cats", 0.7),),
        left_out={"unreadable: TRUNCATED": 1, "deleted or replaced since": 1, "AWS failed": 1},
    )
    assert (agreement.interval.low, agreement.interval.high) == pytest.approx((low, high))


def test_if_no_upload_can_be_fetched_the_error_of_aws_is_raised() -> None:
    with pytest.raises(AwsFailure, match="denied"):
        measure_agreement(DAY, [row("a")], [AwsFailure("denied")])


def test_a_broken_candidate_is_not_counted_as_disagreement() -> None:
    with pytest.raises(ModelError):
        measure_agreement(DAY, [row("a")], [ModelError("NaN")])


def test_names_of_uploads_cannot_move_the_cursor() -> None:
    agreement = measure_agreement(DAY, [row("a\x1b[2Jb")], [("dogs", 0.9, Status.LABELLED)])
    assert not any("\x1b" in line for line in upload_lines(agreement))
