"""Stage 5: the head. Pooling, a Dense layer and an output layer on the frozen base's features; all that learns."""

from __future__ import annotations

import keras
import numpy as np

from model_build.config import BuildConfig
from model_build.export import FEATURES
from model_build.features import Features

History = dict[str, list[float]]
"""Keras's history: `loss`, `accuracy`, `val_loss`, `val_accuracy`, one value an epoch."""

MINIMUM_GAIN = 1e-4
"""A validation loss that falls by less counts as not falling: labels that are easy need no forty epochs."""


def train(training: Features, validation: Features, labels: int, config: BuildConfig) -> tuple[keras.Model, History]:
    """Train the head on the features of the training split.

    Returns the model of the epoch with the lowest validation loss, features float32 [N, h, w, C] -> logits
    [N, labels], and the history of all epochs. The same features and seed give the same model.
    """
    keras.utils.set_random_seed(config.seed)
    mean, deviation = statistics(pool(training.values))
    model = keras.Sequential(
        [
            keras.Input(mean.shape),
            keras.layers.Dense(config.hidden_units, activation="relu"),
            keras.layers.Dropout(config.dropout),
            keras.layers.Dense(labels),
        ]
    )
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        (pool(training.values) - mean) / deviation,
        training.labels,
        validation_data=((pool(validation.values) - mean) / deviation, validation.labels),
        epochs=config.epochs,
        batch_size=config.training_batch,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_loss", min_delta=MINIMUM_GAIN, patience=config.patience, restore_best_weights=True
            ),
            keras.callbacks.LambdaCallback(on_epoch_end=_print_epoch),
        ],
    )
    return on_feature_maps(model, training.values.shape[1:], mean, deviation), history.history


def pool(features: np.ndarray) -> np.ndarray:
    """Global average pooling: float [n, h, w, C] -> float64 [n, C]."""
    return features.mean(axis=(1, 2), dtype=np.float64)


def statistics(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [C] by which the pooled features are standardised, so that one learning rate suits any
    base weights. A channel all but silent in training is not blown up: its variance counts as at least a
    hundredth of the average one. Features that never vary are left unscaled."""
    variance = pooled.var(axis=0)
    floor = variance.mean() / 100 or 1.0
    return pooled.mean(axis=0), np.sqrt(np.maximum(variance, floor))


def on_feature_maps(
    trained: keras.Model, shape: tuple[int, ...], mean: np.ndarray, deviation: np.ndarray
) -> keras.Model:
    """The trained head as it is shipped: it pools the feature maps itself, and the standardisation is folded
    into its Dense layer, since (x - mean) / deviation @ W + b = x @ (W / deviation) + (b - mean / deviation @ W).
    """
    kernel, bias, *output = trained.get_weights()
    folded = kernel / deviation[:, None]
    head = keras.Sequential(
        [
            keras.Input(shape, name=FEATURES),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(bias), activation="relu"),
            keras.layers.Dense(len(output[-1])),
        ],
        name="head",
    )
    head.set_weights([folded, bias - mean @ folded, *output])
    return head


def _print_epoch(epoch: int, logs: dict[str, float]) -> None:
    print(
        f"      epoch {epoch + 1:2d}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}  "
        f"validation loss {logs['val_loss']:.4f}  accuracy {logs['val_accuracy']:.4f}",
        flush=True,
    )
