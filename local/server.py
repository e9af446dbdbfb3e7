"""Run the stack on this machine until Ctrl-C: `make local`.

    python -m local.server [--model DIR] [--port N]

Deploys template.yaml on a local AWS that listens on 127.0.0.1, labels whatever arrives in the bucket for uploads, and
prints one line for each result. Other commands work on it with STACK=local. All content is in memory, and lost at the
end.
"""

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from labeller.events import ObjectRef, parse_request
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from labeller.text import printable
from local.aws.moto import LocalAws, local_aws
from local.aws.poller import Delivery, Handler, deliver, failures
from local.aws.results import read_result
from local.aws.stack import Stack, deploy
from local.classify import classify_handler
from ops import local_stack
from ops.cli import CommandError, command_parser, exit_status

PORT = 4566  # LocalStack's, which tools such as awslocal use without being told
MODELS = (Path("build/model"), Path("build/demo/model"))
LOG = local_stack.ENVIRONMENT.with_name("classify.log")
RETRY = 5  # seconds until a failed message is received again; the queue's own six minutes are long to wait for
_IDLE = 0.2  # seconds between two looks at an empty queue


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("local.server", __doc__)
    parser.add_argument("--model", type=Path, help=f"output of `make model` [{MODELS[0]}, else {MODELS[1]}]")
    parser.add_argument("--port", type=int, default=PORT, help=f"on 127.0.0.1; 0: a free one [{PORT}]")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(find_model(options.model), options.port), ModelError)


def find_model(named: Path | None) -> Path:
    """The folder of the model: the named one, or that of `make model`, or that of `make demo`. Raises CommandError."""
    if named:
        return named
    for folder in MODELS:
        if (folder / MANIFEST_FILE).is_file():
            return folder
    raise CommandError("there is no model: `make model DATA=pictures` builds yours, `make demo` a quick one to try")


def run(model: Path, port: int) -> int:
    """Deploy, and label what arrives until SIGINT or SIGTERM; returns the exit status."""
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    stop = _stop_at_signals()
    with local_aws(port) as aws, LOG.open("w", encoding="utf-8") as log:
        stack = deploy(aws, name=local_stack.LOCAL)
        with _announced(aws, stack, model), classify_handler(stack, model, log) as handler:
            print(introduction(aws, stack, model, manifest), flush=True)
            _label_arrivals(aws, stack, handler, log, stop)
    print("Ended. All uploads and results are gone.", flush=True)
    return 0


def introduction(aws: LocalAws, stack: Stack, model: Path, manifest: Manifest) -> str:
    """What runs where, and what to type next."""
    labels, first = ", ".join(map(printable, manifest.labels)), _variable("LABEL", manifest.labels[0])
    return f"""\
template.yaml runs on this machine, with the model {manifest.model_version} in {model} ({labels}).

  endpoint   {aws.endpoint}
  uploads    s3://{stack.uploads_bucket}
  log        {LOG}

In another terminal:
  . {local_stack.ENVIRONMENT}        # dummy credentials and the endpoint, for the AWS CLI and your programs
  aws s3 cp cat.jpg s3://{stack.uploads_bucket}/
  make labels STACK={stack.name} {first}    # also testset, backfill, shadow, nightly, redrive
Ctrl-C ends it, and all uploads and results with it.

time      result            confidence  key"""


def _variable(name: str, value: str) -> str:
    """A variable of make, as a shell takes it: `$` begins a reference in make."""
    return f"{name}={shlex.quote(printable(value).replace('$', '$$'))}"


@contextmanager
def _announced(aws: LocalAws, stack: Stack, model: Path) -> Iterator[None]:
    """The file that leads other commands here, inside the context."""
    variables = {**aws.environment, local_stack.MODEL: str(model.resolve()), "STACK": stack.name}
    content = local_stack.exports(variables)
    local_stack.ENVIRONMENT.write_text(content, "utf-8")
    try:
        yield
    finally:
        if local_stack.ENVIRONMENT.read_text("utf-8") == content:  # not that of another stack, started later
            local_stack.ENVIRONMENT.unlink()


def _stop_at_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set, so that the batch in progress is finished; a second SIGINT interrupts."""
    stop = threading.Event()

    def handle(*_: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


def _label_arrivals(aws: LocalAws, stack: Stack, handler: Handler, log: TextIO, stop: threading.Event) -> None:
    """Hand the queue's messages to the handler and print the results, until `stop` is set."""

    def printing(event: dict[str, Any], context: Any) -> Any:
        response = handler(event, context)
        log.flush()
        for line in result_lines(aws, stack, event, response):
            print(line, flush=True)
        return response

    while not stop.wait(_IDLE):
        delivery: Delivery = deliver(aws, stack, printing, deadline=1.0, retry_after=RETRY)
        for error in delivery.errors:
            print(printable(f"{_now()}  the handler failed: {error}. See {LOG}"), flush=True)


def result_lines(aws: LocalAws, stack: Stack, event: dict[str, Any], response: Any) -> Iterator[str]:
    """A line for each object of a batch: time, result, confidence, key."""
    failed = failures(response, {record["messageId"] for record in event["Records"]}, stack.reports_item_failures)
    for delivery in parse_request(event).deliveries:
        for ref in delivery.refs:
            result, confidence = ("FAILED", None) if delivery.id in failed else _result(aws, stack, ref)
            number = "" if confidence is None else f"{confidence:.4f}"
            bucket = "" if ref.bucket == stack.uploads_bucket else f"s3://{ref.bucket}/"
            note = f"    tried up to five times, every {RETRY} s; see {LOG}" if delivery.id in failed else ""
            yield printable(f"{_now()}  {result:<16}  {number:>10}  {bucket}{ref.key}{note}")
        for error in delivery.malformed:
            yield printable(f"{_now()}  FAILED: a message that is no event of S3: {error}")


def _result(aws: LocalAws, stack: Stack, ref: ObjectRef) -> tuple[str, float | None]:
    """The label, or why there is none, and the confidence."""
    row = read_result(aws, stack.results_table, ref.bucket, ref.key, ref.version_id).row
    label = row.get("reason") or (row["label"] if row.get("status") == "LABELLED" else row.get("status", "no row"))
    return label, row.get("confidence")


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"  # noqa: DTZ005  the clock on the user's wall


if __name__ == "__main__":
    sys.exit(main())
