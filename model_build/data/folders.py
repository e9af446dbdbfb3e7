"""The folders of a data set, as people make them: which files are its pictures, and what is none of them.

In a label's folder and the folders below it every file is a picture but hidden ones (".name", and what is in a hidden
folder). A link to a file counts as the file, and a label's folder may be a link; links to folders below it are not
followed, since they may lead in circles.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from labeller.images import Reason, Unreadable
from labeller.records import tag_value
from labeller.results import RESERVED_LABELS
from labeller.settings import DEFAULTS
from labeller.text import printable

SPLITS = ("train", "validation", "test")

UNSPLIT = "pictures"
"""Stands for the splits where there are none: all pictures of a label in one folder."""

EXPECTED = (
    "A data set is a folder with train/, validation/ and test/, each with one folder of pictures per label, or a "
    "folder of such label folders alone; name yours with --data (make: DATA=...)"
)

MAX_BYTES = int(DEFAULTS["MAX_IMAGE_BYTES"])

LIKE_A_SPLIT = frozenset({*SPLITS, "training", "val", "valid", "testing"})
"""Names of folders that hold label folders and are no labels, in lower case."""


class DataError(Exception):
    """The data set cannot be used; the message says which folder or file, and what is expected."""


@dataclass(frozen=True, slots=True)
class FolderListing:
    """What lies in a data set's folder.

    `classes` holds for each split, or for UNSPLIT alone, the files of every label in the order of `labels`; `left_out`
    says why of other files, by their name.
    """

    root: Path
    labels: tuple[str, ...]
    classes: dict[str, list[list[Path]]]
    left_out: Mapping[str, str]

    def name(self, path: Path) -> str:
        """The file's path below the data set's folder, fit for a terminal and for UTF-8."""
        return name_below(self.root, path)


def list_files(root: Path) -> FolderListing:
    """List the data set's files. Raises DataError for a missing folder or one that cannot be listed, labels that differ
    between splits, fewer than two labels, and labels that nobody could tell apart."""
    left_out: dict[Path, str] = {}
    try:
        places = _places(root)
        label_folders = {place: _label_folders(folder, left_out) for place, folder in places.items()}
        labels = _labels(places, label_folders)
        classes = {
            place: [_files(by_label[label], left_out) for label in labels] for place, by_label in label_folders.items()
        }
        if UNSPLIT not in places:
            left_out |= dict.fromkeys(_beside(root), "a folder beside train, validation and test")
    except OSError as error:
        raise DataError(f"{error.filename or root} cannot be read: {error.strerror}") from error
    named = {name_below(root, path): why for path, why in sorted(left_out.items())}
    return FolderListing(root, tuple(labels), classes, named)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, read piece by piece: it may be anything."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def content_of(path: Path) -> bytes:
    """The content of a picture's file. Raises OSError, and Unreadable for one of more bytes than the functions take by
    default: it would not be labelled either, and what lies among pictures may be of any size."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Unreadable(Reason.TOO_LARGE, f"{size} bytes, more than the limit of {MAX_BYTES}")
    return path.read_bytes()


def name_below(root: Path, path: Path) -> str:
    """The path below `root`, with escapes for what a terminal would obey and UTF-8 cannot hold."""
    return printable(path.relative_to(root).as_posix())


def _places(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        what = "is a file; unpack it if it is an archive" if root.is_file() else "does not exist"
        raise DataError(f"no folder {root}: it {what}. {EXPECTED}")
    entries = [entry for entry in root.iterdir() if entry.is_dir() and not _hidden(entry)]
    if not set(SPLITS) <= {entry.name for entry in entries}:
        alike = sorted(e.name for e in entries if e.name.lower() in LIKE_A_SPLIT and any(map(Path.is_dir, e.iterdir())))
        if alike:
            missing = next(split for split in SPLITS if not (root / split).is_dir())
            raise DataError(f"no folder {root / missing} beside {', '.join(alike)}. {EXPECTED}")
        return {UNSPLIT: root}
    return {split: root / split for split in SPLITS}


def _beside(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not _hidden(path) and path.name not in SPLITS]


def _label_folders(folder: Path, left_out: dict[Path, str]) -> dict[str, Path]:
    """The folders in `folder` by their label. Two systems may write the same name in different Unicode: NFC counts."""
    by_label: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if _hidden(entry):
            continue
        if not entry.is_dir():
            left_out[entry] = "a file beside the label folders"
            continue
        label = unicodedata.normalize("NFC", entry.name)
        if label in by_label:
            raise DataError(f"{folder} has two folders whose names read {label!r}; put their pictures into one")
        by_label[label] = entry
    return by_label


def _labels(places: Mapping[str, Path], label_folders: Mapping[str, Mapping[str, Path]]) -> list[str]:
    first, *others = places
    labels = sorted(label_folders[first])
    for other in others:
        if sorted(label_folders[other]) != labels:
            raise DataError(
                f"{places[other]} has the labels {sorted(label_folders[other])}, {places[first]} has {labels}; "
                "all splits need the same"
            )
    if len(labels) < 2:
        raise DataError(f"{places[first]} needs at least two label folders, found {len(labels)}: {labels}. {EXPECTED}")
    _require_names(places[first], labels)
    return labels


def _require_names(folder: Path, labels: Sequence[str]) -> None:
    if reserved := sorted(set(labels) & RESERVED_LABELS):
        raise DataError(f"{folder}: {reserved} are names of outcomes; rename those label folders")
    by_tag: dict[str, str] = {}
    for label in labels:
        if not label.strip() or not _is_text(label):
            raise DataError(f"{folder}: the folder name {label!r} is no text that could be a label; rename it")
        other = by_tag.setdefault(tag_value(label), label)
        if other != label:
            raise DataError(
                f"{folder}: the labels {other!r} and {label!r} would be the same tag, {tag_value(label)!r}, since S3 "
                "accepts only letters, digits, spaces and + - = . _ : / @ in tags; rename one"
            )


def _is_text(label: str) -> bool:
    try:
        label.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 come as surrogates
        return False
    return True


def _files(folder: Path, left_out: dict[Path, str]) -> list[Path]:
    files = []
    for parent, children, names in os.walk(folder, onerror=_raise):
        for child in [child for child in children if (Path(parent) / child).is_symlink() and not _hidden(Path(child))]:
            left_out[Path(parent) / child] = "a link to a folder below a label's folder; not followed"
        children[:] = [child for child in children if not _hidden(Path(child))]
        for path in (Path(parent) / name for name in names if not _hidden(Path(name))):
            why = _unusable(path)
            if why:
                left_out[path] = why
            else:
                files.append(path)
    return sorted(files)


def _unusable(path: Path) -> str | None:
    try:
        if not S_ISREG(path.stat().st_mode):
            return "not a file"
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return "a link that leads nowhere"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _raise(error: OSError) -> None:
    raise error


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
