"""`make invoke EVENT=events/nightly.json`: the score function gets a test set, and its report is fetched.

The function and the deployment are stand-ins; the bucket is moto's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from local import ROOT
from local.runtime import invoke
from local.runtime.emulator import Report
from local.runtime.sam_build import SamBuild
from tests.support import write_model

BUCKET = "reports"
REPORT = Report(init_ms=412.0, wall_ms=98.0, peak_bytes=200 * 2**20, error=None, log=())


class Runtime:
    """The built score function: notes the event and the test set, and writes a report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.events: list[Any] = []
        self.testset: list[str] = []

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def invoke(self, event: Any) -> tuple[Any, Report]:
        s3 = boto3.client("s3")
        self.events.append(event)
        self.testset = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
        s3.put_object(Bucket=BUCKET, Key="accuracy/latest/index.html", Body=b"the report")
        return {"headline": "Same as before"}, self.report


@pytest.fixture
def run(moto: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Report], tuple[int, Runtime]]:
    model = write_model(tmp_path / "layer" / "model").parent
    build = SamBuild(tmp_path / "template.yaml", "python3.13", tmp_path, (tmp_path, model), None)
    asked: list[str] = []

    def prepare(_folder: Path, function: str) -> tuple[SamBuild, Path]:
        asked.append(function)
        return build, Path("python3.13")

    @contextmanager
    def local_aws() -> Iterator[SimpleNamespace]:
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield SimpleNamespace(client=boto3.client, environment={})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(invoke, "prepare", prepare)
    monkeypatch.setattr(invoke, "local_aws", local_aws)
    monkeypatch.setattr(invoke, "deploy", lambda *_: SimpleNamespace(outputs={invoke.BUCKET_OUTPUT: BUCKET}))
    monkeypatch.setattr(invoke, "function_of", lambda _aws, _stack, name: name)

    def run(report: Report) -> tuple[int, Runtime]:
        runtime = Runtime(report)

        def built_function(_environment: object, function: str, *_: object, **__: object) -> Runtime:
            assert function == asked[-1] == "ScoreFunction"
            return runtime

        monkeypatch.setattr(invoke, "built_function", built_function)
        return invoke.main([str(ROOT / "events/nightly.json")]), runtime

    return run


def test_the_function_is_invoked_with_the_event_and_a_test_set_of_the_models_labels(
    run: Callable[[Report], tuple[int, Runtime]], capsys: pytest.CaptureFixture[str]
) -> None:
    status, runtime = run(REPORT)
    assert status == 0
    assert runtime.events == [json.loads((ROOT / "events/nightly.json").read_text())]
    assert [key.rpartition("/")[0] for key in runtime.testset] == ["testset/blue"] * 4 + ["testset/red"] * 4
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"headline": "Same as before"}
    assert printed.err.splitlines() == [
        "uploaded 8 drawn pictures as a test set; the accuracy on them says nothing about photographs",
        "init 412 ms, invocation 98 ms, peak memory 200 MiB",
        "report  build/invoke/accuracy/latest/index.html",
    ]
    assert Path("build/invoke/accuracy/latest/index.html").read_bytes() == b"the report"


def test_a_function_that_fails_leaves_no_report(
    run: Callable[[Report], tuple[int, Runtime]], capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Report(init_ms=412.0, wall_ms=98.0, peak_bytes=None, error="InvalidTestSet", log=())
    assert run(failed)[0] == 1
    printed = capsys.readouterr().err
    assert "peak memory unknown" in printed
    assert "report  " not in printed
    assert not Path("build/invoke").exists()
