from __future__ import annotations

from typing import Any

import pytest

from ops import backfill
from ops.backfill import parse, progress_line, run_job
from ops.capacity.workload import measured_image
from ops.cli import CommandError, Console
from tests.ops.test_batch_operations import ACCOUNT, JOB, Stubbed, expect_stack


@pytest.fixture(autouse=True)
def no_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of this machine must not change the tests."""
    monkeypatch.setattr(backfill, "measured_image", lambda: measured_image(bench=None))


@pytest.fixture
def stubbed(one_session: None) -> Stubbed:
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
    for job in states:
        stubbed.expect("s3control", "describe_job", {"Job": job}, {"AccountId": ACCOUNT, "JobId": JOB})


def expect_status(stubbed: Stubbed, status: str) -> None:
    stubbed.stubs["s3control"].add_response("update_job_status", {"JobId": JOB, "Status": status})


def console(*answers: str) -> tuple[Console, list[str]]:
    """A console where somebody answers so, and the questions that it asks."""
    given, asked = iter(answers), []

    def ask(question: str) -> str:
        asked.append(question)
        return next(given)

    return Console(ask=ask), asked


def no_sleep(_: float) -> None:
    pass


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
    user, asked = console("y")
    assert run_job(stubbed.clients, parse(["--stack", "stack"]), user, no_sleep) == 0
    stubbed.assert_no_pending_responses()
    printed = capsys.readouterr().out
    assert asked == ["Start? [y/N] "]
    assert "1,000 objects, about " in printed
    assert "minutes, about $" in printed
    assert "10 at once (1,769 MB), input of 384 pixels; prices of us-east-1" in printed
    assert "Active: 250 of 1,000 (25.0%), 0 failed, 4.2 a second, 3 minutes left" in printed
    assert f"report: s3://reports/backfill/job-{JOB}/manifest.json" in printed


@pytest.mark.parametrize("answer", ["", "n", "what?"])
def test_any_answer_but_yes_cancels_the_job(stubbed: Stubbed, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    expect_stack(stubbed)
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    expect_states(stubbed, state("Suspended"))
    expect_status(stubbed, "Cancelled")
    assert run_job(stubbed.clients, parse(["--stack", "stack"]), console(answer)[0], no_sleep) == 0
    stubbed.assert_no_pending_responses()
    assert "Nothing was labelled" in capsys.readouterr().out


def test_stale_labels_cannot_be_told_where_no_rows_are_written(stubbed: Stubbed) -> None:
    expect_stack(stubbed, write="tags,event")
    with pytest.raises(CommandError, match=r"STALE_ONLY goes by the rows, and stack writes none \(parameter Write\)"):
        run_job(stubbed.clients, parse(["--stack", "stack", "--stale-only"]), console()[0], no_sleep)
    stubbed.assert_no_pending_responses()


def test_of_several_buckets_one_must_be_named(stubbed: Stubbed) -> None:
    expect_stack(stubbed, ExistingBuckets="photos,scans")
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    with pytest.raises(CommandError, match=r"stack labels several buckets .*: name one, BUCKET="):
        run_job(stubbed.clients, parse(["--stack", "stack"]), console()[0], no_sleep)
    stubbed.assert_no_pending_responses()


def test_with_yes_nothing_is_asked(stubbed: Stubbed) -> None:
    expect_stack(stubbed)
    stubbed.expect("s3control", "list_jobs", {"Jobs": []})
    stubbed.expect("s3control", "create_job", {"JobId": JOB})
    expect_states(stubbed, state("Suspended"))
    expect_status(stubbed, "Ready")
    expect_states(stubbed, state("Complete", succeeded=1000))
    user = Console(yes=True, ask=lambda _: pytest.fail("asked"))
    assert run_job(stubbed.clients, parse(["--stack", "stack"]), user, no_sleep) == 0


def test_an_unfinished_job_is_followed_and_no_second_one_created(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str]
) -> None:
    expect_stack(stubbed)
    job = {"JobId": JOB, "Description": "stack: backfill of uploads/", "Status": "Active"}
    stubbed.expect("s3control", "list_jobs", {"Jobs": [job]})
    expect_states(stubbed, state("Active", succeeded=10, seconds=5), state("Complete", succeeded=1000))
    assert run_job(stubbed.clients, parse(["--stack", "stack"]), console()[0], no_sleep) == 0
    assert "following job" in capsys.readouterr().out


def test_a_named_job_is_followed(stubbed: Stubbed) -> None:
    expect_stack(stubbed)
    expect_states(stubbed, state("Complete", succeeded=1000))
    assert run_job(stubbed.clients, parse(["--stack", "stack", "--job", JOB]), console()[0], no_sleep) == 0
    stubbed.assert_no_pending_responses()


def test_interrupted_it_says_that_the_job_keeps_running_and_how_to_cancel_it(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    expect_stack(stubbed)
    expect_states(stubbed, state("Active"))
    assert run_job(stubbed.clients, parse(["--stack", "stack", "--job", JOB]), Console(), interrupt) == 1
    printed = capsys.readouterr().out
    assert f"make backfill STACK=stack JOB={JOB}" in printed
    assert "--requested-job-status Cancelled" in printed


def test_the_reason_of_a_failed_job_is_printed(stubbed: Stubbed, capsys: pytest.CaptureFixture[str]) -> None:
    expect_stack(stubbed)
    reasons = [{"FailureCode": "ManifestNotFound", "FailureReason": "it is gone"}]
    expect_states(stubbed, state("Failed") | {"FailureReasons": reasons})
    assert run_job(stubbed.clients, parse(["--stack", "stack", "--job", JOB]), console()[0], no_sleep) == 1
    assert "ManifestNotFound: it is gone" in capsys.readouterr().out


def test_objects_that_failed_make_the_command_fail(
    stubbed: Stubbed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill.batch_operations, "failures", lambda *_: ["uploads/a.jpg: denied"])
    expect_stack(stubbed)
    expect_states(stubbed, state("Complete", succeeded=999, failed=1))
    assert run_job(stubbed.clients, parse(["--stack", "stack", "--job", JOB]), console()[0], no_sleep) == 1
    assert "uploads/a.jpg: denied" in capsys.readouterr().out


def test_progress_is_one_line() -> None:
    assert progress_line(state("Preparing", 1234)) == "Preparing: S3 lists the objects, 1,234 so far"
    assert progress_line(state("Ready", 0)) == "Ready: 0 of 0 (0.0%), 0 failed"
    line = progress_line(state("Active", 10_000, 4_000, 1_000, seconds=100))
    assert line == "Active: 5,000 of 10,000 (50.0%), 1,000 failed, 50.0 a second, 2 minutes left"
