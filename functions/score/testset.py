"""The labelled test set: which objects of the bucket are its pictures, and their labels."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.folders import is_hidden, label_of
from labeller.results import OTHER

TESTSET_PREFIX = "testset/"


class InvalidTestSet(Exception):
    """The test set is empty or does not fit the model. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Example:
    """One picture of the test set."""

    key: str  # of the object
    label: str  # OTHER for a picture of none of the labels

    @property
    def name(self) -> str:
        """The key within the test set: label/..."""
        return self.key.removeprefix(TESTSET_PREFIX)


@dataclass(frozen=True, slots=True)
class TestSet:
    """The test set in the bucket."""

    examples: tuple[Example, ...]  # in an order independent of label and name
    per_label: dict[str, int]  # of every label of the model
    ignored: int  # objects outside the label folders, and hidden ones


def find_test_set(bucket: str, keys: Iterable[str], labels: Sequence[str]) -> TestSet:
    """The test set among the object keys under TESTSET_PREFIX, "testset/<label>/...".

    The folder OTHER, unless the model has that label, has pictures of none of its labels. Keys ending in "/" are
    folders, hidden files and those in hidden folders belong to file managers: none is a picture.
    Raises InvalidTestSet if there are no pictures, or pictures of labels that the model does not know.
    """
    examples, ignored = [], 0
    for key in keys:
        name = key.removeprefix(TESTSET_PREFIX)
        folder, slash, _ = name.partition("/")
        if key.endswith("/"):
            continue
        if not slash or not folder or is_hidden(name):
            ignored += 1
            continue
        examples.append(Example(key, label_of(folder)))
    test_set = f"s3://{bucket}/{TESTSET_PREFIX}"
    counts = Counter(example.label for example in examples)
    others = {OTHER} - set(labels)
    if not counts.keys() - others:
        raise InvalidTestSet(
            f"no test set: there are no pictures under {test_set}<label>/. `make testset DIR=...` uploads the label "
            "folders of a directory"
        )
    unknown = sorted(counts.keys() - others - set(labels))
    if unknown:
        raise InvalidTestSet(
            f"{test_set} has the labels {', '.join(map(repr, unknown))}, which the model does not know; it knows "
            f"{', '.join(map(repr, labels))}. Rename or remove those folders, or deploy the model that knows them"
        )
    # Ordered by a hash: if time runs out, the scored pictures are a fair sample of all labels, the same every night.
    examples.sort(key=lambda example: hashlib.sha256(example.key.encode()).digest())
    return TestSet(tuple(examples), {label: counts[label] for label in labels}, ignored)
