from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Example
from model_build.features import Features
from model_build.head import TrainedHead, on_feature_maps, pool, statistics, train

QUICK = HeadCandidate("average", Pooling.AVERAGE, units=16, epochs=12, learning_rate=1e-2, l2=1e-3)
SHAPE = (3, 3, 6)
POOLINGS = list(Pooling)
HALVES = (slice(0, 2), slice(2, 3))


def separable(images: int, seed: int) -> Features:
    """Feature maps [n, 2, 2, 6]: channel 0 is high for label 1, channel 1 silent, the rest is noise."""
    source = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    values = source.normal(1, 0.3, (images, 2, 2, 6)).astype(np.float32)
    values[..., 0] += 3 * labels[:, None, None]
    values[..., 1] = 0
    examples = tuple(Example(Path(str(index)), int(label), "") for index, label in enumerate(labels))
    return Features(examples, values, labels)


@pytest.fixture(scope="module")
def trained() -> TrainedHead:
    return trained_on(separable(120, seed=1), separable(40, seed=2))


def trained_on(training: Features, validation: Features, **changes: Any) -> TrainedHead:
    settings = {"seed": 7, "training_batch": 32, "patience": 8, **changes}
    return train(QUICK, training, validation, 2, BuildConfig(Path("unused"), **settings))


def test_a_head_learns_separable_labels(trained: TrainedHead) -> None:
    unseen = separable(100, seed=3)
    assert (trained.logits(unseen.values).argmax(axis=1) == unseen.labels).mean() > 0.97


def test_the_history_has_a_value_for_each_epoch_of_all_four_curves(trained: TrainedHead) -> None:
    history = trained.history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len({len(values) for values in history.values()}) == 1


def test_the_same_features_and_seed_give_the_same_model(trained: TrainedHead) -> None:
    again = trained_on(separable(120, seed=1), separable(40, seed=2))
    for one, other in zip(trained.network.get_weights(), again.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_epoch_kept_is_the_one_with_the_lowest_validation_loss() -> None:
    from sklearn.metrics import log_loss

    # Random training labels say nothing about validation: the loss there rises once they are memorised.
    random = np.random.default_rng(8)
    training, validation = separable(60, seed=1), separable(40, seed=2)
    training.labels[:] = random.integers(0, 2, 60)
    kept = trained_on(training, validation, patience=3)
    losses = kept.history["val_loss"]
    assert losses[kept.epoch - 1] == pytest.approx(min(losses), abs=1e-4)
    assert len(losses) == min(kept.epoch + 3, QUICK.epochs)
    logits = kept.logits(validation.values).astype(float)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert log_loss(validation.labels, probabilities) == pytest.approx(losses[kept.epoch - 1], rel=1e-4)


def test_each_pooling_matches_numpy() -> None:
    values = np.random.default_rng(6).normal(0, 1, (5, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(pool(values, Pooling.AVERAGE), values.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pool(values, Pooling.MAXIMUM), values.max(axis=(1, 2)))
    np.testing.assert_array_equal(pool(values, Pooling.FLATTEN), values.reshape(5, -1))
    # Of three positions the last has no neighbour: its average is over fewer values.
    corners = [values[:, rows, columns].mean(axis=(1, 2)) for rows in HALVES for columns in HALVES]
    np.testing.assert_allclose(pool(values, Pooling.GRID), np.hstack(corners), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_folding_the_standardisation_changes_no_logit(pooling: Pooling) -> None:
    import keras

    keras.utils.set_random_seed(4)
    values = np.random.default_rng(5).normal(1, 2, (20, *SHAPE)).astype(np.float32)
    pooled = pool(values, pooling)
    mean, deviation = statistics(pooled)
    inner = keras.Sequential(
        [
            keras.Input(mean.shape),
            keras.layers.Dense(5, activation="relu", bias_initializer="random_normal"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, bias_initializer="random_normal"),
        ]
    )
    expected = inner.predict((pooled - mean) / deviation, verbose=0)
    folded = on_feature_maps(inner, pooling, SHAPE, mean, deviation)
    np.testing.assert_allclose(folded.predict(values, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_a_channel_silent_in_training_is_not_amplified() -> None:
    pooled = pool(separable(50, seed=1).values, Pooling.AVERAGE)
    _, deviation = statistics(pooled)
    assert pooled[:, 1].std() == 0
    assert deviation[1] == pytest.approx(np.sqrt(pooled.var(axis=0).mean() / 100))


def test_features_that_never_vary_are_not_scaled() -> None:
    _, deviation = statistics(np.ones((4, 3)))
    np.testing.assert_array_equal(deviation, np.ones(3))
