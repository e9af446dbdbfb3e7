"""Shrink a frozen base: remove channels, lower the rank of kernels, and solve the remaining weights by least squares so
that every layer's output changes little (He et al. 2017, arXiv 1707.06168). No labels, no back-propagation.

Layers are solved in order, from the outputs of the smaller layers before them to the outputs of the full network
(asymmetric, Zhang et al. 2015, arXiv 1505.06798), so that errors are corrected instead of adding up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import cho_factor, cho_solve

from model_build.base import CAFFE_MEANS_RGB
from model_build.compression.low_rank import Ranks, rank_columns
from model_build.compression.network import ConvNet, Convolution
from model_build.compression.pruning import Elimination, eliminate

RIDGE = 1e-3
"""Penalty on large weights, as a share of the inputs' mean square."""

ROUNDS = 4
"""Rounds of `solve_weights`. Each costs two matrix products and gains less than the one before."""

BATCH = 16
"""Images per convolution call."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Outputs of the full network at some positions of some images.

    `pixels` uint8 [n, S, S, 3]. Per layer: `positions` int [n, p, 2], rows and columns of its output; `outputs` float32
    [n * p, channels] there, before the ReLU; `covariances` [channels, channels] of the outputs after ReLU and pooling;
    `column_covariances` [3 * in, 3 * in] of the inputs at three positions below each other.
    """

    pixels: np.ndarray
    positions: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    covariances: tuple[np.ndarray, ...]
    column_covariances: tuple[np.ndarray, ...]


class _Moments:
    """Covariance of values that arrive in batches."""

    def __init__(self, size: int) -> None:
        self._sums = np.zeros((size + 1, size + 1))

    def add(self, values: np.ndarray) -> None:
        """Rows of float32 [n, size]."""
        ones = np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)
        self._sums += ones.T @ ones

    def covariance(self) -> np.ndarray:
        """float64 [size, size]."""
        mean = self._sums[-1, :-1] / self._sums[-1, -1]
        return np.asarray(self._sums[:-1, :-1] / self._sums[-1, -1] - np.outer(mean, mean))


def gather_statistics(network: ConvNet, pixels: np.ndarray, positions: int, seed: int) -> Statistics:
    """Run the full network on `pixels` and record `positions` random positions of each image and layer."""
    random = np.random.default_rng(seed)
    chosen = []
    for side in network.shape.sides(pixels.shape[1]):
        indices = np.stack([random.permutation(side * side)[: min(positions, side * side)] for _ in pixels])
        chosen.append(np.stack(np.unravel_index(indices, (side, side)), axis=-1))
    outputs: list[list[np.ndarray]] = [[] for _ in chosen]
    covariances = [_Moments(layer.width) for layer in network.layers]
    columns = [_Moments(3 * layer.kernels[0].shape[2]) for layer in network.layers]
    for start in range(0, len(pixels), BATCH):
        activations = centred(pixels[start : start + BATCH])
        for index, layer in enumerate(network.layers):
            batch_positions = chosen[index][start : start + BATCH]
            columns[index].add(patches(activations, batch_positions, 3, 1))
            layer_outputs = np.asarray(layer.outputs(activations))
            outputs[index].append(_at(layer_outputs, batch_positions))
            activations = np.asarray(layer.activate(layer_outputs))
            stride = max(1, activations.shape[1] // 16)
            covariances[index].add(activations[:, ::stride, ::stride].reshape(-1, layer.width))
    return Statistics(
        pixels,
        tuple(chosen),
        tuple(np.concatenate(batches) for batches in outputs),
        tuple(moments.covariance() for moments in covariances),
        tuple(moments.covariance() for moments in columns),
    )


def sensitivities(network: ConvNet, pixels: np.ndarray, head: keras.Model, seed: int) -> list[np.ndarray]:
    """Sensitivity of the head's logits to each layer's outputs before the ReLU, to first order.

    A matrix A [channels, channels] per layer: e' A e is the expected squared change of the logits by an error e at one
    position. A is the second moment of the gradients of the centred logits, with random signs, summed over positions.
    """
    random = np.random.default_rng(seed)
    sums = [np.zeros((width, width)) for width in network.shape.widths]
    for start in range(0, len(pixels), BATCH):
        outputs = []
        with tf.GradientTape() as tape:
            activations = tf.constant(centred(pixels[start : start + BATCH]))
            for layer in network.layers:
                layer_outputs = layer.outputs(activations)
                tape.watch(layer_outputs)
                outputs.append(layer_outputs)
                activations = layer.activate(layer_outputs)
            logits = head(activations, training=False)
            signs = random.choice(np.array([-1.0, 1.0], np.float32), logits.shape)
            score = tf.reduce_sum((logits - tf.reduce_mean(logits, axis=1, keepdims=True)) * signs)
        for total, gradient in zip(sums, tape.gradient(score, outputs), strict=True):
            flat = np.asarray(gradient, np.float64).reshape(-1, len(total))
            total += flat.T @ flat
    return [total / len(pixels) for total in sums]


def consumptions(network: ConvNet, sensitivity: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How the next layer, and the head after it, consumes the channels of each layer but the last: a matrix [channels,
    channels] per layer; an error e in the channels costs e' consumption e."""
    matrices = []
    for layer, next_sensitivity in zip(network.layers[1:], sensitivity[1:], strict=True):
        (kernel,) = layer.kernels
        matrices.append(sum(tap @ next_sensitivity @ tap.T for row in kernel.astype(np.float64) for tap in row))
    return matrices


def eliminations(statistics: Statistics, consumption: Sequence[np.ndarray]) -> list[Elimination]:
    """The order in which each layer but the last loses its channels, by the effect on the head."""
    orders = []
    for covariance, matrix in zip(statistics.covariances[:-1], consumption, strict=True):
        values, vectors = np.linalg.eigh(matrix)
        orders.append(eliminate(covariance, vectors * np.sqrt(np.maximum(values, 0.0))))
    return orders


def column_ranks(network: ConvNet, statistics: Statistics, sensitivity: Sequence[np.ndarray]) -> list[Ranks]:
    """The columns of each layer, by the effect on the head."""
    layers = zip(network.layers, statistics.column_covariances, sensitivity, strict=True)
    return [rank_columns(layer.kernels[0], covariance, matrix) for layer, covariance, matrix in layers]


def shrink(
    network: ConvNet,
    statistics: Statistics,
    sensitivity: Sequence[np.ndarray],
    kept: Sequence[np.ndarray],
    ranks: Sequence[int | None],
) -> ConvNet:
    """The network with only the channels `kept[l]` of each layer l and kernels of the given ranks. The weights are
    solved again from the first layer that changes."""
    layers: list[Convolution] = []
    activations, inputs, changed = centred(statistics.pixels), np.arange(3), False
    for index, (layer, channels, rank) in enumerate(zip(network.layers, kept, ranks, strict=True)):
        positions, target = statistics.positions[index], statistics.outputs[index][:, channels]
        kernel, bias = layer.kernels[0][:, :, inputs][..., channels], layer.bias[channels]
        narrower = len(inputs) < layer.kernels[0].shape[2]
        if narrower or (changed and rank is None):
            rounds = ROUNDS if rank is None else 1
            weights, bias = solve_weights(patches(activations, positions, 3, 3), target, rounds)
            kernel = weights.reshape(kernel.shape)
        kernels: tuple[np.ndarray, ...] = (kernel,)
        if rank is not None:
            layer_sensitivity = sensitivity[index][np.ix_(channels, channels)]
            kernels, bias = _split(kernel, activations, positions, target, layer_sensitivity, rank)
        layers.append(Convolution(kernels, bias, layer.pooled))
        changed = changed or rank is not None or narrower
        activations = _in_batches(layers[-1], activations)
        inputs = channels
    return ConvNet(tuple(layers))


def _split(
    kernel: np.ndarray,
    activations: np.ndarray,
    positions: np.ndarray,
    target: np.ndarray,
    sensitivity: np.ndarray,
    rank: int,
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Column, solved row and bias that replace the kernel."""
    moments = _Moments(3 * activations.shape[-1])
    moments.add(patches(activations, positions, 3, 1))
    column = rank_columns(kernel, moments.covariance(), sensitivity).column(rank)
    between = _in_batches(partial(tf.nn.conv2d, filters=column, strides=1, padding="SAME"), activations)
    weights, bias = solve_weights(patches(between, positions, 1, 3), target)
    return (column, weights.reshape(1, 3, rank, -1)), bias


def solve_weights(inputs: np.ndarray, target: np.ndarray, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, out] and bias [out] that bring `inputs` [n, k] closest to `target` [n, out] after a ReLU.

    The first round is ridge regression. If the target is negative, any negative output is as good, because the ReLU
    makes both 0: the next round's target there is the last solution's output, at most 0. This lowers the error in each
    round. The matrix is factored once.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    gram = (inputs.T @ inputs).astype(np.float64) / len(inputs) - np.outer(mean, mean)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) or 1.0
    factor = cho_factor(gram, overwrite_a=True)
    goal = target
    for number in range(rounds):
        goal_mean = goal.mean(axis=0, dtype=np.float64)
        moments = (inputs.T @ goal).astype(np.float64) / len(inputs) - np.outer(mean, goal_mean)
        weights = cho_solve(factor, moments)
        bias = goal_mean - mean @ weights
        if number < rounds - 1:
            outputs = inputs @ weights.astype(np.float32) + bias.astype(np.float32)
            goal = np.where(target > 0, target, np.minimum(outputs, 0))
    return weights.astype(np.float32), bias.astype(np.float32)


def patches(activations: np.ndarray, positions: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [n * p, height * width * C]: the neighbourhoods of `positions` [n, p, 2] in `activations` [n, h, w, C],
    zeros outside the image. Height and width are odd."""
    result = np.empty((*positions.shape[:2], height * width, activations.shape[-1]), np.float32)
    rows, columns = positions[..., 0], positions[..., 1]
    above, left = height // 2, width // 2
    for image in range(len(activations)):  # one by one: a padded copy of all would double the memory
        padded = np.pad(activations[image], ((above, above), (left, left), (0, 0)))
        for tap in range(height * width):
            result[image, :, tap] = padded[rows[image] + tap // width, columns[image] + tap % width]
    return result.reshape(-1, height * width * activations.shape[-1])


def centred(pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 input of the first convolution."""
    return pixels.astype(np.float32) - np.array(CAFFE_MEANS_RGB, np.float32)


def _at(activations: np.ndarray, positions: np.ndarray) -> np.ndarray:
    images = np.arange(len(positions))[:, None]
    return activations[images, positions[..., 0], positions[..., 1]].reshape(-1, activations.shape[-1])


def _in_batches(function: Callable[[np.ndarray], tf.Tensor], activations: np.ndarray) -> np.ndarray:
    """function(activations), BATCH images at a time."""
    first = np.asarray(function(activations[:BATCH]))
    result = np.empty((len(activations), *first.shape[1:]), np.float32)
    result[:BATCH] = first
    for start in range(BATCH, len(activations), BATCH):
        result[start : start + BATCH] = np.asarray(function(activations[start : start + BATCH]))
    return result
