"""Lambda's runtime on this machine, without Docker: AWS's runtime interface emulator (RIE) and its Python client.

The aws-sam-cli wheel contains the RIE, which `sam local` starts in its containers. The RIE starts awslambdaric, the
client that Lambda itself runs, which imports the handler and calls it. Two differences remain: the function uses this
machine's processors and memory, and may write outside /tmp.
https://github.com/aws/aws-lambda-runtime-interface-emulator
"""

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
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from local import ROOT
from local.aws.stack import Function
from ops.cli import CommandError

_INVOKE = "/2015-03-31/functions/function/invocations"
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_REPORT = "REPORT RequestId: "
_INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
_OF_RIE = "(rapid)"  # in each of the emulator's own log lines


class EmulatorError(CommandError):
    """The emulator cannot run the function."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Report:
    """Measurements and log of one invocation. Init Duration and Max Memory Used in its REPORT line are not measured."""

    init_ms: float | None  # start of the runtime and import of the handler; None for a warm start
    wall_ms: float  # from the request to the response
    peak_bytes: int | None  # peak resident memory of the runtime's process so far; None without /proc
    error: str | None  # None if the handler returned
    log: tuple[str, ...]  # the function's output, with the lines START, END and REPORT


def host_architecture() -> str | None:
    """This machine's architecture as Lambda names it, "x86_64" or "arm64"; None for any other."""
    return _ARCHITECTURES.get(platform.machine().lower())


def emulator_program(environment: Path = ROOT / ".venv-sam") -> Path:
    """The path of the emulator for this machine. Raises EmulatorError if there is none."""
    architecture = host_architecture()
    if platform.system() != "Linux" or architecture is None:
        raise EmulatorError(
            "AWS's runtime interface emulator runs on Linux on x86_64 or arm64; this machine is "
            f"{platform.system()} on {platform.machine()}. Use `sam local invoke`, which needs Docker"
        )
    name = f"aws-lambda-rie-{architecture}"
    program = next(environment.glob(f"lib/python*/site-packages/samcli/local/rapid/{name}"), None)
    if program is None:
        raise EmulatorError(f"no {name} in {environment.name}; `make {environment.name}/ready` installs the SAM CLI")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


class RuntimeEmulator:
    """A function in its runtime, from cold start to shutdown; a context manager.

        with RuntimeEmulator(function, task_root=..., python=..., opt=..., environment=...) as runtime:
            response, report = runtime.invoke(event)

    `task_root`: the folder of the function's code, /var/task in Lambda. `opt`: the folder of its layers, /opt in
    Lambda; the function's variables that begin with /opt are changed to it. `python`: see ensure_runtime.
    `environment`: variables besides the function's own, such as LocalAws.environment; the function inherits no others.
    `echo` is called with each line that the function writes.
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
        self._python = str(python.absolute())  # not resolved: a virtual environment's Python is a link
        self._environment = runtime_environment(function, self._task_root, opt.resolve()) | dict(environment)
        self._echo = echo
        self._lines: list[str] = []
        self._written = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        """Start the emulator and wait until it listens. It starts the runtime at the first invocation."""
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

    def __exit__(self, *_: object) -> None:
        """End the emulator and every process that it started."""
        self._stop()

    @property
    def pid(self) -> int:
        """Process id of the emulator, the leader of the session in which the runtime runs."""
        return self._started().pid

    def invoke(self, event: Any) -> tuple[Any, Report]:
        """Call the handler with `event`; returns its response, or Lambda's response to an error, and the report.

        Raises EmulatorError if the emulator does not answer.
        """
        before = len(self._lines)
        begin = time.perf_counter()
        # The emulator ends the invocation at the function's timeout.
        timeout = self._function.timeout + 30
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)) as connection:
                connection.request("POST", _INVOKE, json.dumps(event).encode())
                body = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            log = "\n".join(self._lines[before:])
            raise EmulatorError(f"the runtime interface emulator does not answer ({error!r}):\n{log}") from error
        wall_ms = 1000 * (time.perf_counter() - begin)
        lines = self._lines_of_invocation(before)
        try:
            response = json.loads(body)
        except ValueError:
            response = body  # "Task timed out after 60.00 seconds"
        init = _INIT.search("\n".join(lines))
        report = Report(
            init_ms=float(init[1]) if init else None,
            wall_ms=wall_ms,
            peak_bytes=_peak_bytes(self.pid),
            error=_error(response),
            log=tuple(line for line in lines if _OF_RIE not in line),
        )
        return response, report

    def _read(self) -> None:
        for line in self._started().stdout or ():
            text = line.rstrip("\n")
            if self._echo is not None and _OF_RIE not in text:
                self._echo(text)
            with self._written:
                self._lines.append(text)
                self._written.notify_all()

    def _lines_of_invocation(self, before: int) -> list[str]:
        """The lines since `before`. The log may arrive after the response, so wait for its last line."""

        def complete() -> bool:
            return any(_REPORT in line or "Invoke DONE failed" in line for line in self._lines[before:])

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
        raise EmulatorError(f"the runtime interface emulator does not start:\n{log}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise EmulatorError("the runtime is not running: use RuntimeEmulator as a context manager")
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
        if process.stdout and not self._reader.is_alive():
            process.stdout.close()


def session_members(leader: int) -> list[psutil.Process]:
    """The processes of the session that `leader` began, without `leader`.

    The emulator starts the runtime in a process group of its own, so its group does not lead to it.
    """
    return [process for process in psutil.process_iter() if process.pid != leader and _session(process.pid) == leader]


def runtime_environment(function: Function, task_root: Path, opt: Path) -> dict[str, str]:
    """The variables that Lambda sets for a Python function, and the function's own.

    Lambda developer guide, "Defined runtime environment variables". The emulator adds _HANDLER and
    AWS_LAMBDA_RUNTIME_API.
    """
    packages = f"{opt}/python/lib/{function.runtime}/site-packages"
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "LD_LIBRARY_PATH": f"{task_root}:{task_root}/lib:{opt}/lib",
        "PYTHONPATH": f"{task_root}:{packages}:{opt}/python",
        "PYTHONDONTWRITEBYTECODE": "1",  # in Lambda, code and layers are read-only
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
    """The error that a response reports."""
    if isinstance(response, str) and response.startswith("Task timed out"):
        return response
    if isinstance(response, dict) and {"errorMessage", "errorType"} <= response.keys():
        return f"{response['errorType']}: {response['errorMessage']}"
    return None


def _free_ports(count: int) -> list[int]:
    """Different free ports of 127.0.0.1: all are open at once."""
    with ExitStack() as sockets:
        servers = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]
