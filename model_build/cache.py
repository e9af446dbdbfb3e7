"""Results that the next build can reuse, each in a file of its own, under a key of everything it depends on.

The folder may be deleted at any time. A damaged or missing entry is computed again; a folder that cannot be written is
reported once, and the build goes on. Equal keys must mean equal results: nothing expires.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np

from labeller.images import Reason, Unreadable

LIMIT = 4_000_000_000  # bytes; the features of 3,000 photographs at 224 pixels, plain and mirrored, are 0.6 GB
ABANDONED = 3600  # seconds after which a partial file is taken for one of a killed build
FORMAT = 2  # part of every key, so that entries of an older layout are never read

CachedRow = np.ndarray | Unreadable
T = TypeVar("T")


def key_of(*parts: object) -> str:
    """SHA-256 over everything a result depends on, as JSON."""
    return hashlib.sha256(json.dumps([FORMAT, *parts], sort_keys=True).encode()).hexdigest()


def source_of(*modules: str | None) -> str:
    """SHA-256 over the source of modules, given by their `__file__`."""
    return hashlib.sha256(b"".join(Path(str(module)).read_bytes() for module in modules)).hexdigest()


@cache
def cache_in(folder: Path) -> Cache:
    """The process's only cache in that folder, so that a problem is reported once."""
    return Cache(folder)


class Cache:
    """A folder of results, created on the first write. An entry is the SHA-256 of a content, then the content."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit, self.reused = folder, limit, 0
        self._new: set[Path] = set()
        self._reported: set[str] = set()

    def begin(self) -> None:
        """Start a build: `reused` counts the entries read from now on that an earlier build wrote."""
        self.reused = 0
        self._new.clear()

    def files(self, key: str, paths: Sequence[Path], make: Callable[[], T]) -> T | None:
        """Copy the files kept under `key` to `paths` and return None; else call `make`, which writes them, keep copies
        and return its result."""
        entries = [self.folder / f"{key}-{number}-{path.name}" for number, path in enumerate(paths)]
        contents = [content for entry in entries if (content := self._read(entry)) is not None]
        if len(contents) == len(paths):
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            self.reused += sum(entry not in self._new for entry in entries)
            return None
        made = make()
        for entry, path in zip(entries, paths, strict=True):
            self._write(entry, path.read_bytes())
        return made

    def rows(self, key: str, names: Iterable[str]) -> dict[str, CachedRow]:
        """The rows kept under `key` by name (SHA-256 of an image): an array, or why the image is unreadable."""
        rows: dict[str, CachedRow] = {}
        for name in names:
            entry = self.folder / f"{key}-{name}"
            if (content := self._read(entry)) is not None:
                row = np.load(BytesIO(content), allow_pickle=False)
                rows[name] = Unreadable(Reason(str(row[0])), str(row[1])) if row.dtype.kind == "U" else row
                self.reused += entry not in self._new
        return rows

    def add_rows(self, key: str, rows: Iterable[tuple[str, CachedRow]]) -> None:
        """Keep rows under `key`, as NumPy files; the reason of an unreadable image as two strings."""
        for name, row in rows:
            file = BytesIO()
            np.save(file, [row.reason.value, row.detail] if isinstance(row, Unreadable) else row, allow_pickle=False)
            self._write(self.folder / f"{key}-{name}", file.getvalue())

    def trim(self) -> None:
        """Delete partial files of killed builds, and the least recently used entries above the limit."""
        with suppress(OSError):
            statuses = {path: path.stat() for path in self.folder.iterdir()}
            size = sum(status.st_size for status in statuses.values())
            for path, status in sorted(statuses.items(), key=lambda item: item[1].st_mtime):
                abandoned = path.suffix == ".partial" and time.time() - status.st_mtime > ABANDONED
                if abandoned or size > self.limit:
                    path.unlink(missing_ok=True)
                    size -= status.st_size

    def _read(self, entry: Path) -> bytes | None:
        """The content of an entry, which counts as used now; None if it is missing, unreadable or damaged."""
        try:
            stored = entry.read_bytes()
        except OSError:
            return None
        checksum, content = stored[:32], stored[32:]
        if hashlib.sha256(content).digest() != checksum:
            self._report("damaged", f"{entry} is damaged; it is computed again")
            return None
        with suppress(OSError):  # a read-only cache is read all the same
            os.utime(entry)
        return content

    def _write(self, entry: Path, content: bytes) -> None:
        """Write beside the entry and rename: concurrent and killed builds leave whole entries only."""
        self._new.add(entry)
        partial = entry.with_name(f"{entry.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(entry)
        except OSError as error:
            self._report("unwritable", f"{self.folder} cannot be written ({error}); the build goes on without it")
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _report(self, problem: str, message: str) -> None:
        """Print a message on standard error, once for each kind of problem."""
        if problem not in self._reported:
            self._reported.add(problem)
            print(f"      cache: {message}", file=sys.stderr, flush=True)
