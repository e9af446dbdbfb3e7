"""A finished folder in the place of the previous one: whole, or not at all.

The new folder is made beside the old one and then exchanged with it in one step (renameat2, Linux), so that there is
a model at every moment and whoever opens the folder finds all of one build. Where system or file system know no
exchange, two renames do it; killed in the moment between them, the next build puts the old folder, then called
`<name>.previous`, back. Killed at any other time, a build leaves the old folder byte for byte as it was, and a
`<name>.partial` that the next one removes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux, <fcntl.h> and <linux/fs.h>


class OutputError(Exception):
    """The folder cannot be written to; the message says why."""


@contextmanager
def atomic_folder(out: Path, marker: str) -> Iterator[Path]:
    """An empty folder to build in, which takes the place of `out` when the block ends well.

    However else it ends, `out` is left as it was and the new folder is removed. OutputError if another build is at it,
    or if `out` is something that nobody built: it has files, and none called `marker`. OSError if the disk is full.
    """
    out = Path(os.path.realpath(out))
    partial, previous = (out.with_name(f"{out.name}.{which}") for which in ("partial", "previous"))
    if previous.exists() and not out.exists():
        previous.rename(out)  # a build was killed between two renames
    if out.exists() and not (out / marker).exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there and is no model ({marker} is missing); move it away or name another place")
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial):
        _clear(partial)
        if out.exists():
            shutil.rmtree(previous, ignore_errors=True)
        try:
            yield partial
            _write_through(partial)
            # What is replaced may lie at `partial` for a moment: locked, so that no other build takes it for its own.
            with _locked(out) if out.exists() else nullcontext():
                replaced = _exchange(partial, out, previous)
                if replaced:
                    shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def detect_full_disk(folder: Path, needed: int) -> Iterator[None]:
    """Raise OSError (ENOSPC) for what goes wrong in the block while `folder` has fewer than `needed` bytes left.

    For native code that does not look whether its writes succeed: what it wrote turns out damaged when it is read.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if shutil.disk_usage(folder).free >= needed:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another build is at work in {folder}; wait for it") from error
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_through(folder: Path) -> None:
    """Have everything on the disk before the old folder goes: a full disk or a power failure may show only now."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exchange(new: Path, out: Path, previous: Path) -> Path | None:
    """`new` becomes `out`; returns where that is which was there before, `new` or `previous`, if anything was."""
    if not out.exists():
        new.rename(out)
        return None
    if _exchanged(new, out):
        return new
    out.rename(previous)
    try:
        new.rename(out)
    except OSError:
        previous.rename(out)
        raise
    return previous


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    result: int = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return result == 0
