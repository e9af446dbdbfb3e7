"""Stage 5: the head. Pooling, a Dense layer and an output layer on the frozen base's features; all that learns."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from model_build.config import HeadCandidate, Pooling
from model_build.export import FEATURES
from model_build.features import Features

History = dict[str, list[float]]
"""Per epoch: `loss`, `accuracy` (training, dropout active), `val_loss`, `val_accuracy`. Losses are log losses; the
penalty on the weights is not in them."""

MINIMUM_GAIN = 1e-4
"""A validation loss that falls by less counts as not falling: labels that are easy need no forty epochs."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A trained head: float32 [N, h, w, C] -> logits [N, labels], of the epoch (from 1) with the lowest validation
    loss, but for MINIMUM_GAIN; `epoch` of `len(history["loss"])`."""

    network: keras.Model
    history: History
    epoch: int

    @property
    def parameters(self) -> int:
        """Trained values."""
        return int(self.network.count_params())

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, labels] for features float32 [n, h, w, C]."""
        return run(self.network, features)


def train(
    candidate: HeadCandidate,
    training: Features,
    validation: Features,
    labels: int,
    *,
    seed: int,
    batch: int,
    patience: int,
) -> TrainedHead:
    """Train one head on the features of the training split, `batch` examples a step.

    Stops when the validation loss has not fallen for `patience` epochs. On one machine the same features and seed
    give the same head, bit by bit.
    """
    keras.utils.set_random_seed(seed)
    pooled = pool(training.values, candidate.pooling)
    mean, deviation = statistics(pooled)
    steps = -(-len(pooled) // batch)
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
        steps_per_execution=steps,  # one call an epoch: the steps are too small to be handed out singly
    )
    stopping = keras.callbacks.EarlyStopping(
        "val_log_loss", mode="min", min_delta=MINIMUM_GAIN, patience=patience, restore_best_weights=True
    )
    fitted = model.fit(
        (pooled - mean) / deviation,
        training.labels,
        validation_data=((pool(validation.values, candidate.pooling) - mean) / deviation, validation.labels),
        epochs=candidate.epochs,
        batch_size=batch,
        verbose=0,
        callbacks=[stopping],
    )
    history = {
        "loss": fitted.history["log_loss"],
        "accuracy": fitted.history["accuracy"],
        "val_loss": fitted.history["val_log_loss"],
        "val_accuracy": fitted.history["val_accuracy"],
    }
    network = on_feature_maps(model, candidate.pooling, training.values.shape[1:], mean, deviation)
    return TrainedHead(network, history, stopping.best_epoch + 1)


def pool(features: np.ndarray, pooling: Pooling) -> np.ndarray:
    """float [n, h, w, C] -> float32 [n, D], by the layers that are shipped."""
    network = keras.Sequential([keras.Input(features.shape[1:]), *_layers(pooling)])
    return run(network, features)


def run(network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """What a network says of float32 [n, ...], in parts. Not its `predict`, which traces a function for each network
    and lets TensorFlow warn of that."""
    parts = [network(inputs[start : start + 256]) for start in range(0, len(inputs), 256)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def statistics(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] by which the pooled features are standardised, so that one learning rate suits any
    base weights. A channel all but silent in training is not blown up: its variance counts as at least a
    hundredth of the average one. Features that never vary are left unscaled."""
    variance = pooled.var(axis=0, dtype=np.float64)
    floor = variance.mean() / 100 or 1.0
    return pooled.mean(axis=0, dtype=np.float64), np.sqrt(np.maximum(variance, floor))


def on_feature_maps(
    trained: keras.Model, pooling: Pooling, shape: tuple[int, ...], mean: np.ndarray, deviation: np.ndarray
) -> keras.Model:
    """The trained head as it is shipped: it pools the feature maps itself, and the standardisation is folded
    into its Dense layer, since (x - mean) / deviation @ W + b = x @ (W / deviation) + (b - mean / deviation @ W).
    """
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
    if pooling is Pooling.AVERAGE:
        return [keras.layers.GlobalAveragePooling2D()]
    if pooling is Pooling.MAXIMUM:
        return [keras.layers.GlobalMaxPooling2D()]
    if pooling is Pooling.GRID:
        return [keras.layers.AveragePooling2D(2, padding="same"), keras.layers.Flatten()]
    return [keras.layers.Flatten()]
