"""AWS's runtime interface emulator with a small function."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.aws.stack import Function
from local.runtime.emulator import EmulatorError, RuntimeEmulator, emulator_program, session_members

HANDLER = """
import os, sys, time
print("importing")

def handler(event, context):
    print("handling")
    if "fail" in event:
        raise ValueError(event["fail"])
    time.sleep(event.get("sleep", 0))
    return {
        "event": event,
        "environment": dict(os.environ),
        "python": "%d.%d" % sys.version_info[:2],
        "layer": __import__("of_a_layer").NAME,
        "folder": os.getcwd(),
        "function": context.function_name,
        "memory": context.memory_limit_in_mb,
        "milliseconds": context.get_remaining_time_in_millis(),
    }
"""
FUNCTION = Function(
    name="echo",
    arn="arn:aws:lambda:us-east-1:000000000000:function:echo",
    handler="app.handler",
    runtime="python3.13",
    architecture="x86_64",
    timeout=1,
    memory=512,
    log_group="/aws/lambda/echo",
    environment={"MODEL_DIR": "/opt/model", "TAG_PREFIX": "/optical"},
)


def test_where_the_sam_cli_is_missing_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=r"ready` installs the SAM CLI|is for Linux"):
        emulator_program(tmp_path)


Start = Callable[..., RuntimeEmulator]


@pytest.fixture
def start(python: Path, tmp_path: Path) -> Iterator[Start]:
    """Creates a runtime for a folder with HANDLER and a layer with a module."""
    task, opt = tmp_path / "task", tmp_path / "opt"
    task.mkdir()
    (opt / "python").mkdir(parents=True)
    (task / "app.py").write_text(HANDLER)
    (opt / "python" / "of_a_layer.py").write_text("NAME = 'a layer'\n")

    def begin(function: Function = FUNCTION, **options: Any) -> RuntimeEmulator:
        environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
        return RuntimeEmulator(function, task_root=task, python=python, opt=opt, environment=environment, **options)

    yield begin
    assert not list(tmp_path.rglob("__pycache__"))  # as in Lambda, nothing is written into code or layers


@pytest.mark.slow
def test_a_function_runs_as_in_lambda(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    with start() as runtime:
        response, report = runtime.invoke({"key": "é"})
    assert response["event"] == {"key": "é"}
    assert response["python"] == "3.13"
    assert response["layer"] == "a layer"
    assert response["folder"] == str(tmp_path / "task")
    assert (response["function"], response["memory"]) == ("echo", "512")
    assert 0 < response["milliseconds"] <= 1000
    environment = response["environment"]
    assert environment["MODEL_DIR"] == str(tmp_path / "opt" / "model")
    assert environment["TAG_PREFIX"] == "/optical"  # begins with /opt but is not below it
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "echo"
    assert environment["LAMBDA_TASK_ROOT"] == str(tmp_path / "task")
    assert environment["AWS_SAM_LOCAL"] == "true"
    assert "AWS_PROFILE" not in environment  # nothing is inherited from this process
    assert report.error is None


@pytest.mark.slow
def test_the_report_tells_a_cold_start_from_a_warm_one(start: Start) -> None:
    written: list[str] = []
    with start(echo=written.append) as runtime:
        _, cold = runtime.invoke({})
        _, warm = runtime.invoke({})
    (line,) = [line for line in cold.log if "REPORT RequestId: " in line]
    assert "Memory Size: 512 MB" in line
    assert cold.init_ms is not None
    assert 0 < cold.init_ms <= cold.wall_ms
    assert warm.init_ms is None
    assert cold.peak_bytes is None or 2**20 < cold.peak_bytes < 2**30
    assert [line for line in cold.log if line in ("importing", "handling")] == ["importing", "handling"]
    assert [line for line in warm.log if line in ("importing", "handling")] == ["handling"]
    assert tuple(written) == cold.log + warm.log


@pytest.mark.slow
def test_an_error_of_the_handler_is_reported_and_the_next_event_is_handled(start: Start) -> None:
    with start() as runtime:
        response, report = runtime.invoke({"fail": "no model"})
        assert (response["errorType"], response["errorMessage"]) == ("ValueError", "no model")
        assert report.error == "ValueError: no model"
        _, report = runtime.invoke({})
        assert report.error is None


@pytest.mark.slow
def test_a_handler_that_takes_too_long_is_ended_at_the_functions_timeout(start: Start) -> None:
    with start() as runtime:
        response, report = runtime.invoke({"sleep": 30})
        assert response == report.error == "Task timed out after 1.00 seconds"
        assert 1000 <= report.wall_ms < 5000
        _, report = runtime.invoke({})
        assert report.init_ms is not None  # in a new runtime


@pytest.mark.slow
def test_a_handler_that_cannot_be_imported_is_reported(start: Start) -> None:
    with start(dataclasses.replace(FUNCTION, handler="absent.handler", timeout=30)) as runtime:
        _, report = runtime.invoke({})
    assert report.error == "Runtime.ImportModuleError: Unable to import module 'absent': No module named 'absent'"


@pytest.mark.slow
def test_no_process_is_left_even_after_an_error(start: Start) -> None:
    emulators = []

    def use_and_fail() -> None:
        with start() as runtime:
            runtime.invoke({})
            emulators.append(runtime.pid)
            assert session_members(runtime.pid)  # the runtime's process
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    [emulator] = emulators
    assert session_members(emulator) == []
    with pytest.raises(ProcessLookupError):
        os.kill(emulator, 0)
