"""Stage 1: the data manifest. Which pictures, with which label, in which split, and the SHA-256 of each.

A data set is a folder with `train/`, `validation/` and `test/`, each holding one folder of pictures per label; or a
folder of such label folders alone, which is then split by the content of the pictures (`splitting`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labeller.text import printable
from model_build.data import duplicates, folders, splitting
from model_build.data.folders import SPLITS, DataError, name_below

__all__ = ["SPLITS", "DataError", "Dataset", "Example", "require_enough", "scan", "spread"]

MINIMUM: Mapping[str, int] = {"train": 10, "validation": 5, "test": 5}
"""Pictures of each label that a split must have. From fewer nothing can be learnt, and nobody could tell whether it
was; what is worth shipping takes hundreds."""

LEFT_OUT_PRINTED = 5
"""Files left out that the terminal names; report.json names all."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture of the data set. `label` indexes `Dataset.labels`."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data set: labels in order of their index (sorted folder names), and the examples of each split.

    `left_out` says why of files that are not among them, by their path below `root`. `split_by_content`: the splits
    were made here, not by who made the folders.
    """

    root: Path
    labels: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    split_by_content: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over every relative path, label and content: equal digests mean the same data."""
        digest = hashlib.sha256()
        for split, examples in self.splits.items():
            for example in examples:
                name = example.path.relative_to(self.root).as_posix()
                digest.update(json.dumps([split, name, self.labels[example.label], example.sha256]).encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures per split and label."""
        return {
            split: {label: _count(examples, index) for index, label in enumerate(self.labels)}
            for split, examples in self.splits.items()
        }

    def name(self, example: Example) -> str:
        """The example's path below the data set's folder, fit for a terminal and for UTF-8."""
        return name_below(self.root, example.path)


def scan(root: Path) -> Dataset:
    """Read the data set's folders; `folders` says what counts as a picture.

    Every file is taken for a picture; whether it can be decoded shows when it is used. Of files of a label and split
    with the same content the first one counts. Raises DataError for folders that make no data set, the same picture
    under two labels or in two splits, and too few pictures of a label.
    """
    found = folders.list_files(root)
    sha256s = {path: folders.sha256_of(path) for places in found.classes.values() for paths in places for path in paths}
    left_out = dict(found.left_out)
    twice = _duplicates(found, sha256s)
    left_out |= {found.name(path): f"the same picture as {found.name(first)}" for path, first in twice.items()}
    classes = {
        place: [
            [Example(path, label, sha256s[path]) for path in paths if path not in twice]
            for label, paths in enumerate(by_label)
        ]
        for place, by_label in found.classes.items()
    }
    by_content = folders.UNSPLIT in classes
    if by_content:
        _require_enough_to_split(found.labels, classes[folders.UNSPLIT])
        classes = _split_by_content(classes[folders.UNSPLIT])
    splits = {
        split: tuple(example for examples in by_label for example in examples) for split, by_label in classes.items()
    }
    data = Dataset(root, found.labels, splits, left_out, by_content)
    for split in SPLITS:
        require_enough(data, split, splits[split])
    return data


def print_counts(data: Dataset) -> None:
    """Print the images of each split and label, and the first files that are left out."""
    for split, counts in data.counts().items():
        print(f"      {split:<10} " + ", ".join(f"{count} {printable(label)}" for label, count in counts.items()))
    if data.split_by_content:
        print("      (split by image content, because there are no folders train, validation and test)")
    for name, why in list(data.left_out.items())[:LEFT_OUT_PRINTED]:
        print(f"      left out: {name}: {why}")
    if len(data.left_out) > LEFT_OUT_PRINTED:
        print(f"      left out: {len(data.left_out) - LEFT_OUT_PRINTED} more files; report.json lists them")


def require_enough(data: Dataset, split: str, usable: Sequence[Example]) -> None:
    """Raise DataError if the usable examples of a split are too few of any label."""
    for index, label in enumerate(data.labels):
        count, given = _count(usable, index), _count(data.splits[split], index)
        if count < MINIMUM[split]:
            unread = f"; {given - count} more cannot be read" if given > count else ""
            raise DataError(
                f"too few pictures of {label!r} in {split} ({data.root}): {count} where at least {MINIMUM[split]} "
                f"are needed{unread}"
            )


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the examples, evenly spaced in order: since classes lie one after the other, each
    class gets its share, and the same data always gives the same choice."""
    count = min(count, len(examples))
    return [examples[index * len(examples) // count] for index in range(count)]


def _count(examples: Iterable[Example], label: int) -> int:
    return sum(example.label == label for example in examples)


def _duplicates(found: folders.FolderListing, sha256s: Mapping[Path, str]) -> dict[Path, Path]:
    """Files to leave out, each with the file that holds the same picture. DataError where leaving one out is no way."""
    home = {
        path: (place, label)
        for place, by_label in found.classes.items()
        for label, paths in enumerate(by_label)
        for path in paths
    }
    pairs = [(first, other) for first, *others in duplicates.groups(sha256s.items()) for other in others]
    labels = [(one, other) for one, other in pairs if home[one][1] != home[other][1]]
    if labels:
        raise DataError(
            f"{found.root} has the same picture under two labels: {_named(found, labels)}. Delete the one that is wrong"
        )
    splits = [(one, other) for one, other in pairs if home[one][0] != home[other][0]]
    if splits:
        raise DataError(
            f"{found.root} has the same picture in two splits, which makes the accuracy look better than it is: "
            f"{_named(found, splits)}. Delete one of each"
        )
    return {other: first for first, other in pairs}


def _named(found: folders.FolderListing, pairs: Sequence[tuple[Path, Path]]) -> str:
    return duplicates.named([(found.name(one), found.name(other)) for one, other in pairs])


def _require_enough_to_split(labels: Sequence[str], classes: Sequence[Sequence[Example]]) -> None:
    needed = sum(MINIMUM.values())
    for label, examples in zip(labels, classes, strict=True):
        if len(examples) < needed:
            parts = ", ".join(f"{count} for {split}" for split, count in MINIMUM.items())
            raise DataError(
                f"too few pictures of {label!r}: {len(examples)} where at least {needed} are needed ({parts})"
            )


def _split_by_content(classes: Sequence[Sequence[Example]]) -> dict[str, list[list[Example]]]:
    splits: dict[str, list[list[Example]]] = {split: [] for split in SPLITS}
    for examples in classes:
        home = splitting.split((example.sha256 for example in examples), MINIMUM)
        for split in SPLITS:
            splits[split].append([example for example in examples if home[example.sha256] == split])
    return splits
