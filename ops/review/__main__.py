"""Review uploads, or the labels of a data set, in the browser: `make review STACK=name` or `make review DATA=pictures`.

    python -m ops.review [--stack NAME] [--model DIR] [--day D] [--days N] [--port N]
    python -m ops.review --data DIR [--model DIR] [--port N]

Serves a page on 127.0.0.1 until Ctrl-C and prints its address. An answer, one key press, is the label from then on: in
the row, in the tags and as the event ImageReviewed, under the name of the AWS credentials in use. The labels are those
of the model in DIR (build/model); if the uploads were labelled by another, a queue shows where the two disagree.

With --data it shows the pictures of the data set that the build of the model found probably mislabelled. An answer
moves the file to the folder of that label, and .review.jsonl in the data set's folder has a line for it.

Exit status: 0; 1 it could not be done; 2 wrong arguments.
"""

import argparse
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import uvicorn

from labeller.manifest import ModelError
from labeller.pipeline import WorkerPool
from labeller.settings import SettingsError
from labeller.storage import connect
from model_build.suspects import read_suspects
from ops.cli import CommandError, add_stack_argument, command_parser, day, exit_status, folder, positive
from ops.local_stack import model_folder
from ops.review.desk import Desk
from ops.review.files import Files
from ops.review.model import ReviewModel
from ops.review.reviewing import Reviewer
from ops.review.server import make_app
from ops.review.uploads import Uploads
from ops.shadow import settings_of
from ops.stack import describe_stack

LOOPBACK = "127.0.0.1"
_CALLS = 16  # to AWS at once: an answer takes about nine
_DECODED = 2  # pictures at once


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.review", __doc__)
    add_stack_argument(parser)
    parser.add_argument("--data", type=folder, help="the data set of the model, instead of a stack's uploads")
    parser.add_argument("--model", type=Path, help="the model whose labels the keys give [build/model]")
    parser.add_argument(
        "--day", type=day, default=datetime.now(UTC).date(), help="last day of the uploads, UTC [today]"
    )
    parser.add_argument("--days", type=positive, default=7, help="number of days up to that one [7]")
    parser.add_argument("--port", type=int, default=0, help=f"on {LOOPBACK} [a free one]")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    make_desk = files_desk if options.data else uploads_desk
    return exit_status(lambda: serve(make_desk(options), options), ModelError, SettingsError, OSError, ValueError)


def files_desk(options: argparse.Namespace) -> Desk:
    """The desk for a data set. Raises ModelError, OSError, ValueError."""
    model = model_folder(options.model)
    suspects = {suspect.sha256: suspect for suspect in read_suspects(model)}
    asked = ReviewModel(model)
    return Files(options.data, asked.manifest.labels, suspects, WorkerPool(_DECODED, "cpu"), asked)


def uploads_desk(options: argparse.Namespace) -> Desk:
    """The desk for the stack's uploads. Raises CommandError, ModelError, ClientError."""
    stack = describe_stack(options.stack)
    table = stack.output("ResultsTableName")
    settings = settings_of(table, stack.parameters)
    if "row" not in settings.write:
        raise CommandError(
            f"the stack {options.stack} writes no rows (parameter Write), and a review is kept in the row"
        )
    asked = ReviewModel(model_folder(options.model))
    aws_pool = WorkerPool(_CALLS, "aws")
    caller = boto3.client("sts").get_caller_identity()["Arn"]
    return Uploads(
        title=options.stack,
        labels=asked.manifest.labels,
        dates=[options.day - timedelta(days=days) for days in range(options.days)],
        buckets=frozenset(stack.buckets),
        table=table,
        dynamodb=boto3.client("dynamodb"),
        reviewer=Reviewer(
            connect(table, stack.parameters.get("EventBusName", "default")),
            settings.tag_prefix,
            caller.rpartition("/")[2],  # of a user, the name; of a role, the session's: with SSO, the address
            aws_pool,
            settings.write,
        ),
        settings=settings,
        asked=asked,
        aws_pool=aws_pool,
        cpu_pool=WorkerPool(_DECODED, "cpu"),
    )


def serve(desk: Desk, options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; returns the exit status."""
    app, token = make_app(desk)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, options.port))
            listener.listen()
        except OSError as error:
            raise CommandError(f"port {options.port} cannot be used: {error}. Name another: --port") from error
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/"
        print(f"{address}\nOnly this machine can open it, and only with the whole address. Ctrl-C ends it.", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        with nullcontext() if options.no_browser else opened(address):
            uvicorn.Server(config).run(sockets=[listener])
    return 0


@contextmanager
def opened(address: str) -> Iterator[None]:
    """The address in a browser. Its token is in a file of this user, not among the arguments of a process, which all
    users see; the file is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="review-") as private:  # mode 0700
        page = Path(private) / "review.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">', "utf-8")
        webbrowser.open(page.as_uri())
        yield


if __name__ == "__main__":
    sys.exit(main())
