"""Stage 1: the data manifest. Which pictures, with which label, in which split, and the SHA-256 of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labeller.records import RESERVED_LABELS

SPLITS = ("train", "validation", "test")


class DataError(Exception):
    """The data set cannot be used; the message says which folder and what is expected there."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture of the data set. `label` indexes `Dataset.labels`."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data set: labels in order of their index (sorted folder names), and the examples of each split."""

    root: Path
    labels: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]

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
            split: {
                label: sum(example.label == index for example in examples) for index, label in enumerate(self.labels)
            }
            for split, examples in self.splits.items()
        }


def scan(root: Path) -> Dataset:
    """Read the data set's folders.

    Every file is taken for a picture but hidden ones; whether it can be decoded shows when it is used.
    Raises DataError for a missing folder, labels that differ between splits, fewer than two labels, a label
    the records reserve, or an empty class.
    """
    for split in SPLITS:
        if not (root / split).is_dir():
            raise DataError(
                f"no folder {root / split}. A data set is a folder with train/, validation/ and test/, "
                "each with one folder of pictures per label; name yours with --data (make: DATA=...)"
            )
    labels = _class_names(root / SPLITS[0])
    if len(labels) < 2:
        raise DataError(f"{root / SPLITS[0]} needs at least two class folders, found {len(labels)}: {labels}")
    if reserved := sorted(set(labels) & RESERVED_LABELS):
        raise DataError(f"{root}: {reserved} are names of outcomes; rename those class folders")
    for split in SPLITS[1:]:
        if _class_names(root / split) != labels:
            raise DataError(
                f"{root / split} has the classes {_class_names(root / split)}, "
                f"{root / SPLITS[0]} has {labels}; all splits need the same"
            )
    splits = {
        split: tuple(
            example for index, label in enumerate(labels) for example in _examples(root / split / label, index)
        )
        for split in SPLITS
    }
    return Dataset(root, tuple(labels), splits)


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the examples, evenly spaced in order: since classes lie one after the other, each
    class gets its share, and the same data always gives the same choice."""
    count = min(count, len(examples))
    return [examples[index * len(examples) // count] for index in range(count)]


def _class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _examples(folder: Path, label: int) -> list[Example]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise DataError(f"{folder} holds no pictures")
    return [Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]
