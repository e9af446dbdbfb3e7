"""Lambda's runtime on this machine, without Docker: AWS's runtime interface emulator and its Python client.

The emulator (RIE) is the program that `sam local` starts in its containers; it ships in the aws-sam-cli
wheel. It starts awslambdaric, the client that runs in Lambda too, which imports the handler and calls it.
What still differs: processors and memory are this machine's, and files may be written outside /tmp.
https://github.com/aws/aws-lambda-runtime-interface-emulator
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil

from local import ROOT
from local.aws.stack import Function
from ops.cli import CommandError

_INVOKE = "/2015-03-31/functions/function/invocations"
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\s.*?Duration: (?P<ms>[\d.]+) ms\s+Billed Duration: (?P<billed>\d+)"
)
_INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
_OF_RIE = "(rapid)"  # marks the emulator's own log lines


class EmulatorError(CommandError):
    """The function could not be run at all."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one invocation."""

    # The emulator's REPORT line; "" where the runtime died before the handler was called. Its Init Duration
    # and Max Memory Used are no measurements; init_ms and peak_bytes are.
    line: str
    request_id: str
    duration_ms: float  # as the emulator measured it; the first one contains init_ms
    init_ms: float | None  # start of the runtime and import of the handler; None for a warm start
    wall_ms: float  # from sending the event to having the response
    peak_bytes: int | None  # most resident memory of the runtime's process so far, where /proc tells
    error: str | None  # None for a handler that returned
    log: tuple[str, ...]  # what the function wrote, START, END and REPORT among it


class Invocation(NamedTuple):
    """Response of the handler (or, after an error, what Lambda gives instead) and report."""

    response: Any
    report: Report


def host_architecture() -> str | None:
    """This machine's processor in Lambda's words, "x86_64" or "arm64"; None for any other."""
    return _ARCHITECTURES.get(platform.machine().lower())


def emulator_program(environment: Path = ROOT / ".venv-sam") -> Path:
    """The runtime interface emulator for this machine. Raises EmulatorError where there is none."""
    architecture = host_architecture()
    if platform.system() != "Linux" or architecture is None:
        raise EmulatorError(
            f"AWS's runtime interface emulator is for Linux on x86_64 or arm64; this is {platform.system()} "
            f"on {platform.machine()}. `sam local invoke` runs the function in Docker"
        )
    name = f"aws-lambda-rie-{architecture}"
    found = sorted(environment.glob(f"lib/python*/site-packages/samcli/local/rapid/{name}"))
    if not found:
        raise EmulatorError(f"no {name} in {environment.name}; `make {environment.name}/ready` installs the SAM CLI")
    if not os.access(found[0], os.X_OK):
        found[0].chmod(0o755)
    return found[0]


class RuntimeEmulator:
    """A function in its runtime, from cold start to shutdown; a context manager.

        with RuntimeEmulator(function, task_root=..., python=..., opt=..., environment=...) as runtime:
            response, report = runtime.invoke(event)

    `task_root`: the folder of the function's code, as under /var/task. `opt`: the folder of its layers, as
    under /opt; variables of the function whose values begin with /opt are pointed there. `python`: see
    ensure_runtime. `environment`: variables besides the function's own, such as LocalAws.environment;
    nothing else is taken over from this process. `echo` is called with each line that the function writes.
    """

    def __init__(
        self,
        function: Function,
        *,
        task_root: Path,
        python: Path,
        opt: Path,
        environment: Mapping[str, str],
        echo: Callable[[str], None] | None = None,
    ):
        self._function = function
        self._task_root = task_root.resolve()
        self._command = [str(emulator_program()), "--log-level", "info"]
        self._python = str(python.absolute())  # not resolved: by its place it is the environment's
        self._environment = runtime_environment(function, self._task_root, opt.resolve()) | dict(environment)
        self._echo = echo
        self._lines: list[str] = []
        self._written = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        """Start the emulator and wait until it listens; the runtime starts with the first invocation."""
        self._port, api_port = _free_ports(2)
        self._process = subprocess.Popen(
            [
                *self._command,
                *("--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"),
                *("--runtime-api-address", f"127.0.0.1:{api_port}"),
                *(self._python, "-m", "awslambdaric", self._function.handler),
            ],
            cwd=self._task_root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader.start()
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the emulator and every process that it started."""
        self._stop()

    @property
    def pid(self) -> int:
        """Process id of the emulator, which leads the session that the runtime is in."""
        return self._started().pid

    def invoke(self, event: Any) -> Invocation:
        """Call the handler with `event`. Its errors are in the report; others raise EmulatorError."""
        before = len(self._lines)
        begin = time.perf_counter()
        # The emulator ends the invocation at the function's timeout; beyond that something is wrong with it.
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._function.timeout + 30)
        try:
            connection.request("POST", _INVOKE, json.dumps(event).encode())
            body = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            log = "\n".join(self._lines[before:])
            raise EmulatorError(f"the runtime interface emulator gave no answer ({error!r}):\n{log}") from error
        finally:
            connection.close()
        wall_ms = 1000 * (time.perf_counter() - begin)
        lines = self._lines_of_invocation(before)
        try:
            response = json.loads(body)
        except ValueError:
            response = body  # "Task timed out after 60.00 seconds"
        return Invocation(response, self._report(lines, wall_ms, _error(response)))

    def _report(self, lines: list[str], wall_ms: float, error: str | None) -> Report:
        text = "\n".join(lines)
        report, init = _REPORT.search(text), _INIT.search(text)
        return Report(
            line=next((line[line.index("REPORT ") :] for line in lines if _REPORT.search(line)), "").strip(),
            request_id=report["id"] if report else "",
            duration_ms=float(report["ms"]) if report else wall_ms,
            init_ms=float(init[1]) if init else None,
            wall_ms=wall_ms,
            peak_bytes=_peak_bytes(self.pid),
            error=error,
            log=tuple(line for line in lines if _OF_RIE not in line),
        )

    def _read(self) -> None:
        for line in self._started().stdout or ():
            text = line.rstrip("\n")
            if self._echo is not None and _OF_RIE not in text:
                self._echo(text)
            with self._written:
                self._lines.append(text)
                self._written.notify_all()

    def _lines_of_invocation(self, before: int) -> list[str]:
        """The lines since `before`. The response overtakes the log, so wait for the line that ends it."""

        def complete() -> bool:
            return any(_REPORT.search(line) or "Invoke DONE failed" in line for line in self._lines[before:])

        with self._written:
            self._written.wait_for(complete, timeout=3)
            return self._lines[before:]

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end and self._started().poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.005)
        log = "\n".join(self._lines)
        raise EmulatorError(f"the runtime interface emulator did not start:\n{log}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise EmulatorError("the runtime is not started: use it as a context manager")
        return self._process

    def _stop(self) -> None:
        process = self._started()
        members = session_members(process.pid)
        process.terminate()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for member in {*members, *session_members(process.pid)}:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._reader.join(timeout=3)  # the last lines


def session_members(leader: int) -> list[psutil.Process]:
    """The processes of the session that `leader` began, without `leader`.

    The emulator starts the runtime in a process group of its own, so its group does not lead to it.
    """
    return [process for process in psutil.process_iter() if process.pid != leader and _session(process.pid) == leader]


def runtime_environment(function: Function, task_root: Path, opt: Path) -> dict[str, str]:
    """The variables that Lambda sets for a Python function, and the function's own.

    Lambda developer guide, "Defined runtime environment variables". The emulator adds those of the single
    environment (_HANDLER, AWS_LAMBDA_RUNTIME_API).
    """
    packages = f"{opt}/python/lib/{function.runtime}/site-packages"
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "LD_LIBRARY_PATH": f"{task_root}:{task_root}/lib:{opt}/lib",
        "PYTHONPATH": f"{task_root}:{packages}:{opt}/python",
        "PYTHONDONTWRITEBYTECODE": "1",  # in Lambda code and layers cannot be written to
        "LAMBDA_TASK_ROOT": str(task_root),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
        "AWS_LAMBDA_FUNCTION_HANDLER": function.handler,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_SAM_LOCAL": "true",  # as in the containers of `sam local`
        **function.environment_at(opt),
    }


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # ended meanwhile
        return None


def _peak_bytes(emulator: int) -> int | None:
    """The most resident memory that the emulator's child has held so far; None without /proc (proc(5), status)."""
    with suppress(psutil.Error, OSError):
        for child in psutil.Process(emulator).children():
            if peak := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text()):
                return 1024 * int(peak[1])
    return None


def _error(response: Any) -> str | None:
    if isinstance(response, str) and response.startswith("Task timed out"):
        return response
    if isinstance(response, dict) and {"errorMessage", "errorType"} <= response.keys():
        return f"{response['errorType']}: {response['errorMessage']}"
    return None


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now; all open at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
