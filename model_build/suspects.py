"""Pictures whose label is probably wrong: confident learning on probabilities of models that did not learn the picture.

C. G. Northcutt, L. Jiang, I. L. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. Journal of
Artificial Intelligence Research 70 (2021), 1373-1411. Three formulas of it:

    threshold of a label (equation 2): its mean probability over the pictures that have the label
    a picture counts for the likeliest label whose threshold its probability reaches (equation 1)
    of the pictures of a label, the same share is wrong as of those that count (equation 3), and those are wrong that
    have the largest difference between the other label's probability and their own's (section 3.2, by noise rate)

The list is ordered by the margin (section 3.2): the probability of the picture's label minus the highest other one.

A picture that shows none of the labels has some label all the same, often a likely one. So the least familiar pictures
are listed apart, with the suggestion `other`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import confusion_matrix
from labeller.results import OTHER
from model_build.data.dataset import Dataset, Example

SUSPECTS_FILE = "suspects.json"

STRANGE = 0.01
"""Share of the pictures that are listed as strange. Nothing says how many show none of the labels: people look from the
strangest on until they are good."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture whose label is probably wrong."""

    split: str
    path: str  # below the data set's folder
    sha256: str
    label: str
    suggested: str  # OTHER: it may show none of the labels
    probability: float | None  # of its label, 0..1; None with OTHER
    suggested_probability: float | None
    familiarity: float | None = None  # with OTHER


def label_thresholds(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """The threshold of each label, float64 [labels]: infinity for one that no picture has.

    `probabilities` float64 [n, labels], `given` int64 [n].
    """
    labels = range(probabilities.shape[1])
    means = [probabilities[given == label, label].mean() if (given == label).any() else np.inf for label in labels]
    return np.array(means, np.float64)


def margins(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of the given label minus the highest other one, float64 [n]: the lowest is the least likely."""
    rows = np.arange(len(given))
    others = probabilities.copy()
    others[rows, given] = -np.inf
    return np.asarray(probabilities[rows, given] - others.max(axis=1))


def probable_labels(
    probabilities: NDArray[np.float64], given: NDArray[np.int64], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The label that each picture probably has, int64 [n]: another than its own for as many as the noise rates say."""
    reached = np.where(probabilities >= thresholds, probabilities, -np.inf)
    counts = np.isfinite(reached.max(axis=1))
    joint = confusion_matrix(given[counts], reached[counts].argmax(axis=1), probabilities.shape[1])
    probable = given.copy()
    for own, other in np.argwhere(joint).tolist():
        rows = np.flatnonzero(given == own)
        wrong = round(joint[own, other] * len(rows) / joint[own].sum())
        order = np.argsort(probabilities[rows, own] - probabilities[rows, other], kind="stable")
        first = rows[order[:wrong]]
        likelier = probabilities[first, other] > probabilities[first, probable[first]]
        probable[first[likelier]] = other
    return probable


Judged = tuple[Sequence[Example], NDArray[np.float64]]
"""Pictures, and the probabilities float64 [n, labels] that a model gives them which did not learn from them."""


def find_suspects(data: Dataset, validated: Judged, test: Judged) -> list[Suspect]:
    """The suspects among the cross-validated pictures and the test pictures, the likeliest mistake first.

    The thresholds are those of the cross-validated pictures.
    """
    splits = {example: split for split, examples in data.splits.items() for example in examples}
    thresholds = label_thresholds(validated[1], _given(validated[0]))
    suspects: list[tuple[float, Suspect]] = []
    for examples, probabilities in (validated, test):
        given = _given(examples)
        probable = probable_labels(probabilities, given, thresholds)
        for index in np.flatnonzero(probable != given).tolist():
            example, row = examples[index], probabilities[index]
            suspect = Suspect(
                splits[example],
                example.path.relative_to(data.root).as_posix(),
                example.sha256,
                data.labels[given[index]],
                data.labels[probable[index]],
                round(float(row[given[index]]), 4),
                round(float(row[probable[index]]), 4),
            )
            suspects.append((float(margins(row[np.newaxis], given[index : index + 1])[0]), suspect))
    return [suspect for _, suspect in sorted(suspects, key=lambda pair: (pair[0], pair[1].path))]


def find_strangers(
    data: Dataset, familiar: Iterable[tuple[Example, float]], suspects: Sequence[Suspect]
) -> list[Suspect]:
    """The pictures that may show none of the labels, the strangest first: the least familiar STRANGE of all, without
    `suspects`.

    `familiar`: every picture with its familiarity, compared with other pictures alone.
    """
    splits = {example: split for split, examples in data.splits.items() for example in examples}
    by_familiarity = sorted(familiar, key=lambda pair: (pair[1], pair[0].path))
    known = {suspect.sha256 for suspect in suspects}
    return [
        Suspect(
            splits[example],
            example.path.relative_to(data.root).as_posix(),
            example.sha256,
            data.labels[example.label],
            OTHER,
            None,
            None,
            round(familiarity, 4),
        )
        for example, familiarity in by_familiarity[: math.ceil(STRANGE * len(by_familiarity))]
        if example.sha256 not in known
    ]


def write_suspects(folder: Path, suspects: Sequence[Suspect]) -> None:
    """Write suspects.json."""
    text = json.dumps([asdict(suspect) for suspect in suspects], indent=1) + "\n"
    (folder / SUSPECTS_FILE).write_text(text, "utf-8")


def read_suspects(model: Path) -> list[Suspect]:
    """The suspects that the build of a model found. Raises OSError, and ValueError if the file is damaged."""
    path = model / SUSPECTS_FILE
    try:
        return [Suspect(**row) for row in json.loads(path.read_text("utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error


def _given(examples: Sequence[Example]) -> NDArray[np.int64]:
    return np.array([example.label for example in examples], np.int64)
