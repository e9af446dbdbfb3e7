"""`python -m local.runtime.invoke` on the real template with a small function instead of the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from local import ROOT
from local.runtime import invoke
from local.runtime.invoke import main
from local.runtime.sam_build import BUILD, read_build
from tests.local.notifications import batch, notification


def test_without_a_build_the_command_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(notification("uploads", "a.jpg")))
    assert main([str(event), "--build", str(tmp_path / "absent")]) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert "run `make layer build` first" in output.err


def test_layers_for_another_architecture_are_reported_before_the_function_starts(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("local.runtime.invoke.host_architecture", lambda: "x86_64")
    monkeypatch.setattr(
        "local.runtime.invoke.prepare", lambda folder, function: (read_build(folder, function), Path("python"))
    )
    (build.parent.parent / "layers" / "architecture").write_text("arm64\n")
    assert main([write_event(build, notification("uploads", "a.jpg")), "--build", str(build)]) == 5
    expected = "the layers are filled for arm64, this machine is x86_64: run `make layer build ARCH=x86_64`"
    assert expected in capsys.readouterr().err


def test_an_object_that_s3_refuses_is_reported_with_the_reason(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "local.runtime.invoke.prepare", lambda folder, function: (read_build(folder, function), Path("python"))
    )
    assert main([write_event(build, notification("Not a bucket!", "a.jpg")), "--build", str(build)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "Not a bucket!" in printed


@pytest.mark.parametrize(
    ("text", "message"), [(None, "EVENT: {}: No such file or directory"), ("{", "EVENT: {} is not JSON: Expecting")]
)
def test_an_event_that_cannot_be_read_is_a_usage_error(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = tmp_path / "event.json"
    if text is not None:
        event.write_text(text)
    with pytest.raises(SystemExit) as caught:
        main([str(event)])
    assert caught.value.code == 2
    assert message.format(event) in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(ROOT / "events/s3-put.json"), "--image", str(tmp_path / "none.jpg")])
    assert caught.value.code == 2
    assert f"argument --image: {tmp_path}/none.jpg: No such file or directory" in capsys.readouterr().err


def test_the_named_build_and_picture_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.jpg").write_bytes(b"a picture")
    used: list[object] = []

    def prepare(folder: Path, _function: str) -> tuple[SimpleNamespace, Path]:
        used.append(folder)
        return SimpleNamespace(template=folder / "template.yaml"), Path("python")

    def label(*arguments: object) -> int:
        used.append(arguments[-1])
        return 0

    monkeypatch.setattr(invoke, "prepare", prepare)
    monkeypatch.setattr(invoke, "local_aws", nullcontext)
    monkeypatch.setattr(invoke, "deploy", lambda *_: None)
    monkeypatch.setattr(invoke, "_label", label)
    event = str(ROOT / "events/s3-put.json")
    assert main([event, "--build", "elsewhere", "--image", str(tmp_path / "mine.jpg")]) == 0
    assert main([event]) == 0
    assert used == [Path("elsewhere"), b"a picture", BUILD, None]


@pytest.mark.usefixtures("moto")
def test_a_missing_object_gets_the_named_picture_and_an_existing_one_stays() -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="uploads", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="uploads", Key="there.jpg", Body=b"as it was")
    event = {"Records": notification("uploads", "there.jpg")["Records"] + notification("uploads", "a.png")["Records"]}
    session: Any = SimpleNamespace(client=boto3.client)
    uploaded = invoke.put_missing(session, invoke.objects_named(event), b"a picture")
    assert uploaded == ["uploads/a.png"]
    bodies = {key: s3.get_object(Bucket="uploads", Key=key)["Body"].read() for key in ("there.jpg", "a.png")}
    assert bodies == {"there.jpg": b"as it was", "a.png": b"a picture"}


STAND_IN = """
import json, os
import boto3

def lambda_handler(event, context):
    for record in event["Records"]:
        for upload in json.loads(record["body"])["Records"]:
            bucket, key = upload["s3"]["bucket"]["name"], upload["s3"]["object"]["key"]
            size = boto3.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"]
            tags = {"TagSet": [{"Key": "image-label", "Value": "a stand-in"}]}
            boto3.client("s3").put_object_tagging(Bucket=bucket, Key=key, Tagging=tags)
            item = {"object": {"S": bucket + "/" + key}, "version": {"S": "null"}, "size": {"N": str(size)}}
            boto3.client("dynamodb").put_item(TableName=os.environ["RESULTS_TABLE"], Item=item)
    return {"batchItemFailures": []}
"""


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The real template, as `sam build` writes it, with a small function instead of the real one."""
    directory = tmp_path / ".aws-sam" / "build"
    (directory / "ClassifyFunction" / "classify").mkdir(parents=True)
    (directory / "ClassifyFunction" / "classify" / "app.py").write_text(STAND_IN)
    template = (ROOT / "template.yaml").read_text()
    template = template.replace("CodeUri: functions/", "CodeUri: ClassifyFunction")
    (directory / "template.yaml").write_text(template.replace("build/layers/", "../../layers/"))
    for layer in ("libraries", "model"):
        (tmp_path / "layers" / layer / layer).mkdir(parents=True)
    return directory


def write_event(build: Path, *notifications: dict[str, Any]) -> str:
    path = build.parent / "event.json"
    path.write_text(json.dumps(batch(*notifications)))
    return str(path)


@pytest.mark.slow
@pytest.mark.usefixtures("python")
def test_the_command_prints_response_report_tags_and_row(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = write_event(build, notification("uploads", "a.jpg"), notification("elsewhere", "b.png"))
    status = main([event, "--build", str(build)])
    output = capsys.readouterr()
    assert status == 0, output.err
    assert json.loads(output.out) == {"batchItemFailures": []}
    for part in (
        "uploaded elsewhere/b.png",
        "REPORT RequestId: ",
        "'image-label': 'a stand-in'",
        "object = elsewhere/b.png",
    ):
        assert part in output.err


@pytest.mark.slow
@pytest.mark.usefixtures("python")
def test_the_command_fails_where_the_function_does(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (build / "ClassifyFunction" / "classify" / "app.py").write_text("import absent\n")
    status = main([write_event(build, notification("uploads", "a.jpg")), "--build", str(build)])
    assert status == 1
    assert json.loads(capsys.readouterr().out)["errorType"] == "Runtime.ImportModuleError"


SLEEPER = """
import os, pathlib, time

def lambda_handler(event, context):
    pathlib.Path(STARTED).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(300)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("python")
def test_the_command_ends_its_processes_when_it_is_interrupted(build: Path) -> None:
    handler, started = build / "ClassifyFunction" / "classify" / "app.py", build.parent / "started"
    handler.write_text(SLEEPER.replace("STARTED", repr(str(started))))
    event = write_event(build, notification("uploads", "a.jpg"))
    command = [sys.executable, "-m", "local.runtime.invoke", event, "--build", str(build)]
    log = build.parent / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        end = time.monotonic() + 300  # on a busy machine; the function's own word ends the wait
        while not (started.is_file() and started.read_text()):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail(f"the function was not started:\n{log.read_text()}")
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    for pid in started.read_text().split():  # the runtime and the emulator
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
