"""`make local`: a process of its own, uploads through its endpoint, the commands beside it, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import psutil
import pytest

from labeller.manifest import Manifest
from local import server
from local.aws.moto import LocalAws, process_environment
from local.aws.stack import Stack
from ops import backfill, labels, local_stack, redrive, shadow, testset
from ops.stack import describe_stack
from tests.support import BLUE, GREY, RED, encoded, notification, plain, record, sqs_batch, write_model

pytestmark = pytest.mark.slow

BUCKET = "local-uploads-123456789012-us-east-1"
UPLOADS = {
    "red.png": encoded(plain(RED)),
    "holiday photos/grün+blau.png": encoded(plain(BLUE)),
    "grey.png": encoded(plain(GREY)),
    "notes.jpg": b"Milk, bread\n",
}
OUTSIDE_AWS = {"AWS_PROFILE": "production", "AWS_ENDPOINT_URL_S3": "http://192.0.2.1:9"}  # RFC 5737: nobody is there


class Running:
    """A `make local` in its own session, so that a signal to its group is what a terminal's Ctrl-C sends."""

    def __init__(self, folder: Path) -> None:
        write_model(folder / "build/model")
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.server", "--port", "0"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self.introduction = self.read_until("time  ")
        (self.endpoint,) = (line.split()[1] for line in self.introduction if line.startswith("  endpoint"))
        self.s3, self.sqs, self.cloudformation = map(self.client, ("s3", "sqs", "cloudformation"))

    def client(self, service: str) -> Any:
        """A client that knows no more than the printed endpoint."""
        dummy = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        return boto3.session.Session(**dummy).client(service, endpoint_url=self.endpoint, region_name="us-east-1")

    def read_until(self, start: str) -> list[str]:
        """The lines up to one that begins with `start` (a regular expression)."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if re.match(start, line):
                return lines
        raise AssertionError("\n".join(["ended with:", *lines]))

    def interrupt(self) -> None:
        """Press Ctrl-C, and check that nothing is left."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGINT)
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        assert printed.endswith("Ended. All uploads and results are gone.\n")
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert not (self.folder / local_stack.ENVIRONMENT).exists()

    def variables(self) -> dict[str, str]:
        """What a shell has after `. build/local/env`."""
        script = ". build/local/env && exec env -0"
        outside = {"PATH": os.environ["PATH"], **OUTSIDE_AWS}
        printed = subprocess.run(["sh", "-c", script], cwd=self.folder, env=outside, capture_output=True, check=True)
        pairs = (entry.split("=", 1) for entry in printed.stdout.decode().rstrip("\0").split("\0"))
        return {name: value for name, value in pairs if name not in ("PATH", "PWD", "SHLVL", "_", "OLDPWD")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Started once. That Ctrl-C ends it is checked after the last test, because a start takes seconds."""
    running = Running(tmp_path_factory.mktemp("it's a checkout"))
    try:
        yield running
        running.interrupt()
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()


@pytest.fixture(scope="module")
def uploaded(running: Running) -> dict[str, str]:
    """The line that was printed for each upload."""
    for key, content in UPLOADS.items():
        running.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    lines: dict[str, str] = {}
    while len(lines) < len(UPLOADS):
        *_, line = running.read_until(r"\d\d:\d\d:\d\d  ")
        _, result, _ = line.split(maxsplit=2)
        lines[line.rsplit("  ", 1)[1]] = result
    return lines


@pytest.mark.parametrize("label", ["two words", "-dash", '<b> "&;', "it's", "$HOME", "a=b"])
def test_the_command_that_is_shown_asks_for_a_label_whatever_its_name(label: str, tmp_path: Path) -> None:
    manifest = Manifest.from_file(write_model(tmp_path) / "manifest.json")
    aws, stack = SimpleNamespace(endpoint="http://127.0.0.1:1"), SimpleNamespace(name="local", uploads_bucket=BUCKET)
    text = server.introduction(
        cast(LocalAws, aws), cast(Stack, stack), tmp_path, replace(manifest, labels=(label, "red"))
    )
    (line,) = (line for line in text.splitlines() if line.startswith("  make labels"))
    (tmp_path / "Makefile").write_text("labels:\n\t@printenv LABEL\n")
    a_terminal_s = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not make's own
    shown = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=a_terminal_s, capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"{label}\n"


def test_labels_steer_no_terminal(tmp_path: Path) -> None:
    manifest = Manifest.from_file(write_model(tmp_path) / "manifest.json")
    aws, stack = SimpleNamespace(endpoint="http://127.0.0.1:1"), SimpleNamespace(name="local", uploads_bucket=BUCKET)
    text = server.introduction(
        cast(LocalAws, aws), cast(Stack, stack), tmp_path, replace(manifest, labels=("\x1b[2J", "\u202ered"))
    )
    assert "(\\x1b[2J, \\u202ered)" in text
    assert text.replace("\n", "").isprintable()


@pytest.fixture
def beside(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder and an environment that leads elsewhere, for a command."""
    monkeypatch.chdir(running.folder)
    with process_environment(OUTSIDE_AWS):
        yield


def test_it_says_which_model_it_runs_and_listens_on_this_machine_alone(running: Running) -> None:
    assert running.introduction[0].endswith("with the model colour-1 in build/model (red, blue).")
    listening = [c for c in psutil.Process(running.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [connection.laddr.ip for connection in listening] == ["127.0.0.1"]


def test_an_upload_to_the_printed_endpoint_gets_a_line_a_tag_and_a_row(
    running: Running, uploaded: dict[str, str]
) -> None:
    assert uploaded == {
        "red.png": "red",
        "holiday photos/grün+blau.png": "blue",
        "grey.png": "UNSURE",
        "notes.jpg": "NOT_AN_IMAGE",
    }
    tags = running.s3.get_object_tagging(Bucket=BUCKET, Key="red.png")["TagSet"]
    assert {"Key": "image-label", "Value": "red"} in tags


def test_a_shell_that_reads_the_file_has_the_endpoint_and_none_of_the_users_accounts(running: Running) -> None:
    variables = running.variables()
    assert variables["AWS_ENDPOINT_URL"] == running.endpoint
    assert variables["AWS_CONFIG_FILE"] == variables["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert variables["STACK"] == "local"  # make passes it on, so a command needs no STACK= there
    assert "AWS_PROFILE" not in variables


@pytest.mark.usefixtures("beside", "uploaded")
def test_labels_lists_what_was_labelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert labels.main(["--label", "red", "--stack", "local"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"LABELLED        1.0000  {BUCKET}/red.png")


@pytest.mark.usefixtures("beside")
def test_a_test_set_is_uploaded_scored_and_compared_with_a_candidate(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    from local import nightly

    for name, colour in (("red", RED), ("blue", BLUE)):
        folder = running.folder / "test" / name
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(encoded(plain(colour)))
    assert testset.main(["test", "--stack", "local"]) == 0
    assert nightly.main(["--stack", "local"]) == 0
    assert shadow.main(["build/model", "--stack", "local"]) == 0

    printed = capsys.readouterr().out
    assert "2 uploaded to s3://local-reports-" in printed
    assert "2 of 2 test pictures are right" in printed
    assert "candidate  100.00%" in printed
    report = json.loads((running.folder / "build/local/accuracy/latest/report.json").read_bytes())
    assert report["figures"]["correct"] == 2


@pytest.mark.usefixtures("beside", "uploaded")
def test_a_backfill_labels_the_bucket_with_the_running_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["--stack", "local", "--yes", "--all", "--log", str(tmp_path / "log")]
    assert backfill.main(command) == 0
    assert "4 of 4 done (2 LABELLED, 1 UNSURE, 1 UNREADABLE), 0 failed" in capsys.readouterr().out


@pytest.mark.usefixtures("beside")
def test_redrive_moves_dead_letters_back_to_the_queue(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = describe_stack("local", running.cloudformation).outputs
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent"}  # handled without a result
    running.sqs.send_message(QueueUrl=outputs["UploadsDeadLetterQueueUrl"], MessageBody=json.dumps(event))

    assert redrive.main(["--stack", "local"]) == 0

    printed = capsys.readouterr().out
    assert "moving about 1 messages" in printed
    assert printed.endswith("done: 1 of 1 messages moved\n")


def test_without_a_running_stack_a_command_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        labels.main(["--label", "red", "--stack", "local"])
    assert "no stack runs on this machine. Start one: make local" in capsys.readouterr().err


def test_without_a_model_it_says_how_to_build_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert server.main([]) == 1
    assert "there is no model: `make model DATA=pictures` builds yours, `make demo`" in capsys.readouterr().err


def test_a_port_that_is_taken_is_an_error_and_not_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "build/model")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        try:
            assert server.main(["--port", str(port)]) == 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert f"port {port} cannot be used: Address already in use. Choose another: PORT=" in capsys.readouterr().err


def test_values_survive_the_shell() -> None:
    lines = local_stack.exports({"MODEL_DIR": "/it's a/model $HOME"}).splitlines()
    assert shlex.split(lines[1]) == ["export", "MODEL_DIR=/it's a/model $HOME"]


def test_a_failed_object_is_named_with_the_log() -> None:
    stack = cast(Stack, SimpleNamespace(uploads_bucket="uploads", reports_item_failures=True))
    event = sqs_batch(notification(record("a\nb.png"), record("c.png", bucket="elsewhere")), {"kind": "unknown"})
    response = {"batchItemFailures": [{"itemIdentifier": "message-0"}, {"itemIdentifier": "message-1"}]}

    lines = [line[10:] for line in server.result_lines(cast(LocalAws, None), stack, event, response)]

    log = "tried up to five times, every 5 s; see build/local/classify.log"
    assert lines[0].split(maxsplit=1) == ["FAILED", f"a\\nb.png    {log}"]
    assert lines[1].split(maxsplit=1) == ["FAILED", f"s3://elsewhere/c.png    {log}"]
    assert lines[2].startswith("FAILED: a message that is no event of S3: ")
