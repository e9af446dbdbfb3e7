"""The classify function on the local AWS: its real handler, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from local.aws.moto import process_environment
from local.aws.poller import Handler
from local.aws.stack import Stack


@contextmanager
def classify_handler(stack: Stack, model: Path, log: TextIO) -> Iterator[Handler]:
    """The handler, as `local.aws.poller.deliver` takes it, for the model in the folder `model`.

    Inside the context, this process has the function's environment. What the handler prints goes to the file `log`.
    """
    with process_environment(stack.function.local_environment(model)):
        with redirect_stdout(log):  # Powertools' logger and metrics keep the stream that they start with
            from classify.app import get_labeller, lambda_handler

        def handler(event: dict[str, Any], context: Any) -> Any:
            with redirect_stdout(log), redirect_stderr(log):  # warnings are written to the latter
                return lambda_handler(event, context)

        get_labeller.cache_clear()  # what was loaded for another stack or model
        try:
            yield handler
        finally:
            get_labeller.cache_clear()
