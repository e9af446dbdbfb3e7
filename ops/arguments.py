"""Arguments that several commands take, with messages that say what would do."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path


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
    """A folder that is named: the empty text, which make passes on where nothing is, would be the checkout itself.

    Raises ArgumentTypeError.
    """
    if not text:
        raise argparse.ArgumentTypeError("no folder is named (make: DIR=... or MODEL=...)")
    return Path(text)
