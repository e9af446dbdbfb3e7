"""What the commands share: arguments, errors and exit status, progress and confirmation."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from labeller.text import printable
from ops import local_stack

STACK_NAME = "image-labeller"  # of a stack, where none is named
USAGE, INTERRUPTED = 2, 130  # exit statuses: argparse's for wrong arguments; 128 + SIGINT


class CommandError(Exception):
    """A command cannot do what it was asked. The message is all that is printed: it says why, and what to do."""

    exit_code = 1


def exit_status(command: Callable[[], int], *expected: type[Exception]) -> int:
    """Run `command` and return its exit status; print an expected error as one line, `error: ...`.

    Expected are CommandError, the errors of AWS's client and the types `expected`; others are bugs and pass through.
    """
    errors: tuple[type[Exception], ...] = (CommandError, ClientError, BotoCoreError, *expected)
    try:
        return command()
    except errors as error:
        message = printable(error_message(error), keep="\n")  # it may name a hostile key
        print(f"error: {message}", file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def error_message(error: Exception) -> str:
    """The message of an error, with what to do about a region or credentials that are missing."""
    if isinstance(error, NoRegionError):
        return "no AWS region is set. Name that of your stack: AWS_DEFAULT_REGION=eu-central-1, or `aws configure`"
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials on this machine. Run `aws configure` or `aws sso login`, or set AWS_PROFILE=..."
    return str(error)


@dataclass
class Console:
    """Shows progress and asks for confirmation."""

    yes: bool = False  # every question is answered beforehand
    ask: Callable[[str], str] = input
    _progress: str = ""

    def print(self, line: str) -> None:
        """Print a line that stays."""
        print(f"\n{line}" if sys.stdout.isatty() and self._progress else line, flush=True)
        self._progress = ""

    def show_progress(self, line: str) -> None:
        """Print a line of progress, unless it is the same as the last; on a terminal it replaces the last."""
        if line != self._progress:
            text, end = (f"\r{line:<100}", "") if sys.stdout.isatty() else (line, "\n")
            print(text, end=end, flush=True)
            self._progress = line

    def confirms(self, question: str) -> bool:
        """Whether the user answers yes. Without standard input the answer is no."""
        if self.yes:
            return True
        try:
            return self.ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False


# ---- arguments --------------------------------------------------------------------------------------------


def command_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m NAME`; its description is the first line of the module's docstring."""
    return argparse.ArgumentParser(prog=f"python -m {name}", description=(doc or "").strip().split("\n")[0])


def add_stack_argument(parser: argparse._ActionsContainer) -> None:
    """Add `--stack`."""
    parser.add_argument(
        "--stack",
        type=stack,
        default=STACK_NAME,
        help=f"name of the deployed stack, or {local_stack.LOCAL}: that of `make local` [{STACK_NAME}]",
    )


def stack(text: str) -> str:
    """A stack's name; `local` points this process to the stack of `make local`. Raises ArgumentTypeError."""
    if text == local_stack.LOCAL:
        try:
            local_stack.enter()
        except FileNotFoundError as error:
            raise argparse.ArgumentTypeError("no stack runs on this machine. Start one: make local") from error
    return text


def day(text: str) -> date:
    """A day as 2026-11-23. Raises ArgumentTypeError."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a day is written 2026-11-23, not {text!r}") from error


def positive(text: str) -> int:
    """A whole number of 1 or more. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of 1 or more, not {text!r}")
    return int(text)


def folder(text: str) -> Path:
    """The path of a folder. Raises ArgumentTypeError for the empty text, which would be the current folder.

    make passes it for a variable without a value.
    """
    if not text:
        raise argparse.ArgumentTypeError("no folder is named (make: DIR=... or MODEL=...)")
    return Path(text)
