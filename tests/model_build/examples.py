"""Examples of pictures that are no part of a data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

from model_build.data.dataset import Example


def example_of(path: Path, label: int) -> Example:
    """The example that a scan would make of the file as it is now."""
    return Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest())
