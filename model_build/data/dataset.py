"""The data set: which images, with which label, in which split, and the SHA-256 of each.

A data set is a folder with `train/`, `validation/` and `test/`, each with a folder of images per label; or a folder of
such label folders alone, which is split by the content of the images (`splitting`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labeller.decoder_process import decode
from labeller.images import Unreadable
from labeller.results import OTHER
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from labeller.text import printable
from model_build.data import folders, splitting
from model_build.data.folders import SPLITS, UNSPLIT, DataError, FolderListing, name_below

__all__ = ["SPLITS", "DataError", "Dataset", "Example", "print_counts", "require_enough", "scan", "spread"]

MINIMUM: Mapping[str, int] = {"train": 10, "validation": 5, "test": 5}
"""Images of each label that a split must have, only to make training and testing possible; a useful model takes
hundreds."""

LEFT_OUT_PRINTED = 5
"""Files left out that the terminal names; report.json names all."""

TOO_FEW = "Add pictures, or remove the label's folder"

PAIRS_NAMED = 3
"""Duplicates that an error names."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image of the data set. `label` indexes `Dataset.labels`; one of the folder `other` has their number."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labels in order of their index (sorted folder names), and the examples of each split; `others` are those of
    the folder `other`, which have none of the labels.

    `left_out` gives the reason for each other file, by its path below `root`. `split_by_content`: the folder had no
    splits.
    """

    root: Path
    labels: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]
    others: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    split_by_content: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over every relative path, label and content: equal digests mean the same data."""
        digest, labels = hashlib.sha256(), (*self.labels, OTHER)
        for split, examples in self.splits.items():
            for example in (*examples, *self.others.get(split, ())):
                name = example.path.relative_to(self.root).as_posix()
                digest.update(json.dumps([split, name, labels[example.label], example.sha256]).encode())
        return digest.hexdigest()

    @property
    def known(self) -> tuple[Example, ...]:
        """The training and validation examples, from which a head learns and by which it is chosen."""
        return (*self.splits["train"], *self.splits["validation"])

    def counts(self) -> dict[str, dict[str, int]]:
        """Images per split and label."""
        return {
            split: {label: _count(examples, index) for index, label in enumerate(self.labels)}
            for split, examples in self.splits.items()
        }

    def name(self, example: Example) -> str:
        """The example's path below `root`, printable."""
        return name_below(self.root, example.path)


def scan(root: Path) -> Dataset:
    """Read the data set's folders; the module `folders` defines which files count.

    Whether a file can be decoded only shows when it is used. Of equal files in one label and split the first counts.
    DataError for unusable folders, the same image under two labels or in two splits, and too few images of a label.
    """
    listing = folders.list_files(root)
    paths = [path for by_label in listing.classes.values() for files in by_label for path in files]
    sha256s = {path: folders.sha256_of(path) for path in paths}
    copies = _copies(listing, sha256s)
    same = {listing.name(path): f"the same picture as {listing.name(first)}" for path, first in copies.items()}
    left_out = {**listing.left_out, **same}
    classes = {
        split: [
            [Example(path, label, sha256s[path]) for path in files if path not in copies]
            for label, files in enumerate(by_label)
        ]
        for split, by_label in listing.classes.items()
    }
    unsplit = classes.pop(UNSPLIT, None)
    if unsplit is not None:
        classes = _split_by_content(listing, unsplit, left_out)
    others = {split: tuple(by_label.pop()) for split, by_label in classes.items()}
    splits = {
        split: tuple(example for examples in by_label for example in examples) for split, by_label in classes.items()
    }
    data = Dataset(root, listing.labels, splits, others, left_out, split_by_content=unsplit is not None)
    for split in SPLITS:
        require_enough(data, split, splits[split])
    return data


def print_counts(data: Dataset) -> None:
    """Print the images of each split and label, and the first files that are left out."""
    for split, counts in data.counts().items():
        others = {OTHER: len(data.others[split])} if any(data.others.values()) else {}
        counted = (counts | others).items()
        print(f"      {split:<10} " + ", ".join(f"{count} {printable(label)}" for label, count in counted))
    if data.split_by_content:
        print("      (split by image content, because there are no folders train, validation and test)")
    for name, reason in list(data.left_out.items())[:LEFT_OUT_PRINTED]:
        print(f"      left out: {name}: {reason}")
    if len(data.left_out) > LEFT_OUT_PRINTED:
        print(f"      left out: {len(data.left_out) - LEFT_OUT_PRINTED} more files; report.json lists them")


def require_enough(
    data: Dataset, split: str, usable: Sequence[Example], unreadable: Mapping[Example, Unreadable] | None = None
) -> None:
    """Raise DataError if a label of a split has too few usable examples; `unreadable` says why others are not."""
    for index, label in enumerate(data.labels):
        if (count := _count(usable, index)) < MINIMUM[split]:
            of_label = {example for example in data.splits[split] if example.label == index}
            lost = {data.name(one): str(reason) for one, reason in (unreadable or {}).items() if one in of_label}
            folder = label if data.split_by_content else f"{split}/{label}"
            raise DataError(
                f"too few pictures of {label!r} in {split} ({data.root}): {count} where at least {MINIMUM[split]} "
                f"are needed{_named_with_reason(lost, 'cannot be read')}"
                f"{_named_with_reason(_left_out_of(folder, data.left_out), '{} left out')}. {TOO_FEW}"
            )


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the examples at equal distances: as classes follow each other, each gets its share."""
    count = min(count, len(examples))
    return [examples[index * len(examples) // count] for index in range(count)]


def nested_sample(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` of the examples, in their order, each label with its share. A larger sample holds every smaller one.

    A label's examples come in the order of their content's SHA-256, which is as good as a random one.
    """
    totals = Counter(example.label for example in examples)
    ranks: dict[int, int] = dict.fromkeys(totals, 0)
    order = {}
    for example in sorted(examples, key=lambda example: example.sha256):
        ranks[example.label] += 1
        order[example] = (ranks[example.label] / totals[example.label], example.label)
    chosen = set(sorted(examples, key=order.__getitem__)[:count])
    return [example for example in examples if example in chosen]


def _count(examples: Iterable[Example], label: int) -> int:
    return sum(example.label == label for example in examples)


def _left_out_of(folder: str, left_out: Mapping[str, str]) -> dict[str, str]:
    """Those of the files left out that are in a label's folder."""
    return {name: reason for name, reason in left_out.items() if name.startswith(f"{printable(folder)}/")}


def _named_with_reason(reasons: Mapping[str, str], what: str) -> str:
    """How many files `what` holds for, and the first of them with its reason; empty if there is none."""
    if not reasons:
        return ""
    name, reason = next(iter(reasons.items()))
    one = len(reasons) == 1
    return f"; {len(reasons)} more {what.format('is' if one else 'are')}{':' if one else ', such as'} {name}: {reason}"


def _copies(listing: FolderListing, sha256s: Mapping[Path, str]) -> dict[Path, Path]:
    """Each file to leave out, with the file that holds the same image. DataError if the two differ in label or split:
    then one label is wrong, or the test accuracy too good."""
    home = {
        path: (split, label)
        for split, by_label in listing.classes.items()
        for label, files in enumerate(by_label)
        for path in files
    }
    by_content: dict[str, list[Path]] = {}
    for path, sha256 in sha256s.items():
        by_content.setdefault(sha256, []).append(path)
    # Equal files that are not images are left out later, as unreadable.
    groups = [paths for paths in by_content.values() if len(paths) > 1 and _is_image(paths[0])]
    pairs = [(first, other) for first, *others in groups for other in others]
    if labels := [pair for pair in pairs if home[pair[0]][1] != home[pair[1]][1]]:
        raise DataError(
            f"{listing.root} has the same picture under two labels: {_named(listing, labels)}. Delete the wrong one"
        )
    if splits := [pair for pair in pairs if home[pair[0]][0] != home[pair[1]][0]]:
        raise DataError(
            f"{listing.root} has the same picture in two splits, which makes the accuracy look better than it is: "
            f"{_named(listing, splits)}. Delete one of each"
        )
    return {other: first for first, other in pairs}


def _is_image(path: Path) -> bool:
    try:
        decode(folders.content_of(path), (8, 8), DEFAULT_MAX_IMAGE_PIXELS, folders.SECONDS)
    except (Unreadable, OSError):
        return False
    return True


def _named(listing: FolderListing, pairs: Sequence[tuple[Path, Path]]) -> str:
    text = "; ".join(f"{listing.name(one)} and {listing.name(other)}" for one, other in pairs[:PAIRS_NAMED])
    return text if len(pairs) <= PAIRS_NAMED else f"{text}; and {len(pairs) - PAIRS_NAMED} more such pairs"


def _split_by_content(
    listing: FolderListing, classes: Sequence[Sequence[Example]], left_out: Mapping[str, str]
) -> dict[str, list[list[Example]]]:
    splits: dict[str, list[list[Example]]] = {split: [] for split in SPLITS}
    for label, examples in zip((*listing.labels, OTHER), classes, strict=True):
        minimum = dict.fromkeys(SPLITS, 0) if label == OTHER else MINIMUM
        if len(examples) < (needed := sum(minimum.values())):
            parts = ", ".join(f"{count} for {split}" for split, count in MINIMUM.items())
            raise DataError(
                f"too few pictures of {label!r} in {listing.root}: {len(examples)} where at least {needed} are needed "
                f"({parts}){_named_with_reason(_left_out_of(label, left_out), '{} left out')}. {TOO_FEW}"
            )
        home = splitting.split((example.sha256 for example in examples), minimum)
        for split in SPLITS:
            splits[split].append([example for example in examples if home[example.sha256] == split])
    return splits
