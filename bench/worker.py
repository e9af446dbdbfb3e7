"""A process that runs contenders, with the Python and libraries of an environment of its own.

    python -m bench.worker MODULE ARGUMENTS   (run by Worker)

MODULE has `load(arguments)`, which returns a Contenders. Messages are pickled over a pipe; a contender works while the
others wait. Imports nothing but numpy and the standard library, because .venv-bench has little else.
"""

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.timing import timed
from layers import ROOT

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels uint8 [N, S, S, 3] to logits float32 [N, labels]."""


@dataclass(frozen=True, slots=True)
class Contenders:
    """Contenders by name, and facts to report, such as versions."""

    infer: Mapping[str, Infer]
    facts: Mapping[str, Any] = field(default_factory=dict)


class WorkerError(Exception):
    """A contender failed; the message names its log."""


class Worker:
    """The process; a context manager. Runs `module` with the Python of `environment`.

    `arguments` are for `load`; their item "pixels" is a file of pictures, uint8 [N, S, S, 3].
    """

    def __init__(self, environment: Path, module: str, arguments: Mapping[str, Any], log: Path) -> None:
        self._log, self._module = log, module
        self._command = [str(environment / "bin" / "python"), "-m", __name__, module, json.dumps(arguments)]

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if not Path(self._command[0]).is_file():
            raise WorkerError(f"there is no {self._command[0]}: `make bench` installs what contenders need")
        self._pipe, theirs = multiprocessing.Pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CI": "true",  # openvino_telemetry, a dependency of OpenVINO and NNCF, sends nothing then
            "NNCF_CI": "1",
        }
        with self._log.open("w", encoding="utf-8") as log:  # libraries print to standard output as they like
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer to a command: "facts", "time" or "logits". Raises WorkerError."""
        try:
            self._pipe.send((command, arguments))
            answer, error = self._pipe.recv()
        except (EOFError, OSError) as ended:
            raise WorkerError(f"{self._module} ended; {self._log} says why") from ended
        if error:
            raise WorkerError(f"{self._module}: {error}; more in {self._log}")
        return answer


def serve(pipe: Connection, contenders: Contenders, pixels: NDArray[np.uint8]) -> None:
    """Answer commands until the pipe is closed."""

    def time(contender: str, batch: int, calls: int) -> dict[str, float]:
        """Milliseconds per image: wall and processor."""
        infer = contenders.infer[contender]
        parts = [np.take(pixels, range(at, at + batch), axis=0, mode="wrap") for at in range(0, batch * calls, batch)]
        infer(parts[-1])  # the caches hold another contender's weights
        timing, images = timed(lambda: [infer(part) for part in parts]), batch * calls
        return {
            "milliseconds": 1000 * timing.seconds / images,
            "cpu_milliseconds": 1000 * timing.cpu_seconds / images,
        }

    def logits(contender: str, batch: int) -> NDArray[np.float32]:
        parts = [pixels[at : at + batch] for at in range(0, len(pixels), batch)]
        return np.concatenate([contenders.infer[contender](part) for part in parts])

    commands: dict[str, Callable[..., Any]] = {"facts": lambda: contenders.facts, "time": time, "logits": logits}
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((commands[command](**arguments), None))
        except Exception as error:  # the bench decides what to do about it
            traceback.print_exc()
            sys.stderr.flush()
            pipe.send((None, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    loaded = importlib.import_module(sys.argv[1]).load(options)
    serve(Connection(int(sys.argv[3])), loaded, np.load(options["pixels"]))
