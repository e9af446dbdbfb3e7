"""Replace a finished folder as a whole, or not at all.

The new folder is filled beside the old one and exchanged with it in one step (renameat2, Linux), so that a complete
model always exists. Where the file system cannot exchange, two renames replace it; if the process is killed between
them, the next build restores the old folder from `<name>.previous`. A build killed at any other time leaves the old
folder untouched, and a `<name>.partial` that the next build clears.
"""

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
    """The folder cannot be written; the message says why."""


@contextmanager
def atomic_folder(out: Path, marker: str) -> Iterator[Path]:
    """An empty folder to fill, which replaces `out` if the block succeeds; otherwise it is deleted and `out` stays.

    OutputError if another build is running, or if `out` has files but none called `marker`.
    OSError if the disk is full.
    """
    out = Path(os.path.realpath(out))
    partial, previous = out.with_name(f"{out.name}.partial"), out.with_name(f"{out.name}.previous")
    if previous.exists() and not out.exists():
        previous.rename(out)  # a build was killed between two renames
    if out.exists() and not (out / marker).exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out} exists and was not made here ({marker} is missing); move it away or name another folder"
        )
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial):
        _clear(partial)
        if out.exists():
            shutil.rmtree(previous, ignore_errors=True)
        try:
            yield partial
            _sync(partial)
            # After the exchange the old folder is at `partial` until it is deleted: keep other builds off it.
            with _locked(out) if out.exists() else nullcontext():
                replaced = _replace(partial, out, previous)
                if replaced:
                    shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def detect_full_disk(folder: Path, needed: int) -> Iterator[None]:
    """Turn an error of the block into OSError (ENOSPC) if `folder` has fewer than `needed` bytes left.

    For native code that does not check its writes: the file is only found damaged when it is read.
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
    """Hold the folder's lock; it ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another build is writing to {folder}; wait until it ends") from error
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sync(folder: Path) -> None:
    """Flush everything to disk before the old folder goes: a full disk or a power failure may only show now."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(new: Path, out: Path, previous: Path) -> Path | None:
    """Put `new` at `out`; returns where the old folder is now, `new` or `previous`, or None if there was none."""
    if not out.exists():
        new.rename(out)
        return None
    if _exchange(new, out):
        return new
    out.rename(previous)
    try:
        new.rename(out)
    except OSError:
        previous.rename(out)
        raise
    return previous


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    folders = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return rename is not None and rename(*folders, _RENAME_EXCHANGE) == 0
