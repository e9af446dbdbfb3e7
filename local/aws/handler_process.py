"""Run a handler of the sources in its own process: as in Lambda, its environment is set before anything is imported.

    python -m local.aws.handler_process HANDLER RESPONSE.json < {"event": ..., "function": ...}

RESPONSE.json gets {"response": ...} or {"errorType": ..., "errorMessage": ...}; the handler prints to standard output.
For the built function in Lambda's own runtime, see local.runtime.emulator.
"""

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


def call(function: Function, event: object, environment: Mapping[str, str], log: TextIO) -> Any:
    """Run the handler of `function` on `event`, with exactly the variables `environment`; returns its response.

    Its output goes to the file `log`. Raises HandlerFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "response.json"
        subprocess.run(
            [sys.executable, "-m", "local.aws.handler_process", function.handler, str(answer)],
            input=json.dumps({"event": event, "function": asdict(function)}),
            env=dict(environment),
            stdout=log,
            stderr=log,
            text=True,
            check=False,
        )
        if not answer.is_file():
            raise HandlerFailed(f"{function.handler} ended without a response; its log says why")
        result = json.loads(answer.read_text("utf-8"))
    if "errorType" in result:
        raise HandlerFailed(f"{result['errorType']}: {result['errorMessage']}")
    return result["response"]


def main() -> int:
    """The process. Returns its exit status, 1 if the handler raised."""
    handler, answer = sys.argv[1], Path(sys.argv[2])
    arguments = json.load(sys.stdin)
    module, _, name = handler.rpartition(".")
    try:
        context = lambda_context(Function(**arguments["function"]))
        result = {"response": getattr(importlib.import_module(module), name)(arguments["event"], context)}
    except Exception as error:  # as Lambda's runtime does
        traceback.print_exc()
        result = {"errorType": type(error).__name__, "errorMessage": str(error)}
    answer.write_text(json.dumps(result), "utf-8")
    return 1 if "errorType" in result else 0


if __name__ == "__main__":
    sys.exit(main())
