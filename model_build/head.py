"""Train a head on the frozen base's features: pooling, a Dense layer and an output layer."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.export import FEATURES
from model_build.features import Features

History = dict[str, list[float]]
"""Per epoch: `loss`, `accuracy` (training, with dropout), `val_loss`, `val_accuracy`. Losses are log losses without the
weight penalty."""

MINIMUM_GAIN = 1e-4
"""A smaller decrease of the validation loss does not count: easy labels need no forty epochs."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head: float32 [N, h, w, C] -> logits [N, labels], as it was after `epoch`, counted from 1 (the one with the
    lowest validation loss, up to MINIMUM_GAIN)."""

    network: keras.Model
    history: History
    epoch: int

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return int(self.network.count_params())

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, labels] for features float32 [n, h, w, C]."""
        return run(self.network, features)


def train(
    candidate: HeadCandidate, training: Features, validation: Features, labels: int, config: BuildConfig
) -> TrainedHead:
    """Train one head until the validation loss has not decreased for `config.patience` epochs.

    On one machine, the same features and seed give the same head, bit by bit.
    """
    keras.utils.set_random_seed(config.seed)
    pooled = pool(training.values, candidate.pooling)
    mean, deviation = statistics(pooled)
    steps = -(-len(pooled) // config.training_batch)
    penalty = keras.regularizers.L2(candidate.l2)
    model = keras.Sequential(
        [
            keras.Input(mean.shape),
            keras.layers.Dense(candidate.units, activation="relu", kernel_regularizer=penalty),
            keras.layers.Dropout(candidate.dropout),
            keras.layers.Dense(labels, kernel_regularizer=penalty),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(candidate.learning_rate, candidate.epochs * steps)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="log_loss")],
        steps_per_execution=steps,  # one call per epoch, because the steps are small
    )
    stopping = keras.callbacks.EarlyStopping(
        "val_log_loss", mode="min", min_delta=MINIMUM_GAIN, patience=config.patience, restore_best_weights=True
    )
    history = model.fit(
        (pooled - mean) / deviation,
        training.labels,
        validation_data=((pool(validation.values, candidate.pooling) - mean) / deviation, validation.labels),
        epochs=candidate.epochs,
        batch_size=config.training_batch,
        verbose=0,
        callbacks=[stopping],
    ).history
    names = {"loss": "log_loss", "accuracy": "accuracy", "val_loss": "val_log_loss", "val_accuracy": "val_accuracy"}
    network = on_feature_maps(model, candidate.pooling, training.values.shape[1:], mean, deviation)
    return TrainedHead(network, {name: history[metric] for name, metric in names.items()}, stopping.best_epoch + 1)


def pool(features: np.ndarray, pooling: Pooling) -> np.ndarray:
    """float [n, h, w, C] -> float32 [n, D], by the layers that are shipped."""
    return run(keras.Sequential([keras.Input(features.shape[1:]), *_layers(pooling)]), features)


def run(network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """A network's output for float32 [n, ...], in batches. `predict` would trace a function per network, about which
    TensorFlow warns."""
    outputs = [network(inputs[start : start + 256]) for start in range(0, len(inputs), 256)]
    return np.concatenate([keras.ops.convert_to_numpy(output) for output in outputs])


def statistics(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] that standardise the pooled features, so that one learning rate suits any base weights.

    A variance below a hundredth of the average is raised to it, so that an almost silent channel is not amplified.
    Features that never vary are not scaled.
    """
    variance = pooled.var(axis=0, dtype=np.float64)
    floor = variance.mean() / 100 or 1.0
    return pooled.mean(axis=0, dtype=np.float64), np.sqrt(np.maximum(variance, floor))


def on_feature_maps(
    trained: keras.Model, pooling: Pooling, shape: tuple[int, ...], mean: np.ndarray, deviation: np.ndarray
) -> keras.Model:
    """The head to ship: pooling in front, and the standardisation folded into the Dense layer, because
    (x - mean) / deviation @ W + b = x @ (W / deviation) + (b - mean / deviation @ W)."""
    kernel, bias, *output = trained.get_weights()
    folded = kernel / deviation[:, None]
    head = keras.Sequential(
        [
            keras.Input(shape, name=FEATURES),
            *_layers(pooling),
            keras.layers.Dense(len(bias), activation="relu"),
            keras.layers.Dense(len(output[-1])),
        ],
        name="head",
    )
    head.set_weights([folded, bias - mean @ folded, *output])
    return head


def _layers(pooling: Pooling) -> list[keras.Layer]:
    match pooling:
        case Pooling.AVERAGE:
            return [keras.layers.GlobalAveragePooling2D()]
        case Pooling.MAXIMUM:
            return [keras.layers.GlobalMaxPooling2D()]
        case Pooling.GRID:
            return [keras.layers.AveragePooling2D(2, padding="same"), keras.layers.Flatten()]
        case Pooling.FLATTEN:
            return [keras.layers.Flatten()]
