"""What a build need not do twice: results kept under a key made of everything that they depend on.

It may be deleted at any time (`make clean` does), be damaged, or not be writable: what it cannot give is computed
again; what it cannot take is said once, and the build goes on. Equal keys must mean equal results: nothing expires.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from labeller.images import Reason, Unreadable

LIMIT = 4_000_000_000
"""Bytes that the cache may hold; what was not used for longest goes first. The features of 3,000 photographs at 224
pixels, of the INT8 base and flipped too, are 0.6 GB."""

ABANDONED = 3600
"""Seconds after which a file half written is taken for one of a killed build."""

FORMAT = 1
"""Part of every key: entries of an older layout are never read."""

CachedRow = np.ndarray | Unreadable

T = TypeVar("T")


def key_of(*parts: object) -> str:
    """SHA-256 over parts that JSON can write: what a result depends on."""
    return hashlib.sha256(json.dumps([FORMAT, *parts], sort_keys=True).encode()).hexdigest()


def source_of(*modules: str | None) -> str:
    """SHA-256 over the source of modules, given by their `__file__`."""
    digest = hashlib.sha256()
    for path in modules:
        digest.update(Path(str(path)).read_bytes())
    return digest.hexdigest()


@cache
def cache_in(folder: Path) -> Cache:
    """The cache of that folder: one for the process, so that what is wrong with it is said once."""
    return Cache(folder)


class Cache:
    """A folder of results. Made when it is first written to."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self.reused = 0
        self._new: set[tuple[str, str]] = set()
        self._said: set[str] = set()

    def begin(self) -> None:
        """Count from now on, as `reused`, the files and rows that are given out and were there before."""
        self.reused = 0
        self._new.clear()

    def files(self, key: str, places: Sequence[Path], make: Callable[[], T]) -> T | None:
        """Copy the files kept under `key` to `places` and return None; else call `make`, which writes them, keep copies
        and return its result. ValueError if two files have the same name, even in different folders."""
        if len({place.name for place in places}) < len(places):
            raise ValueError(f"files are kept by their names, and these share some: {places}")
        entries = [self.folder / f"{key}-{place.name}" for place in places]
        contents = [self._content(entry) for entry in entries]
        if None not in contents:
            for place, content in zip(places, contents, strict=True):
                place.write_bytes(content or b"")
            self._count(key, (place.name for place in places))
            return None
        made = make()
        self._new.update((key, place.name) for place in places)
        for entry, place in zip(entries, places, strict=True):
            self._keep(entry, place.read_bytes())
        return made

    def rows(self, key: str, names: Sequence[str]) -> Mapping[str, CachedRow]:
        """The rows kept under `key` among `names` (SHA-256 of pictures): an array, or why there is none."""
        path = self._table(key)
        found: dict[str, CachedRow] = {}
        try:
            if not path.is_file() or not path.stat().st_size:
                return found
            with _connected(path) as table:
                for name in names:
                    stored = table.execute(
                        "SELECT shape, dtype, reason, body, check_sum FROM rows WHERE name = ?", (name,)
                    )
                    row = _unpack(name, stored.fetchone())
                    if row is not None:
                        found[name] = row
            _touch(path)
        except OSError:  # another build's trimming was faster, or its folder may not be looked into
            return {}
        except sqlite3.DatabaseError as error:
            if not _is_out_of_reach(error):
                self._say("damaged", f"{path} is damaged ({error}); its content is computed again")
                self._drop(path)
            return {}
        self._count(key, found)
        return found

    def add_rows(self, key: str, rows: Iterable[tuple[str, CachedRow]]) -> None:
        """Keep rows under `key`, all of them or none."""
        path = self._table(key)
        rows = list(rows)
        self._new.update((key, name) for name, _ in rows)
        with self._writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _connected(path) as table:
                table.execute(
                    "CREATE TABLE IF NOT EXISTS rows "
                    "(name TEXT PRIMARY KEY, shape TEXT, dtype TEXT, reason TEXT, body BLOB, check_sum INTEGER)"
                )
                table.executemany(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", (_pack(*row) for row in rows)
                )

    def trim(self) -> None:
        """Delete what was not used for longest until the rest fits the limit, and what killed builds left behind."""
        with suppress(OSError):
            entries = [(path.stat(), path) for path in self.folder.iterdir() if path.is_file()]
            for status, path in entries:
                if path.suffix == ".partial" and time.time() - status.st_mtime > ABANDONED:
                    path.unlink(missing_ok=True)
            entries.sort(key=lambda entry: entry[0].st_mtime)
            total = sum(status.st_size for status, _ in entries)
            for status, path in entries:
                if total <= self.limit:
                    break
                path.unlink(missing_ok=True)
                total -= status.st_size

    def _count(self, key: str, names: Iterable[str]) -> None:
        self.reused += sum((key, name) not in self._new for name in names)

    def _table(self, key: str) -> Path:
        return self.folder / f"{key}.sqlite"

    def _content(self, entry: Path) -> bytes | None:
        """What was kept, or None. Its SHA-256 comes first in the file."""
        try:
            checksum, content = _halves(entry.read_bytes())
            _touch(entry)
        except OSError:
            return None
        if hashlib.sha256(content).digest() != checksum:
            self._say("damaged", f"{entry} is damaged; it is made again")
            return None
        return content

    def _keep(self, entry: Path, content: bytes) -> None:
        new = entry.with_name(f"{entry.name}.{os.getpid()}.partial")
        with self._writing(entry):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                new.write_bytes(hashlib.sha256(content).digest() + content)
                new.replace(entry)
            finally:
                with suppress(OSError):
                    new.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, entry: Path) -> Iterator[None]:
        """A cache that cannot be written costs time, not the build."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._say("full", f"{entry.parent} cannot be written ({error}); the build goes on without")

    def _drop(self, path: Path) -> None:
        for file in (path, path.with_name(f"{path.name}-journal")):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _say(self, kind: str, what: str) -> None:
        if kind not in self._said:
            print(f"      cache: {what}", file=sys.stderr, flush=True)
        self._said.add(kind)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on a table of rows, whole or nothing even when the process is killed. Nothing waits for the disk:
    what a power failure damages, the check sums find."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            yield connection
    finally:
        connection.close()


def _touch(path: Path) -> None:
    """Have it count as used now, if it is ours to say so."""
    with suppress(OSError):
        os.utime(path)


def _pack(name: str, row: CachedRow) -> tuple[str, str, str, str, bytes, int]:
    if isinstance(row, Unreadable):
        head, body = ("", "", row.reason.value), row.detail.encode()
    else:
        head, body = (json.dumps(row.shape), row.dtype.str, ""), np.ascontiguousarray(row).tobytes()
    return name, *head, body, _check_sum(name, *head, body)


def _unpack(name: str, stored: tuple[str, str, str, bytes, int] | None) -> CachedRow | None:
    """The row, or None if there is none or it is not what was written."""
    if stored is None:
        return None
    shape, dtype, reason, body, check_sum = stored
    if not isinstance(body, bytes) or _check_sum(name, shape, dtype, reason, body) != check_sum:
        return None
    if reason:
        return Unreadable(Reason(reason), body.decode())
    return np.frombuffer(body, dtype).reshape(json.loads(shape))


def _check_sum(name: str, shape: str, dtype: str, reason: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(f"{name}\n{shape}\n{dtype}\n{reason}".encode()))


def _is_out_of_reach(error: sqlite3.DatabaseError) -> bool:
    """The table may be sound: another build writes to it, or it may not be read by us."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # what is above tells kinds of one error apart
    return code in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    )


def _halves(content: bytes) -> tuple[bytes, bytes]:
    length = hashlib.sha256().digest_size
    return content[:length], content[length:]
