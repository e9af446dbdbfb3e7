"""Train a head on the frozen base's pooled features: unit length, an output layer, and a Dense layer if asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.export import FEATURES, STRIDE

EPSILON = 1e-6
"""Added to means before their square root, and to squared lengths. It is far below those of any picture, and gives
features of zeros a vector of zeros, and square roots a finite gradient."""

DENSE = {"alpha": 1.0, "learning_rate_init": 1e-3}
STEPS, BATCH = 400, 64
"""How the Dense layer is trained on standardised vectors: a penalty on squared weights, and steps of Adam."""

SOLVER = {"tol": 1e-6, "max_iter": 1000}
"""Of logistic regression: largest gradient, and iterations, of which photographs take 20 to 200. With scikit-learn's
tolerance, 1e-4, it stops too early, because the components of vectors of unit length are small."""


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head as Keras models: `layers` from pooled features of unit length [N, D] to logits [N, labels], and `network`,
    which is shipped, from feature maps float32 [N, h, w, C]."""

    pooling: Pooling
    layers: keras.Model
    network: keras.Model

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return int(self.layers.count_params())

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, labels] for pooled features float32 [n, 2, C]."""
        return run(self.layers, unit_vectors(features, self.pooling))


def train(
    candidate: HeadCandidate, features: np.ndarray, targets: np.ndarray, labels: int, config: BuildConfig
) -> TrainedHead:
    """Train a head on pooled features float32 [n, 2, C] with the labels `targets` [n].

    On one machine, the same features and seed give the same head, bit by bit.
    """
    layers = fit(candidate, unit_vectors(features, candidate.pooling), targets, labels, config.seed)
    side = config.image_size // STRIDE
    network = on_feature_maps(layers, candidate.pooling, (side, side, features.shape[-1]))
    return TrainedHead(candidate.pooling, layers, network)


def fit(candidate: HeadCandidate, vectors: np.ndarray, targets: np.ndarray, labels: int, seed: int) -> keras.Model:
    """The head's layers, trained on `vectors` float32 [n, D]: [N, D] -> logits [N, labels]."""
    if candidate.units:
        return _fit_dense(candidate.units, vectors, targets, labels, seed)
    (layer,) = fit_linear(vectors, targets, labels, [candidate.l2])
    return dense_layers(layer)


def fit_linear(
    vectors: np.ndarray, targets: np.ndarray, labels: int, penalties: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights [D, labels] and biases [labels] of logistic regression for each penalty, the strongest first: each
    solution starts from the one before."""
    model = LogisticRegression(warm_start=True, **SOLVER)
    solutions = []
    for l2 in penalties:
        model.set_params(C=1 / (l2 * len(vectors))).fit(vectors, targets)
        solutions.append(_output_layer(model.coef_.T, model.intercept_, labels))
    return solutions


def _fit_dense(units: int, vectors: np.ndarray, targets: np.ndarray, labels: int, seed: int) -> keras.Model:
    mean, deviation = statistics(vectors)
    epochs = -(-STEPS * BATCH // len(vectors))
    model = MLPClassifier(units, batch_size=min(BATCH, len(vectors)), max_iter=epochs, random_state=seed, **DENSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is meant
        model.fit((vectors - mean) / deviation, targets)
    # (x - mean) / deviation @ W + b = x @ (W / deviation) + (b - mean / deviation @ W)
    weights = model.coefs_[0] / deviation[:, None]
    biases = model.intercepts_[0] - mean @ weights
    return dense_layers((weights, biases), _output_layer(model.coefs_[1], model.intercepts_[1], labels))


def _output_layer(weights: np.ndarray, biases: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """A column for each label: for two, scikit-learn has one, the logit of the second above that of the first."""
    return (weights * [[-0.5, 0.5]], biases * [-0.5, 0.5]) if labels == 2 else (weights, biases)


def dense_layers(*layers: Sequence[np.ndarray]) -> keras.Model:
    """Layers with these weights and biases, ReLU between them: [N, D] -> [N, labels]."""
    vectors = flow = keras.Input(layers[0][0].shape[:1])
    for number, (_, biases) in enumerate(layers, start=1):
        activation = "relu" if number < len(layers) else None
        flow = keras.layers.Dense(len(biases), activation=activation, name=f"dense{number}")(flow)
    model = keras.Model(vectors, flow, name="layers")
    model.set_weights([values for layer in layers for values in layer])
    return model


def on_feature_maps(layers: keras.Model, pooling: Pooling, shape: tuple[int, ...]) -> keras.Model:
    """The head to ship, of plain operations: feature maps float32 [N, *shape] -> logits."""
    maps = keras.Input(shape, name=FEATURES)
    pooled = keras.ops.mean(maps, axis=(1, 2)), keras.ops.max(maps, axis=(1, 2))
    return keras.Model(maps, layers(_unit_vectors(*pooled, pooling)), name="head")


def unit_vectors(features: np.ndarray, pooling: Pooling) -> np.ndarray:
    """Pooled features float32 [n, 2, C], means and maxima, as float32 [n, D] of unit length, as the network computes
    them."""
    return np.asarray(_unit_vectors(features[:, 0], features[:, 1], pooling))


def run(network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """A network's output for float32 [n, ...], in batches. `predict` would trace a function per network, about which
    TensorFlow warns."""
    outputs = [network(inputs[start : start + 256]) for start in range(0, len(inputs), 256)]
    return np.concatenate([keras.ops.convert_to_numpy(output) for output in outputs])


def statistics(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] that standardise vectors, so that one learning rate suits any base weights.

    A variance below a hundredth of the average is raised to it, so that an almost silent channel is not amplified.
    Vectors that never vary are not scaled.
    """
    variance = vectors.var(axis=0, dtype=np.float64)
    floor = variance.mean() / 100 or 1.0
    return vectors.mean(axis=0, dtype=np.float64), np.sqrt(np.maximum(variance, floor))


def _unit_vectors(means: keras.KerasTensor, maxima: keras.KerasTensor, pooling: Pooling) -> keras.KerasTensor:
    match pooling:
        case Pooling.AVERAGE:
            return _unit_length(means)
        case Pooling.ROOT:
            return _unit_length(keras.ops.sqrt(means + EPSILON))
        case Pooling.MAXIMUM:
            return _unit_length(maxima)
        case Pooling.BOTH:
            return keras.ops.concatenate([_unit_length(means), _unit_length(maxima)], axis=1)


def _unit_length(vectors: keras.KerasTensor) -> keras.KerasTensor:
    squares = keras.ops.sum(keras.ops.square(vectors), axis=1, keepdims=True)
    return vectors / keras.ops.sqrt(squares + EPSILON)
