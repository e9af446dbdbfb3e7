"""A contender in a process of its own, its libraries in an environment of their own.

The bench asks over a pipe, one line of JSON each way, and one process works while the others wait. Nothing here needs
more than numpy, for .venv-bench has little else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]

ANSWERS = "BENCH_ANSWERS"
"""The variable that names the file descriptor for answers."""

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels uint8 [N, S, S, 3] to logits float32 [N, labels]."""


class WorkerError(Exception):
    """A contender failed; the message says where its log is."""


class Worker:
    """The process; a context manager. `module` is run by the Python of `environment` and calls `serve`."""

    def __init__(self, environment: Path, module: str, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        self._command = [str(environment / "bin" / "python"), "-m", module, *arguments]

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if not Path(self._command[0]).is_file():
            raise WorkerError(f"there is no {self._command[0]}: `make bench` installs what contenders need")
        answers, theirs = os.pipe()  # of its own: libraries print to standard output as they like
        self._answers = os.fdopen(answers, encoding="utf-8")
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "CI": "true",  # openvino_telemetry, which OpenVINO and NNCF bring along, sends nothing then
                    "NNCF_CI": "1",
                    ANSWERS: str(theirs),
                },
                pass_fds=[theirs],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        os.close(theirs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._answers.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """What the command answers. Raises WorkerError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([command, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: there will be no answer either
        answer = self._answers.readline()
        if not answer:
            raise WorkerError(f"{self._command[2]} ended; {self._log} says why")
        found = json.loads(answer)
        if "error" in found:
            raise WorkerError(f"{self._command[2]}: {found['error']}; more in {self._log}")
        return found["answer"]


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Answer commands until there are no more."""
    with os.fdopen(int(os.environ[ANSWERS]), "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            command, arguments = json.loads(line)
            try:
                found = {"answer": commands[command](**arguments)}
            except Exception as error:  # the bench decides what to do about it
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(found) + "\n")
            answers.flush()


def inference_commands(contenders: Mapping[str, Infer], pixels: NDArray[np.uint8]) -> dict[str, Callable[..., Any]]:
    """`time` and `answer` of these contenders on the pictures `pixels`."""

    def clocked(contender: str, batch: int, calls: int) -> dict[str, float]:
        infer = contenders[contender]
        parts = [np.take(pixels, range(at, at + batch), axis=0, mode="wrap") for at in range(0, batch * calls, batch)]
        infer(parts[-1])  # caches hold another contender's weights
        cpu, start = time.process_time(), time.perf_counter()
        for part in parts:
            infer(part)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        images = batch * calls
        return {"milliseconds": 1000 * seconds / images, "cpu_milliseconds": 1000 * cpu / images}

    def answer(contender: str, path: str, batch: int) -> None:
        parts = [pixels[at : at + batch] for at in range(0, len(pixels), batch)]
        np.save(path, np.concatenate([contenders[contender](part) for part in parts]))

    return {"time": clocked, "answer": answer}
