"""The files of a data set's folders.

Every file in a label's folder and below counts as an image, except hidden ones (".name", and files in hidden folders).
Links to files count, and a label's folder may be a link; links to folders below it are not followed, because they may
form a cycle.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from evaluation.folders import is_hidden, label_of
from labeller.images import Reason, Unreadable
from labeller.records import tag_value
from labeller.results import OTHER, RESERVED_LABELS
from labeller.settings import DEFAULTS
from labeller.text import printable

SPLITS = ("train", "validation", "test")

UNSPLIT = "pictures"
"""Takes the place of the splits in a data set without them."""

EXPECTED = (
    "A data set is a folder with train/, validation/ and test/, each with one folder of pictures per label, or a "
    "folder of such label folders alone; name yours with --data (make: DATA=...)"
)

MAX_BYTES = int(DEFAULTS["MAX_IMAGE_BYTES"])

SECONDS = 120.0
"""Of wall time to decode a picture, many times the functions' own: every processor is busy with the build."""

SPLIT_LIKE = frozenset({*SPLITS, "training", "val", "valid", "testing"})
"""Lower-case names that a folder of label folders may have, but a label should not."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that break lines and steer terminals."""


class DataError(Exception):
    """The data set cannot be used; the message names the folder or file and what is expected."""


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The files of a data set.

    `classes` holds, for each split or for UNSPLIT alone, the files of every label in the order of `labels`, then those
    of the folder OTHER. `left_out` gives the reason for each file that is not used, by its name.
    """

    root: Path
    labels: tuple[str, ...]
    classes: dict[str, list[list[Path]]]
    left_out: Mapping[str, str]

    def name(self, path: Path) -> str:
        """The file's path below `root`, printable."""
        return name_below(self.root, path)


def list_files(root: Path) -> FolderListing:
    """List the files of the data set at `root`.

    DataError for a missing or unreadable folder, labels that differ between splits, fewer than two labels, and labels
    that are unusable or equal as tags.
    """
    left_out: dict[Path, str] = {}
    try:
        splits = _split_folders(root)
        folders = {split: label_folders(folder, left_out) for split, folder in splits.items()}
        others = {split: by_label.pop(OTHER, None) for split, by_label in folders.items()}
        labels = _labels(splits, folders)
        classes = {
            split: [
                files_below(folder, left_out) if folder else []
                for folder in (*map(by_label.get, labels), others[split])
            ]
            for split, by_label in folders.items()
        }
        if UNSPLIT not in splits:
            beside = [path for path in _folders(root) if path.name not in SPLITS]
            left_out |= dict.fromkeys(beside, "a folder beside train, validation and test")
    except OSError as error:
        raise DataError(f"{error.filename or root} cannot be read: {error.strerror}") from error
    named = {name_below(root, path): reason for path, reason in sorted(left_out.items())}
    return FolderListing(root, tuple(labels), classes, named)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content. DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def content_of(path: Path) -> bytes:
    """An image file's content. OSError; Unreadable above the functions' default limit, where nothing is labelled."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Unreadable(Reason.TOO_LARGE, f"{size} bytes, more than the limit of {MAX_BYTES}")
    return path.read_bytes()


def name_below(root: Path, path: Path) -> str:
    """The path below `root`, printable."""
    return printable(path.relative_to(root).as_posix())


def require_folder(root: Path) -> None:
    """Raise DataError if there is no folder `root`."""
    if not root.is_dir():
        problem = "is a file; unpack it if it is an archive" if root.is_file() else "does not exist"
        raise DataError(f"no folder {root}: it {problem}. {EXPECTED}")


def _split_folders(root: Path) -> dict[str, Path]:
    require_folder(root)
    folders = _folders(root)
    if set(SPLITS) <= {folder.name for folder in folders}:
        return {split: root / split for split in SPLITS}
    alike = [f.name for f in folders if f.name.lower() in SPLIT_LIKE and any(map(Path.is_dir, f.iterdir()))]
    if alike:
        missing = next(split for split in SPLITS if not (root / split).is_dir())
        raise DataError(f"no folder {root / missing} beside {', '.join(sorted(alike))}. {EXPECTED}")
    return {UNSPLIT: root}


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)]


def label_folders(folder: Path, left_out: dict[Path, str]) -> dict[str, Path]:
    """The folders in `folder` by label; files beside them are added to `left_out`.

    DataError if two have the same label, or if a name cannot be one.
    """
    by_label: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if is_hidden(entry.name):
            continue
        if not entry.is_dir():
            left_out[entry] = "a file beside the label folders"
            continue
        label = label_of(entry.name)
        if not label.strip() or not _is_utf8(label) or _CONTROL.search(label):
            raise DataError(f"{folder}: the folder name {label!r} cannot be a label; rename it")
        if label in by_label:
            raise DataError(f"{folder} has two folders whose names read {label!r}; put their pictures into one")
        by_label[label] = entry
    return by_label


def _labels(splits: Mapping[str, Path], label_folders: Mapping[str, Mapping[str, Path]]) -> list[str]:
    first, *others = splits
    labels = sorted(label_folders[first])
    for other in others:
        if sorted(label_folders[other]) != labels:
            raise DataError(
                f"{splits[other]} has the labels {sorted(label_folders[other])}, {splits[first]} has {labels}; "
                "all splits need the same labels"
            )
    if len(labels) < 2:
        raise DataError(f"{splits[first]} needs at least two label folders, found {len(labels)}: {labels}. {EXPECTED}")
    _require_usable(splits[first], labels)
    return labels


def _require_usable(folder: Path, labels: Sequence[str]) -> None:
    if reserved := sorted(set(labels) & RESERVED_LABELS):
        raise DataError(f"{folder}: {reserved} are names of outcomes; rename those label folders")
    by_tag: dict[str, str] = {}
    for label in labels:
        other = by_tag.setdefault(tag_value(label), label)
        if other != label:
            raise DataError(
                f"{folder}: the labels {other!r} and {label!r} would be the same tag, {tag_value(label)!r}, because S3 "
                "accepts only letters, digits, spaces and + - = . _ : / @ in tags; rename one"
            )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python reads other bytes of a name as surrogates
        return False
    return True


def files_below(folder: Path, left_out: dict[Path, str]) -> list[Path]:
    """The files in a label's folder and below, in order; those that cannot be pictures are added to `left_out`."""
    files: list[Path] = []
    for parent, children, names in os.walk(folder, onerror=_raise):
        children[:] = [child for child in children if not is_hidden(child)]
        for child in children:
            if (path := Path(parent, child)).is_symlink():
                left_out[path] = "a link to a folder below a label's folder; not followed"
        for path in (Path(parent, name) for name in names if not is_hidden(name)):
            if reason := _reason_to_leave_out(path, path.relative_to(folder).as_posix()):
                left_out[path] = reason
            else:
                files.append(path)
    return sorted(files)


def _reason_to_leave_out(path: Path, name: str) -> str | None:
    if not _is_utf8(name):  # an object's key is
        return "its name is not UTF-8; rename it"
    try:
        if not S_ISREG(path.stat().st_mode):
            return "not a file"
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return "a broken link"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"


def _raise(error: OSError) -> None:
    raise error
