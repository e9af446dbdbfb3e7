from pathlib import Path

import numpy as np
import pytest

from model_build.config import BuildConfig
from model_build.dataset import Example
from model_build.features import Features
from model_build.head import on_feature_maps, pool, statistics, train

CONFIG = BuildConfig(Path("unused"), hidden_units=16, epochs=12, learning_rate=1e-2)


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
def trained():
    return train(separable(120, seed=1), separable(40, seed=2), 2, CONFIG)


def test_it_learns_what_is_there_to_learn(trained) -> None:
    unseen = separable(100, seed=3)
    assert (trained[0].predict(unseen.values, verbose=0).argmax(axis=1) == unseen.labels).mean() > 0.97


def test_the_history_has_a_value_for_each_epoch_of_all_four_curves(trained) -> None:
    history = trained[1]
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len({len(values) for values in history.values()}) == 1


def test_the_same_features_and_seed_give_the_same_model(trained) -> None:
    again, _ = train(separable(120, seed=1), separable(40, seed=2), 2, CONFIG)
    for one, other in zip(trained[0].get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_folding_the_standardisation_changes_no_logit() -> None:
    import keras

    keras.utils.set_random_seed(4)
    inner = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, activation="relu", bias_initializer="random_normal"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, bias_initializer="random_normal"),
        ]
    )
    values = separable(20, seed=5).values
    mean, deviation = statistics(pool(values))
    expected = inner.predict((values.mean(axis=(1, 2)) - mean) / deviation, verbose=0)
    folded = on_feature_maps(inner, (2, 2, 6), mean, deviation)
    np.testing.assert_allclose(folded.predict(values, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_a_channel_silent_in_training_is_not_blown_up() -> None:
    pooled = pool(separable(50, seed=1).values)
    _, deviation = statistics(pooled)
    assert pooled[:, 1].std() == 0
    assert deviation[1] == pytest.approx(np.sqrt(pooled.var(axis=0).mean() / 100))


def test_features_that_never_vary_are_left_unscaled() -> None:
    _, deviation = statistics(np.ones((4, 3)))
    np.testing.assert_array_equal(deviation, np.ones(3))
