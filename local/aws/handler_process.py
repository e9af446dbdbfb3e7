"""A handler of the sources in a process of its own, as in Lambda: its environment is there before anything is imported.

    python -m local.aws.handler_process HANDLER RESPONSE.json < {"event": ..., "function": ...}

RESPONSE.json gets {"response": what the handler returned} or {"errorType": ..., "errorMessage": ...}; what the handler
prints goes to standard output. local.runtime.emulator runs the built function, with Lambda's own runtime.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from local.aws.poller import lambda_context
from local.aws.stack import Function
from ops.cli import CommandError


class HandlerFailed(CommandError):
    """The handler raised; the message is the exception's."""

    exit_code = 1


def call(function: Function, event: object, environment: Mapping[str, str], log: TextIO) -> Any:
    """Run `function`'s handler on `event`, with `environment` for all of its environment; returns its response.

    What it writes goes to `log`, a file. Raises HandlerFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "response.json"
        given = asdict(function) | {"environment": dict(function.environment)}
        subprocess.run(
            [sys.executable, "-m", "local.aws.handler_process", function.handler, str(answer)],
            input=json.dumps({"event": event, "function": given}),
            env=dict(environment),
            stdout=log,
            stderr=log,
            text=True,
            check=False,
        )
        if not answer.is_file():
            raise HandlerFailed(f"{function.handler} ended without an answer; its log says why")
        found = json.loads(answer.read_text("utf-8"))
    if "errorType" in found:
        raise HandlerFailed(f"{found['errorType']}: {found['errorMessage']}")
    return found["response"]


def main() -> int:
    """The process: returns its exit status, 1 if the handler raised."""
    handler, answer = sys.argv[1], Path(sys.argv[2])
    given = json.load(sys.stdin)
    module, _, name = handler.rpartition(".")
    try:
        found = {"response": getattr(importlib.import_module(module), name)(given["event"], _context(given))}
    except Exception as error:  # as Lambda's runtime does
        traceback.print_exc()
        found = {"errorType": type(error).__name__, "errorMessage": str(error)}
    answer.write_text(json.dumps(found), "utf-8")
    return 1 if "errorType" in found else 0


def _context(given: Mapping[str, Any]) -> Any:
    return lambda_context(Function(**given["function"]))


if __name__ == "__main__":
    sys.exit(main())
