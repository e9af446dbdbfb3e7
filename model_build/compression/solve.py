"""A frozen base with less arithmetic: some channels go, some kernels become a column and a row of lower rank, and what
stays of each layer is solved again by least squares, so that the next layer hears nearly the same (He et al. 2017,
arXiv 1707.06168). No labels, no back-propagation.

Layers are solved in order, from what the smaller network before them says to what the full network would
(asymmetric, Zhang et al. 2015, arXiv 1505.06798), so that errors are corrected instead of piling up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import cho_factor, cho_solve

from model_build.base import CAFFE_MEANS_RGB
from model_build.compression import low_rank
from model_build.compression.low_rank import Ranks
from model_build.compression.network import Chain, Convolution
from model_build.compression.pruning import Elimination, eliminate

RIDGE = 1e-3
"""Pull towards small weights, as a share of the inputs' mean square."""

ROUNDS = 4
"""Of `solve`. Each costs two products of matrices, and gains less than the one before."""

TOGETHER = 16
"""Images that go through a convolution in one call."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the full network says at some places of some images.

    `pixels` uint8 [n, S, S, 3]; per layer: `places` int [n, p, 2], rows and columns of its output; `outputs` float32
    [n * p, channels], there, before the ReLU; `covariances` [channels, channels] of the outputs after ReLU and pooling;
    `columns` [3 * in, 3 * in], covariance of the inputs in three places below each other.
    """

    pixels: np.ndarray
    places: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    covariances: tuple[np.ndarray, ...]
    columns: tuple[np.ndarray, ...]


class _Moments:
    """Covariance of values that come in parts."""

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


def sample(chain: Chain, pixels: np.ndarray, places: int, seed: int) -> Sample:
    """Run the full network on `pixels` and note `places` random places of each image and layer."""
    random = np.random.default_rng(seed)
    where = []
    for side in chain.sides(pixels.shape[1]):
        chosen = np.stack([random.permutation(side * side)[: min(places, side * side)] for _ in pixels])
        where.append(np.stack(np.unravel_index(chosen, (side, side)), axis=-1))
    outputs: list[list[np.ndarray]] = [[] for _ in where]
    covariances = [_Moments(layer.width) for layer in chain.layers]
    columns = [_Moments(3 * layer.kernels[0].shape[2]) for layer in chain.layers]
    for start in range(0, len(pixels), TOGETHER):
        flow = centred(pixels[start : start + TOGETHER])
        for index, layer in enumerate(chain.layers):
            at = where[index][start : start + TOGETHER]
            columns[index].add(patches(flow, at, 3, 1))
            before = np.asarray(layer.outputs(flow))
            outputs[index].append(_at(before, at))
            flow = np.asarray(layer.after(before))
            apart = max(1, flow.shape[1] // 16)
            covariances[index].add(flow[:, ::apart, ::apart].reshape(-1, layer.width))
    return Sample(
        pixels,
        tuple(where),
        tuple(np.concatenate(each) for each in outputs),
        tuple(each.covariance() for each in covariances),
        tuple(each.covariance() for each in columns),
    )


def sensitivities(chain: Chain, pixels: np.ndarray, head: keras.Model, seed: int) -> list[np.ndarray]:
    """What an error in the outputs of each layer, before the ReLU, does to the head's logits, to first order: matrices
    [channels, channels] A such that e' A e is the expected square of what an error e at one place changes.

    Gradients of random signs of the centred logits: their second moment, summed over the places of an image.
    """
    random = np.random.default_rng(seed)
    sums = [np.zeros((width, width)) for width in chain.widths]
    for start in range(0, len(pixels), TOGETHER):
        outputs = []
        with tf.GradientTape() as tape:
            flow = tf.constant(centred(pixels[start : start + TOGETHER]))
            for layer in chain.layers:
                before = layer.outputs(flow)
                tape.watch(before)
                outputs.append(before)
                flow = layer.after(before)
            logits = head(flow, training=False)
            signs = random.choice(np.array([-1.0, 1.0], np.float32), logits.shape)
            score = tf.reduce_sum((logits - tf.reduce_mean(logits, axis=1, keepdims=True)) * signs)
        for total, gradient in zip(sums, tape.gradient(score, outputs), strict=True):
            flat = np.asarray(gradient, np.float64).reshape(-1, len(total))
            total += flat.T @ flat
    return [total / len(pixels) for total in sums]


def uses(chain: Chain, sensitivity: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each layer but the last, [channels, channels]: how the next layer, and the head behind it, hears its
    channels. An error e in them costs e' use e."""
    found = []
    for layer, heard in zip(chain.layers[1:], sensitivity[1:], strict=True):
        (kernel,) = layer.kernels
        found.append(sum(tap @ heard @ tap.T for row in kernel.astype(np.float64) for tap in row))
    return found


def eliminations(seen: Sample, use: Sequence[np.ndarray]) -> list[Elimination]:
    """For each layer but the last, in which order its channels go: by what the head would hear of it."""
    found = []
    for covariance, heard in zip(seen.covariances[:-1], use, strict=True):
        values, vectors = np.linalg.eigh(heard)
        found.append(eliminate(covariance, vectors * np.sqrt(np.maximum(values, 0.0))))
    return found


def rankings(chain: Chain, seen: Sample, sensitivity: Sequence[np.ndarray]) -> list[Ranks]:
    """For each layer, its columns by what the head would hear of their absence."""
    return [
        low_rank.rank(layer.kernels[0], columns, heard)
        for layer, columns, heard in zip(chain.layers, seen.columns, sensitivity, strict=True)
    ]


def thin(
    chain: Chain,
    seen: Sample,
    sensitivity: Sequence[np.ndarray],
    kept: Sequence[np.ndarray],
    wanted_ranks: Sequence[int | None],
) -> Chain:
    """The chain with only the channels `kept[l]` of layer l and kernels of the ranks asked for, its weights solved
    again from the first layer on that changes. All kept and whole: the same chain."""
    layers: list[Convolution] = []
    flow, before, changed = centred(seen.pixels), np.arange(3), False
    for index, (layer, channels, wanted_rank) in enumerate(zip(chain.layers, kept, wanted_ranks, strict=True)):
        full_kernel, places = layer.kernels[0], seen.places[index]
        kernel, bias = full_kernel[:, :, before][..., channels], layer.bias[channels]
        wanted = seen.outputs[index][:, channels]
        kernels: tuple[np.ndarray, ...] = (kernel,)
        if len(before) < full_kernel.shape[2] or (changed and wanted_rank is None):
            inputs = patches(flow, places, 3, 3)
            weights, bias = solve(inputs, wanted, ROUNDS if wanted_rank is None else 1)
            del inputs
            kernels = (weights.reshape(kernel.shape),)
        if wanted_rank is not None:
            moments = _Moments(3 * len(before))
            moments.add(patches(flow, places, 3, 1))
            heard = sensitivity[index][np.ix_(channels, channels)]
            column = low_rank.rank(kernels[0], moments.covariance(), heard).column(wanted_rank)
            between = _by_parts(partial(tf.nn.conv2d, filters=column, strides=1, padding="SAME"), flow)
            weights, bias = solve(patches(between, places, 1, 3), wanted)
            kernels = (column, weights.reshape(1, 3, column.shape[-1], len(channels)))
            del between
        layers.append(Convolution(kernels, bias, layer.pooled))
        changed = changed or wanted_rank is not None or len(before) < full_kernel.shape[2]
        flow = _by_parts(layers[-1], flow)
        before = channels
    return Chain(tuple(layers))


def solve(inputs: np.ndarray, wanted: np.ndarray, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, out] and bias [out] that make of `inputs` [n, k] what is wanted, [n, out], as far as the ReLU lets
    through.

    Where the wanted output is negative, any negative one is as good (the ReLU makes both 0): the target there is what
    the last solution gave, cut at 0. Solving and setting targets in turn lowers the error in each round; the
    matrix is factored once. The first round is plain ridge regression.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    gram = (inputs.T @ inputs).astype(np.float64) / len(inputs) - np.outer(mean, mean)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) or 1.0
    factor = cho_factor(gram, overwrite_a=True)
    target = wanted
    for round_ in range(rounds):
        centre = target.mean(axis=0, dtype=np.float64)
        moments = (inputs.T @ target).astype(np.float64) / len(inputs) - np.outer(mean, centre)
        weights = cho_solve(factor, moments)
        offset = centre - mean @ weights
        if round_ < rounds - 1:
            given = inputs @ weights.astype(np.float32) + offset.astype(np.float32)
            target = np.where(wanted > 0, wanted, np.minimum(given, 0))
    return weights.astype(np.float32), offset.astype(np.float32)


def patches(flow: np.ndarray, places: np.ndarray, height: int, width: int) -> np.ndarray:
    """The neighbourhoods of `height` x `width`, both odd, of `places` [n, p, 2] in `flow` [n, h, w, C]: float32
    [n * p, height * width * C], zeros outside."""
    found = np.empty((*places.shape[:2], height * width, flow.shape[-1]), np.float32)
    rows, columns = places[..., 0], places[..., 1]
    above, left = height // 2, width // 2
    for image in range(len(flow)):  # singly: a padded copy of them all would double the memory
        padded = np.pad(flow[image], ((above, above), (left, left), (0, 0)))
        for tap in range(height * width):
            found[image, :, tap] = padded[rows[image] + tap // width, columns[image] + tap % width]
    return found.reshape(-1, height * width * flow.shape[-1])


def centred(pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels as the first convolution takes them."""
    return pixels.astype(np.float32) - np.array(CAFFE_MEANS_RGB, np.float32)


def _at(flow: np.ndarray, places: np.ndarray) -> np.ndarray:
    return flow[np.arange(len(places))[:, None], places[..., 0], places[..., 1]].reshape(-1, flow.shape[-1])


def _by_parts(function: Callable[[np.ndarray], tf.Tensor], flow: np.ndarray) -> np.ndarray:
    """function(flow), some images at a time."""
    first = np.asarray(function(flow[:TOGETHER]))
    found = np.empty((len(flow), *first.shape[1:]), np.float32)
    found[:TOGETHER] = first
    for start in range(TOGETHER, len(flow), TOGETHER):
        found[start : start + TOGETHER] = np.asarray(function(flow[start : start + TOGETHER]))
    return found
