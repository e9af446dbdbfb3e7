from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.aws.moto import LocalAws, process_environment
from local.aws.stack import Stack
from ops import backfill
from ops.backfill import Screen, _parse, progress_line, run_on_s3
from ops.capacity.__main__ import measured_image
from tests.ops.test_batch_operations import ACCOUNT, JOB, Stubbed, expect_stack
from tests.support import BLUE, RED, encoded, plain, write_model

# ---- on S3 Batch Operations -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured on this machine, at whatever size, is none of the tests' business."""
    monkeypatch.setattr(backfill, "measured_image", lambda: measured_image(bench=None))


@pytest.fixture
def stubbed() -> Stubbed:
    return Stubbed()


def state(status: str, total: int = 1000, succeeded: int = 0, failed: int = 0, seconds: int = 0) -> dict[str, Any]:
    return {
        "JobId": JOB,
        "Status": status,
        "Operation": {"LambdaInvoke": {"UserArguments": {"onlyStale": "false"}}},
        "ProgressSummary": {
            "TotalNumberOfTasks": total,
            "NumberOfTasksSucceeded": succeeded,
            "NumberOfTasksFailed": failed,
            "Timers": {"ElapsedTimeInActiveSeconds": seconds},
        },
    }


def expect_states(stubbed: Stubbed, *states: dict[str, Any]) -> None:
    for each in states:
        stubbed.expect("s3control", "describe_job", {"Job": each}, {"AccountId": ACCOUNT, "JobId": JOB})


def expect_status(stubbed: Stubbed, status: str) -> None:
    stubbed.stubs["s3control"].add_response("update_job_status", {"JobId": JOB, "Status": status})


def a_screen(*answers: str) -> tuple[Screen, list[str]]:
    given, asked = iter(answers), []

    def ask(question: str) -> str:
        asked.append(question)
        return next(given)

    return Screen(ask=ask, sleep=lambda _: None), asked


def test_the_objects_are_counted_and_the_user_asked_before_anything_starts(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_stack(stubbed)
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    expect_states(stubbed, state("Preparing", 400), state("Suspended"))
    expect_status(stubbed, "Ready")
    expect_states(
        stubbed,
        state("Active", succeeded=250, seconds=60),
        state("Complete", succeeded=1000),
    )
    screen, asked = a_screen("y")
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack"]), screen) == 0
    stubbed.assert_no_pending_responses()
    printed = capsys.readouterr().out
    assert asked == ["Start? [y/N] "]
    assert "1,000 objects, about " in printed
    assert "minutes, about" in printed
    assert "10 at once (1,769 MB), an input of 224 pixels; prices of us-east-1" in printed
    assert "Active: 250 of 1,000 (25.0%), 0 failed, 4.2 a second, 3 minutes to go" in printed
    assert f"report: s3://reports/backfill/job-{JOB}/manifest.json" in printed


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_anything_but_yes_calls_it_off(stubbed: Stubbed, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    expect_stack(stubbed)
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    expect_states(stubbed, state("Suspended"))
    expect_status(stubbed, "Cancelled")
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack"]), a_screen(answer)[0]) == 0
    stubbed.assert_no_pending_responses()
    assert "Nothing was labelled" in capsys.readouterr().out


def test_scripts_say_yes_beforehand(stubbed: Stubbed) -> None:
    expect_stack(stubbed)
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    expect_states(stubbed, state("Suspended"))
    expect_status(stubbed, "Ready")
    expect_states(stubbed, state("Complete", succeeded=1000))
    screen = Screen(yes=True, ask=lambda _: pytest.fail("asked"), sleep=lambda _: None)
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack"]), screen) == 0


def test_a_job_that_is_not_over_is_taken_up_and_no_second_one_made(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_stack(stubbed)
    job = {"JobId": JOB, "Description": "stack: backfill of uploads/", "Status": "Active"}
    stubbed.expect("s3control", "list_jobs", {"Jobs": [job]})
    expect_states(stubbed, state("Active", succeeded=10, seconds=5), state("Complete", succeeded=1000))
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack"]), a_screen()[0]) == 0
    assert "is taken up" in capsys.readouterr().out


def test_the_job_that_is_named_is_followed(stubbed: Stubbed) -> None:
    expect_stack(stubbed)
    expect_states(stubbed, state("Complete", succeeded=1000))
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack", "--job", JOB]), a_screen()[0]) == 0
    stubbed.assert_no_pending_responses()


def test_interrupted_it_says_that_the_job_goes_on_and_how_to_stop_it(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    expect_stack(stubbed)
    expect_states(stubbed, state("Active"))
    screen = Screen(sleep=interrupt)
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack", "--job", JOB]), screen) == 1
    printed = capsys.readouterr().out
    assert f"make backfill STACK=stack JOB={JOB}" in printed
    assert "--requested-job-status Cancelled" in printed


def test_a_job_that_fails_says_why(stubbed: Stubbed, capsys: pytest.CaptureFixture[str]) -> None:
    expect_stack(stubbed)
    reasons = [{"FailureCode": "ManifestNotFound", "FailureReason": "it is gone"}]
    expect_states(stubbed, state("Failed") | {"FailureReasons": reasons})
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack", "--job", JOB]), a_screen()[0]) == 1
    assert "ManifestNotFound: it is gone" in capsys.readouterr().out


def test_objects_that_failed_make_the_command_fail(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill.batch_operations, "failures", lambda *_: ["uploads/a.jpg: denied"])
    expect_stack(stubbed)
    expect_states(stubbed, state("Complete", succeeded=999, failed=1))
    assert run_on_s3(stubbed.clients, _parse(["--stack", "stack", "--job", JOB]), a_screen()[0]) == 1
    assert "uploads/a.jpg: denied" in capsys.readouterr().out


def test_progress_is_a_line() -> None:
    assert progress_line(state("Preparing", 1234)) == "Preparing: S3 lists the objects, 1,234 so far"
    assert progress_line(state("Ready", 0)) == "Ready: 0 of 0 (0.0%), 0 failed"
    line = progress_line(state("Active", 10_000, 4_000, 1_000, seconds=100))
    assert line == "Active: 5,000 of 10,000 (50.0%), 1,000 failed, 50.0 a second, 2 minutes to go"


# ---- here -------------------------------------------------------------------------------------------------


@pytest.fixture
def here(aws: LocalAws, stack: Stack, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """The command with ENGINE=local, on the deployed stack, with the network of mean colour."""
    from classify import app

    def command(*arguments: str, version: str = "colour-1") -> int:
        app.get_labeller.cache_clear()
        model = write_model(tmp_path / version, model_version=version)
        with process_environment(stack.function.local_environment(model)):
            folder = str(tmp_path / "jobs")
            fixed = ["--engine", "local", "--bucket", stack.uploads_bucket, "--folder", folder, "--yes"]
            return backfill.main([*fixed, *arguments])

    yield command
    app.get_labeller.cache_clear()


def rows(aws: LocalAws, stack: Stack) -> dict[str, dict[str, str]]:
    items = aws.client("dynamodb").scan(TableName=stack.results_table)["Items"]
    return {item["key"]["S"]: {name: next(iter(value.values())) for name, value in item.items()} for item in items}


def test_a_bucket_that_is_full_already_is_labelled_and_later_moved_to_a_new_model(
    aws: LocalAws, stack: Stack, here: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    s3 = aws.client("s3")
    pictures = {"2025/a+b %2B.png": RED, "2025/ねこ.png": BLUE, "2026/c.png": RED}
    for key, colour in pictures.items():
        s3.put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(plain(colour)))
    s3.put_object(Bucket=stack.uploads_bucket, Key="2025/", Body=b"")

    assert here("--prefix", "2025/") == 0
    labels = {key: row["label"] for key, row in rows(aws, stack).items()}
    assert labels == {"2025/a+b %2B.png": "red", "2025/ねこ.png": "blue"}
    assert "2 of 2 done, 0 failed" in capsys.readouterr().out

    assert here("--prefix", "2025/") == 0
    assert "They are done" in capsys.readouterr().out

    assert here("--stale-only") == 0  # all of the bucket: two are current
    reports = sorted((tmp_path / "jobs").glob("*/job-*/results/*.csv"))
    said = [line.rsplit(",", 1)[1] for path in reports for line in path.read_text().splitlines()]
    assert sorted(said) == ["CURRENT", "CURRENT", "LABELLED", "LABELLED", "LABELLED"]

    assert here("--stale-only", version="colour-2") == 0
    assert {row["model"] for row in rows(aws, stack).values()} == {"colour-2"}
    tags = s3.get_object_tagging(Bucket=stack.uploads_bucket, Key="2026/c.png")["TagSet"]
    assert {"Key": "image-label-model", "Value": "colour-2"} in tags


def test_what_fails_is_told_and_makes_the_command_fail(
    aws: LocalAws,
    stack: Stack,
    here: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from labeller.storage import AwsFailure, Storage

    def fail(*_: object) -> None:
        raise AwsFailure("PutItem for x: throttled")

    monkeypatch.setattr(Storage, "replace_row", fail)
    monkeypatch.setattr("ops.task_runner.time.sleep", lambda _: None)
    aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key="failing/a.png", Body=encoded(plain(RED)))
    assert here("--prefix", "failing/") == 1
    printed = capsys.readouterr().out
    assert "0 of 1 done, 1 failed" in printed
    assert "PutItem for x: throttled" in printed
    [report] = (tmp_path / "jobs").glob("*/job-*/manifest.json")
    assert [each["TaskExecutionStatus"] for each in json.loads(report.read_text())["Results"]] == ["failed"]


def test_here_the_bucket_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill.main(["--engine", "local"]) == 1
    assert "BUCKET=" in capsys.readouterr().err


def test_without_a_model_it_says_where_it_looked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "none"))
    assert backfill.main(["--engine", "local", "--bucket", "b"]) == 1
    assert "none/manifest.json is missing" in capsys.readouterr().err
