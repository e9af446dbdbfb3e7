"""Makes a folder's bytes depend on its content alone, not on the machine, the user or the time."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

# The installer's notes: its name, that the user asked for the distribution, the path of its wheel.
NOTES = ("INSTALLER", "REQUESTED", "direct_url.json")

# 1 January 1980, UTC: the earliest time that a zip file can hold, and the one that the SAM CLI writes.
TIMESTAMP = 315_532_800


def drop_notes(python: Path) -> None:
    """Delete the installer's notes from the distributions in `python`, and the absent files from their RECORD.

    pip records the pruned files too, such as the scripts in bin/, whose first lines name the machine's interpreter.
    """
    for metadata in python.glob("*.dist-info"):
        for note in NOTES:
            (metadata / note).unlink(missing_ok=True)
        record = metadata / "RECORD"
        if record.is_file():
            rows = csv.reader(record.read_text("utf-8").splitlines())
            present = sorted(row for row in rows if row and (python / row[0]).is_file())
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(present)
            record.write_text(text.getvalue(), encoding="utf-8")


def normalise(folder: Path) -> None:
    """Set one time for everything under `folder`, and modes that let everybody read: Lambda has a user of its own."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (TIMESTAMP, TIMESTAMP))


def tree_digest(folder: Path) -> str:
    """SHA-256 over the paths, modes, times and contents of all files under `folder`. Equal digests mean equal zips."""
    digest = hashlib.sha256()
    for path in sorted(files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        status = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{status.st_mode & 0o777:o}\0{int(status.st_mtime)}\0{content}\n".encode())
    return digest.hexdigest()


def files(folder: Path) -> Iterator[Path]:
    """All files under `folder`, in no particular order."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
