"""The measurement of suspects, on made-up features: two clusters far apart, and strangers far from both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import suspects
from model_build.config import HEADS, BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.features import Features

CONFIG = BuildConfig(Path("data"), heads=HEADS[:1], penalties=(1e-4,))


def cluster(name: str, label: int, channel: int, count: int) -> Features:
    random = np.random.default_rng(channel)
    values = random.uniform(0, 0.3, (count, 2, 6)).astype(np.float32)
    values[:, :, channel] += 2
    examples = tuple(Example(Path(f"data/{name}/{number}.jpg"), label, f"{name} {number}") for number in range(count))
    return Features(examples, values, np.full(count, label))


CATS, DOGS = cluster("cats", 0, 0, 150), cluster("dogs", 1, 1, 150)
KNOWN = Features((*CATS.examples, *DOGS.examples), np.concatenate([CATS.values, DOGS.values]), np.repeat([0, 1], 150))
DATA = Dataset(
    Path("data"),
    ("cats", "dogs"),
    {"train": (*CATS.examples[:100], *DOGS.examples[:100]), "validation": (*CATS.examples[100:], *DOGS.examples[100:])},
)


@pytest.mark.parametrize("seed", [0, 1])
def test_exchanged_labels_of_clusters_far_apart_are_all_found(seed: int) -> None:
    assert suspects.wrong_labels_found(DATA, KNOWN, CONFIG, seed) == 1


def test_strangers_far_from_both_clusters_are_all_found() -> None:
    strange = cluster("others", 2, 4, 20)
    assert suspects.strangers_found(DATA, KNOWN, strange, CONFIG, 0) == 1
    lookalikes = cluster("others", 2, 0, 20)
    assert suspects.strangers_found(DATA, KNOWN, lookalikes, CONFIG, 0) < 1
