"""Which way to score familiarity tells stand-ins from the labels' pictures: on clusters whose places are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import auroc_score
from model_build import selection, strangers
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Dataset, Example
from model_build.familiarity import choose_exemplars
from model_build.features import Features, rows_of
from model_build.head import TrainedHead, dense_layers
from model_build.selection import TrainedNetwork
from model_build.strangers import (
    CHANGED,
    CONFIDENCE,
    DESTROYED,
    ENERGY,
    LEFT_OUT,
    MAHALANOBIS,
    METHODS,
    NEIGHBOURS,
    OTHER,
    Comparison,
    StandIns,
    compare_methods,
)

CONFIG = BuildConfig(Path("data"), heads=(HeadCandidate("average", Pooling.AVERAGE),), penalties=(1e-3,))
CHANNELS = 6


def cluster(split: str, places: list[list[float]], count: int, seed: int) -> Features:
    """`count` pictures around each place, in all of which a label of its own is seen."""
    random, labels = np.random.default_rng(seed), np.arange(count * len(places)) % len(places)
    means = np.abs(np.array(places)[labels] + 0.1 * random.standard_normal((len(labels), CHANNELS)))
    examples = tuple(
        Example(Path(f"{split}/{label}/{row}.jpg"), int(label), f"{split}{row:05}") for row, label in enumerate(labels)
    )
    return Features(examples, np.stack([means, means], axis=1).astype(np.float32), labels)


def axes(count: int) -> list[list[float]]:
    return np.eye(CHANNELS)[:count].tolist()


def compared(labels: int, others: Features | None = None) -> tuple[Comparison, StandIns, TrainedNetwork]:
    training, validation = cluster("train", axes(labels), 30, 1), cluster("validation", axes(labels), 20, 2)
    features = Features(
        training.examples + validation.examples,
        np.concatenate([training.values, validation.values]),
        np.concatenate([training.labels, validation.labels]),
    )
    names = tuple(f"label {index}" for index in range(labels))
    data = Dataset(Path("."), names, {"train": training.examples, "validation": validation.examples})
    evaluated = selection.evaluate_head(CONFIG.heads[0], features, labels, CONFIG)
    # The others lie where label 0 does, to the shipped head.
    layers = dense_layers((np.eye(CHANNELS, labels, dtype=np.float32), np.zeros(labels, np.float32)))
    trained = TrainedHead(Pooling.AVERAGE, layers, layers)
    network = TrainedNetwork(Path(), Path(), features, features, [], evaluated, trained, trained)
    destroyed = cluster("destroyed", [[1.0] * CHANNELS], 20, 3)
    changed = cluster("changed", axes(labels), 20, 4)
    stand_ins = StandIns(
        changed,
        trained.logits(changed.values),
        destroyed,
        trained.logits(destroyed.values),
        others,
    )
    return compare_methods(data, network, stand_ins, CONFIG), stand_ins, network


@pytest.fixture(scope="module")
def three() -> tuple[Comparison, StandIns, TrainedNetwork]:
    return compared(3)


def test_areas_are_those_of_the_scores_of_validation_pictures_and_stand_ins(
    three: tuple[Comparison, StandIns, TrainedNetwork],
) -> None:
    comparison, stand_ins, network = three
    training, validation = (rows_of(network.features, np.arange(150) // 90 == part) for part in (0, 1))
    exemplars = choose_exemplars(training)

    assert comparison.area(NEIGHBOURS, DESTROYED) == auroc_score(
        exemplars.score(validation), exemplars.score(stand_ins.destroyed)
    )
    assert len(training.labels) == len(exemplars.examples)
    own, strange = network.head.logits[90:].astype(float), stand_ins.destroyed_logits.astype(float)
    energy, confidence = (
        lambda logits: np.log(np.exp(logits).sum(axis=1)),
        lambda logits: (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).max(axis=1),
    )
    assert comparison.area(ENERGY, DESTROYED) == pytest.approx(auroc_score(energy(own), energy(strange)))
    assert comparison.area(CONFIDENCE, DESTROYED) == pytest.approx(auroc_score(confidence(own), confidence(strange)))


def test_pictures_of_none_of_the_labels_are_told_and_changed_copies_are_not(
    three: tuple[Comparison, StandIns, TrainedNetwork],
) -> None:
    comparison, _, _ = three
    for method in (NEIGHBOURS, MAHALANOBIS):
        assert comparison.area(method, DESTROYED) > 0.99
        assert comparison.area(method, LEFT_OUT) > 0.99
        assert 0.35 < comparison.area(method, CHANGED) < 0.65


def test_each_label_is_left_out_once_and_decides_before_destroyed_copies(
    three: tuple[Comparison, StandIns, TrainedNetwork],
) -> None:
    comparison, _, _ = three
    assert list(comparison.ranks) == [LEFT_OUT, DESTROYED, CHANGED]
    assert comparison.decided_by == LEFT_OUT
    assert {method: len(ranks) for method, ranks in comparison.ranks[LEFT_OUT].items()} == dict.fromkeys(METHODS, 60)


def test_seven_labels_are_left_out_in_five_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [*axes(6), [1, 1, 0, 0, 0, 0]]
    monkeypatch.setattr(f"{__name__}.axes", lambda _: places)
    asked: list[int] = []
    logits_by = selection.logits_by

    def count(candidate: HeadCandidate, known: Features, features: Features, config: BuildConfig) -> np.ndarray:
        asked.append(len(set(known.labels.tolist())))
        return logits_by(candidate, known, features, config)

    monkeypatch.setattr(selection, "logits_by", count)
    comparison, _, _ = compared(7)

    assert asked == [5, 5, 5, 5, 6, 6, 6, 6, 6, 6]  # two groups of two labels; known and left-out pictures of each
    assert len(comparison.ranks[LEFT_OUT][NEIGHBOURS]) == 140


def test_with_two_labels_none_can_be_left_out() -> None:
    comparison, _, _ = compared(2)
    assert list(comparison.ranks) == [DESTROYED, CHANGED]
    assert comparison.decided_by == DESTROYED


def test_pictures_of_the_folder_other_decide_if_there_are_any() -> None:
    comparison, _, _ = compared(2, others=cluster("other", [[1.0, 0, 0, 0, 0, 2.0]], 20, 5))
    assert list(comparison.ranks) == [OTHER, DESTROYED, CHANGED]
    assert comparison.decided_by == OTHER


def test_fewer_than_ten_pictures_of_the_folder_other_decide_nothing() -> None:
    place = [[1.0, 0, 0, 0, 0, 2.0]]
    nine, _, _ = compared(2, others=cluster("other", place, 9, 5))
    assert list(nine.ranks) == [DESTROYED, CHANGED]
    ten, _, _ = compared(2, others=cluster("other", place, 10, 5))
    assert ten.decided_by == OTHER


def test_the_distance_replaces_the_neighbours_only_if_it_is_measurably_better(
    three: tuple[Comparison, StandIns, TrainedNetwork],
) -> None:
    comparison, _, _ = three
    alternating = np.tile([0.1, 0.3], 50)  # mean 0.2

    def shipped(distance: np.ndarray) -> str:
        ranks = {NEIGHBOURS: np.full(100, 0.2), MAHALANOBIS: distance}
        return replace(comparison, ranks={DESTROYED: ranks}).shipped

    # The standard error of 100 differences of 0.1 is 0.01, and 1.645 of it are 0.01645.
    assert shipped(alternating - 0.016) == NEIGHBOURS
    assert shipped(alternating - 0.017) == MAHALANOBIS
    assert strangers.SIGNIFICANCE == 1.645
