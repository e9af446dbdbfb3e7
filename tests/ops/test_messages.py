"""Messages of the commands about missing and mistyped arguments."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from local import ROOT
from ops import backfill, labels, redrive, shadow, testset
from ops.capacity import __main__ as capacity
from ops.capacity import figures
from ops.cli import CommandError, exit_status
from ops.stack import describe_stack
from ops.testset import Summary, print_summary

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "labels": lambda extra: labels.main(["--label", "cats", *extra]),
    "redrive": redrive.main,
    "shadow": lambda extra: shadow.main(["build/candidate", *extra]),
    "testset": lambda extra: testset.main(["pictures/test", *extra]),
    "backfill": backfill.main,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("AWS_DEFAULT_REGION", "AWS_DEFAULT_REGION=eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "no AWS credentials on this machine"),
    ],
)
def test_a_missing_region_or_missing_credentials_are_reported_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, without: str, message: str
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.delenv(without)
    if without == "AWS_ACCESS_KEY_ID":
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    assert COMMANDS[command]([]) == 1
    assert message in capsys.readouterr().err


def test_shadow_compares_500_uploads_of_the_default_stack_with_build_model(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[argparse.Namespace] = []
    monkeypatch.setattr(shadow, "compare", compared.append)

    shadow.main(["build/candidate"])

    (options,) = compared
    assert (options.stack, options.sample, options.baseline) == ("image-labeller", 500, ROOT / "build/model")
    assert (options.label, options.json) == ([], False)


def test_backfill_starts_a_job_of_the_default_stack_for_all_its_objects_after_asking() -> None:
    assert vars(backfill.parse([])) == {
        "stack": "image-labeller",
        "engine": "s3",
        "bucket": "",
        "prefix": "",
        "manifest": None,
        "job": None,
        "stale_only": False,
        "all": False,
        "yes": False,
        "log": ROOT / "build/backfill.log",
    }


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (testset.main, [""], "no folder is named (make: DIR=... or MODEL=...)"),
        (shadow.main, [""], "no folder is named (make: DIR=... or MODEL=...)"),
        (shadow.main, ["m", "--day", "today"], "a day is written 2026-11-23, not 'today'"),
        (shadow.main, ["m", "--sample", "-1"], "it must be a whole number of 1 or more, not '-1'"),
        (labels.main, ["--label", "cats", "--day", "23.11.2026"], "a day is written 2026-11-23, not '23.11.2026'"),
        (labels.main, ["--label", "cats", "--limit", "many"], "it must be a whole number of 1 or more, not 'many'"),
    ],
)
def test_an_invalid_argument_is_reported_with_a_valid_form(
    capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--manifest", "keys.csv", "--bucket", "b", "--prefix", "p"], "leave BUCKET and PREFIX out"),
        (["--job", "id", "--stale-only"], "STALE_ONLY cannot be changed any more"),
        (["--all"], "ALL is for ENGINE=local"),
        (["--engine", "local", "--bucket", "b", "--all", "--stale-only"], "leave one out"),
        (["--engine", "local", "--bucket", "b", "--manifest", "keys.csv"], "leave BUCKET out"),
        (["--engine", "local", "--bucket", "b", "--job", "id"], "JOB is for S3 Batch Operations"),
    ],
)
def test_a_backfill_refuses_arguments_that_it_would_ignore(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert backfill.main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--bench", "--write"])
def test_capacity_names_a_missing_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    monkeypatch.setattr(figures, "scenarios", lambda *_: [])
    assert capacity.main([option, str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_hostile_name_reaches_the_terminal_as_an_escape(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise CommandError("no object hostile/\x1b[31m\u202egnp.png\nsecond line")

    assert exit_status(fail) == 1
    print_summary(Summary(0, 0, {"\x1b[2J.jpg": "EMPTY"}, ("testset/\u202e.jpg",), deleted=False), "reports")

    captured = capsys.readouterr()
    assert (
        captured.err == "error: no object hostile/\\x1b[31m\\u202egnp.png\nsecond line\nleft out: \\x1b[2J.jpg: EMPTY\n"
    )
    assert "such as testset/\\u202e.jpg." in captured.out


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    script = tmp_path / "many.py"
    script.write_text(
        "import sys\n"
        "from ops import labels\n"
        "row = {'classified_at': 't', 'status': 'LABELLED', 'object': 'b/k', 'version': 'null'}\n"
        "labels.rows_of_day = lambda *_: (row for _ in range(100_000))\n"
        "sys.exit(labels.main(['--label', 'cats', '--table', 't']))\n"
    )
    command = f"'{sys.executable}' '{script}' | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_parameters_are_those_of_the_deployment(moto: None) -> None:
    template = {
        "Parameters": {"ConfidenceThreshold": {"Type": "String", "Default": ""}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
    given = [{"ParameterKey": "ConfidenceThreshold", "ParameterValue": "0.8"}]
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName="pets", TemplateBody=json.dumps(template), Parameters=given)
    assert describe_stack("pets").parameters == {"ConfidenceThreshold": "0.8"}
