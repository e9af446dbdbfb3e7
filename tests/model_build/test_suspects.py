"""Confident learning, on numbers small enough to count by hand, and on features with labels exchanged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model_build.data.dataset import Dataset, Example
from model_build.suspects import (
    Suspect,
    find_strangers,
    find_suspects,
    label_thresholds,
    margins,
    probable_labels,
    read_suspects,
    write_suspects,
)

# Pictures 0 to 2 are said to be cats, 3 to 5 dogs. The means of their own labels: (0.9 + 0.8 + 0.1) / 3 = 0.6 and
# (0.9 + 0.7 + 0.35) / 3 = 0.65.
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7], [0.65, 0.35]])
GIVEN = np.array([0, 0, 0, 1, 1, 1])


def test_the_threshold_of_a_label_is_the_mean_of_the_pictures_that_have_it() -> None:
    assert label_thresholds(PROBABILITIES, GIVEN) == pytest.approx([0.6, 0.65])
    assert label_thresholds(PROBABILITIES[:3], GIVEN[:3])[1] == np.inf


def test_a_picture_counts_for_the_likeliest_label_whose_threshold_it_reaches() -> None:
    thresholds = np.array([0.6, 0.65])
    assert probable_labels(PROBABILITIES, GIVEN, thresholds).tolist() == [0, 0, 1, 1, 1, 0]
    unclear = np.array([[0.55, 0.45]])  # reaches neither: its own label stays
    assert probable_labels(unclear, np.array([1]), thresholds).tolist() == [1]


def test_the_noise_rate_holds_for_pictures_that_reach_no_threshold() -> None:
    """Of 8 pictures said to be cats, 4 count for cats and 2 for dogs; so 8 x 2 / 6, nearly 3, are dogs."""
    probability_of_dog = np.array([0.1, 0.1, 0.1, 0.1, 0.95, 0.75, 0.96, 0.7])
    probabilities = np.stack([1 - probability_of_dog, probability_of_dog], axis=1)
    found = probable_labels(probabilities, np.zeros(8, int), np.array([0.8, 0.8]))
    assert found.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]


def test_no_label_is_suggested_that_is_less_likely_than_the_own_one() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.55, 0.45], [0.56, 0.44]])
    found = probable_labels(probabilities, np.zeros(4, int), np.array([0.9, 0.65]))  # only the second counts
    assert found.tolist() == [0, 1, 0, 0]


def test_the_margin_is_negative_if_another_label_is_likelier() -> None:
    assert margins(PROBABILITIES, GIVEN) == pytest.approx([0.8, 0.6, -0.8, 0.8, 0.4, -0.3])


def data_set(root: Path) -> Dataset:
    names = ["train/cats/0", "train/cats/1", "validation/cats/2", "train/dogs/3", "train/dogs/4", "validation/dogs/5"]
    known = [Example(root / name, label, name[-1]) for name, label in zip(names, GIVEN.tolist(), strict=True)]
    test = Example(root / "test/dogs/6", 1, "6")
    by_split = {split: tuple(e for e in known if e.path.parts[-3] == split) for split in ("train", "validation")}
    return Dataset(root, ("cats", "dogs"), by_split | {"test": (test,)})


def test_suspects_of_all_splits_are_listed_the_likeliest_mistake_first(tmp_path: Path) -> None:
    data = data_set(tmp_path)
    known = sorted((*data.splits["train"], *data.splits["validation"]), key=lambda example: example.sha256)

    suspects = find_suspects(data, (known, PROBABILITIES), (data.splits["test"], np.array([[0.75, 0.25]])))

    assert suspects == [
        Suspect("validation", "validation/cats/2", "2", "cats", "dogs", 0.1, 0.9),
        Suspect("test", "test/dogs/6", "6", "dogs", "cats", 0.25, 0.75),
        Suspect("validation", "validation/dogs/5", "5", "dogs", "cats", 0.35, 0.65),
    ]
    write_suspects(tmp_path, suspects)
    assert read_suspects(tmp_path) == suspects
    (tmp_path / "suspects.json").write_text(json.dumps([{"split": "test"}]))
    with pytest.raises(ValueError, match=r"suspects\.json is damaged"):
        read_suspects(tmp_path)


def test_the_least_familiar_hundredth_may_show_none_of_the_labels(tmp_path: Path) -> None:
    examples = tuple(Example(tmp_path / f"train/cats/{number:03}", 0, str(number)) for number in range(300))
    data = Dataset(tmp_path, ("cats", "dogs"), {"train": examples})
    familiar = [(example, (number * 7 % 300) / 300) for number, example in enumerate(examples)]
    suspect = Suspect("train", "train/cats/043", "43", "cats", "dogs", 0.1, 0.9)

    strangers = find_strangers(data, familiar, [suspect])

    # Of 300 three: 0, 43 (7 x 43 = 301) and 86 (602). 43 is listed already.
    assert strangers == [
        Suspect("train", "train/cats/000", "0", "cats", "other", None, None, 0.0),
        Suspect("train", "train/cats/086", "86", "cats", "other", None, None, round(2 / 300, 4)),
    ]
    write_suspects(tmp_path, [suspect, *strangers])
    assert read_suspects(tmp_path) == [suspect, *strangers]


def test_exchanged_labels_are_among_the_first_suspects() -> None:
    """Two clusters of which 3% have the other label, judged as a cross-validated head judges them."""
    random = np.random.default_rng(1)
    truth = np.repeat([0, 1], 500)
    probability = 1 / (1 + np.exp(-(truth * 2 - 1) * random.normal(4, 2, 1000)))
    given = truth.copy()
    flipped = random.choice(1000, 30, replace=False)
    given[flipped] = 1 - given[flipped]
    probabilities = np.stack([1 - probability, probability], axis=1)

    first = np.argsort(margins(probabilities, given))[:50]  # 5%

    assert len(set(first.tolist()) & set(flipped.tolist())) >= 27  # 90%
