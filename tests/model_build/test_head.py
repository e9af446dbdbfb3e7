"""Heads on pooled features: unit length, logistic regression, Dense."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Example
from model_build.export import FEATURES, LOGITS, export
from model_build.features import Features, pool
from model_build.head import dense_layers, fit_linear, on_feature_maps, run, statistics, train, unit_vectors

CONFIG = BuildConfig(Path("unused"), image_size=64)
LINEAR = HeadCandidate("linear", Pooling.AVERAGE, l2=1e-4)
DENSE = HeadCandidate("dense", Pooling.AVERAGE, units=16)
MAPS = np.random.default_rng(6).uniform(0, 2, (5, 2, 2, 3)).astype(np.float32)


def separable(images: int, seed: int, labels: int = 2) -> Features:
    """Features [n, 2, 6]: the channel of its label is high in each, channel 5 silent, the rest is noise."""
    source = np.random.default_rng(seed)
    targets = np.arange(images) % labels
    values = source.uniform(0.5, 1.5, (images, 2, 6)).astype(np.float32)
    values[np.arange(images), :, targets] += 2
    values[..., 5] = 0
    examples = tuple(Example(Path(str(index)), int(label), f"{index:064x}") for index, label in enumerate(targets))
    return Features(examples, values, targets)


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("candidate", [LINEAR, DENSE], ids=["linear", "dense"])
def test_a_head_learns_separable_labels(candidate: HeadCandidate, labels: int) -> None:
    known, unseen = separable(120, 1, labels), separable(90, 2, labels)
    trained = train(candidate, known.values, known.labels, labels, CONFIG)
    assert (trained.logits(unseen.values).argmax(axis=1) == unseen.labels).mean() > 0.97


@pytest.mark.parametrize("candidate", [LINEAR, DENSE], ids=["linear", "dense"])
def test_the_same_features_give_the_same_head(candidate: HeadCandidate) -> None:
    known = separable(60, 1)
    one, other = (train(candidate, known.values, known.labels, 2, CONFIG).network.get_weights() for _ in range(2))
    for values, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(values, again)


def test_heads_of_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    layer = np.eye(3, 2, dtype=np.float32), np.zeros(2, np.float32)
    files = [tmp_path / "one.onnx", tmp_path / "other.onnx"]
    for file in files:
        export(on_feature_maps(dense_layers(layer), Pooling.ROOT, (2, 2, 3)), FEATURES, LOGITS, file)
    one, other = (file.read_bytes() for file in files)
    assert one == other


@pytest.mark.parametrize("labels", [2, 3])
def test_a_linear_head_is_the_logistic_regression_of_scikit_learn(labels: int) -> None:
    known = separable(90, 3, labels)
    vectors = unit_vectors(known.values, Pooling.AVERAGE)
    ((weights, biases),) = fit_linear(vectors, known.labels, labels, [1e-3])
    oracle = LogisticRegression(C=1 / (1e-3 * 90), max_iter=1000).fit(vectors, known.labels)
    np.testing.assert_allclose(softmax(vectors @ weights + biases, axis=1), oracle.predict_proba(vectors), atol=1e-3)


def test_penalties_are_solved_from_the_strongest_to_the_weakest_each_for_itself() -> None:
    known = separable(90, 3)
    vectors = unit_vectors(known.values, Pooling.AVERAGE)
    path = fit_linear(vectors, known.labels, 2, [1e-2, 1e-3])
    for (weights, _), l2 in zip(path, (1e-2, 1e-3), strict=True):
        ((alone, _),) = fit_linear(vectors, known.labels, 2, [l2])
        np.testing.assert_allclose(weights, alone, rtol=1e-2, atol=1e-2)
    assert np.linalg.norm(path[0][0]) < np.linalg.norm(path[1][0])


def test_each_pooling_is_of_unit_length() -> None:
    means, maxima = MAPS.mean(axis=(1, 2)), MAPS.max(axis=(1, 2))

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    expected = {
        Pooling.AVERAGE: unit(means),
        Pooling.ROOT: unit(np.sqrt(means)),
        Pooling.MAXIMUM: unit(maxima),
        Pooling.BOTH: np.hstack([unit(means), unit(maxima)]),
    }
    assert set(expected) == set(Pooling)
    for pooling, vectors in expected.items():
        np.testing.assert_allclose(unit_vectors(pool(MAPS), pooling), vectors, atol=1e-5)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_picture_without_any_feature_gives_finite_logits(pooling: Pooling) -> None:
    known = separable(60, 1)
    trained = train(HeadCandidate("a", pooling, l2=1e-4), known.values, known.labels, 2, CONFIG)
    assert np.isfinite(run(trained.network, np.zeros((1, 2, 2, 6), np.float32))).all()


@pytest.mark.parametrize("candidate", [*(HeadCandidate(p, p, l2=1e-3) for p in Pooling), DENSE], ids=lambda c: c.name)
def test_the_network_to_ship_computes_the_same_from_feature_maps(candidate: HeadCandidate) -> None:
    labels = np.array([0, 1, 0, 1, 0])
    trained = train(candidate, pool(MAPS), labels, 2, CONFIG)
    np.testing.assert_allclose(run(trained.network, MAPS), trained.logits(pool(MAPS)), rtol=1e-4, atol=1e-4)


def test_a_channel_silent_in_training_is_not_amplified() -> None:
    vectors = unit_vectors(separable(50, seed=1).values, Pooling.AVERAGE)
    _, deviation = statistics(vectors)
    assert vectors[:, 5].std() == 0
    assert deviation[5] == pytest.approx(np.sqrt(vectors.var(axis=0).mean() / 100), rel=1e-4)


def test_vectors_that_never_vary_are_not_scaled() -> None:
    _, deviation = statistics(np.ones((4, 3)))
    np.testing.assert_array_equal(deviation, np.ones(3))
