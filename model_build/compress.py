"""Fewer channels in the frozen base: some go, and what the rest of each layer says is solved again by least squares, so
that the next layer hears nearly the same (He et al. 2017, arXiv 1707.06168). No labels, no back-propagation.

Layers are solved in order, from what the thinned network before them says to what the full network would
(asymmetric, Zhang et al. 2015, arXiv 1505.06798), so that errors are corrected instead of piling up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import cho_factor, cho_solve

from model_build.base import CAFFE_MEANS_RGB
from model_build.channels import Elimination, eliminate

RIDGE = 1e-3
"""Pull towards small weights, as a share of the inputs' mean square."""

ROUNDS = 4
"""Of `solve`. Each costs two products of matrices, and gains less than the one before."""

TOGETHER = 16
"""Images that go through a convolution in one call."""


class StructureError(Exception):
    """The base is not a plain chain of 3 x 3 convolutions and poolings; it cannot be compressed."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A frozen base as numbers: 3 x 3 convolutions with ReLU, `kernels` [3, 3, in, out] and `biases` [out], on centred
    RGB pixels; `pooled` are those that a 2 x 2 max pooling follows."""

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    pooled: frozenset[int]

    @property
    def widths(self) -> list[int]:
        """Output channels of each convolution."""
        return [len(bias) for bias in self.biases]

    def multiplications(self, image_size: int) -> list[int]:
        """Multiply-accumulates of each convolution for one image."""
        found, side = [], image_size
        for index, kernel in enumerate(self.kernels):
            found.append(side * side * kernel.size)
            side //= 2 if index in self.pooled else 1
        return found


def chain_of(network: keras.Model) -> Chain:
    """The numbers of a frozen base of `model_build.base`. StructureError if it is of another kind."""
    (inner,) = (layer for layer in network.layers if isinstance(layer, keras.Model))
    kernels: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    pooled: set[int] = set()
    for layer in inner.layers[1:]:
        if isinstance(layer, keras.layers.MaxPooling2D) and kernels:
            pooled.add(len(kernels) - 1)
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            kernel, bias = layer.get_weights()
            kernels.append(kernel)
            biases.append(bias)
        else:
            raise StructureError(f"the base has a layer {layer.name} that compression does not know")
    return Chain(tuple(kernels), tuple(biases), frozenset(pooled))


def network_of(chain: Chain, image_size: int) -> keras.Model:
    """The chain as a Keras network on RGB pixels, uint8 [N, S, S, 3] -> features."""
    pixels = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    flow = keras.ops.cast(pixels, "float32") - np.array(CAFFE_MEANS_RGB, np.float32)
    for index, (kernel, bias) in enumerate(zip(chain.kernels, chain.biases, strict=True)):
        layer = keras.layers.Conv2D(len(bias), 3, padding="same", activation="relu", name=f"conv{index}")
        flow = layer(flow)
        layer.set_weights([kernel, bias])
        if index in chain.pooled:
            flow = keras.layers.MaxPooling2D(name=f"pool{index}")(flow)
    network = keras.Model(pixels, flow, name="base")
    network.trainable = False
    return network


@dataclass(frozen=True, slots=True)
class Sample:
    """What the full network says at some places of some images.

    `pixels` uint8 [n, S, S, 3]; per layer: `places` int [n, p, 2], rows and columns of its output; `outputs` float32
    [n * p, channels], there, before the ReLU; `covariances` [channels, channels] of the outputs after ReLU and pooling.
    """

    pixels: np.ndarray
    places: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    covariances: tuple[np.ndarray, ...]


def sample(chain: Chain, pixels: np.ndarray, places: int, seed: int) -> Sample:
    """Run the full network on `pixels` and note `places` random places of each image and layer."""
    random = np.random.default_rng(seed)
    side, where = pixels.shape[1], []
    for index in range(len(chain.kernels)):
        chosen = np.stack([random.permutation(side * side)[: min(places, side * side)] for _ in pixels])
        where.append(np.stack(np.unravel_index(chosen, (side, side)), axis=-1))
        side //= 2 if index in chain.pooled else 1
    outputs: list[list[np.ndarray]] = [[] for _ in where]
    sums = [np.zeros((width + 1, width + 1)) for width in chain.widths]
    for start in range(0, len(pixels), TOGETHER):
        flow = centred(pixels[start : start + TOGETHER])
        for index in range(len(chain.kernels)):
            before = convolved(flow, chain.kernels[index], chain.biases[index])
            at = where[index][start : start + TOGETHER]
            noted = before[np.arange(len(at))[:, None], at[..., 0], at[..., 1]]
            outputs[index].append(noted.reshape(-1, before.shape[-1]))
            flow = after(before, index in chain.pooled)
            side = flow.shape[1]
            seen = flow[:, :: max(1, side // 16), :: max(1, side // 16)].reshape(-1, flow.shape[-1])
            seen = np.concatenate([seen, np.ones((len(seen), 1), np.float32)], axis=1)
            sums[index] += seen.T @ seen
    covariances = []
    for each in sums:
        mean = each[-1, :-1] / each[-1, -1]
        covariances.append(each[:-1, :-1] / each[-1, -1] - np.outer(mean, mean))
    return Sample(pixels, tuple(where), tuple(np.concatenate(each) for each in outputs), tuple(covariances))


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
            for index, (kernel, bias) in enumerate(zip(chain.kernels, chain.biases, strict=True)):
                before = tf.nn.conv2d(flow, kernel, 1, "SAME") + bias
                tape.watch(before)
                outputs.append(before)
                flow = tf.nn.relu(before)
                if index in chain.pooled:
                    flow = tf.nn.max_pool2d(flow, 2, 2, "VALID")
            logits = head(flow, training=False)
            signs = random.choice(np.array([-1.0, 1.0], np.float32), logits.shape)
            score = tf.reduce_sum((logits - tf.reduce_mean(logits, axis=1, keepdims=True)) * signs)
        for total, gradient in zip(sums, tape.gradient(score, outputs), strict=True):
            flat = np.asarray(gradient, np.float64).reshape(-1, len(total))
            total += flat.T @ flat
    return [total / len(pixels) for total in sums]


def eliminations(chain: Chain, seen: Sample, sensitivity: Sequence[np.ndarray]) -> list[Elimination]:
    """For each layer but the last, in which order its channels go: by what the head would hear of it."""
    found = []
    for index, covariance in enumerate(seen.covariances[:-1]):
        kernel = chain.kernels[index + 1]
        use = sum(tap @ sensitivity[index + 1] @ tap.T for row in kernel.astype(np.float64) for tap in row)
        values, vectors = np.linalg.eigh(use)
        found.append(eliminate(covariance, vectors * np.sqrt(np.maximum(values, 0.0))))
    return found


def thin(chain: Chain, seen: Sample, kept: Sequence[np.ndarray]) -> Chain:
    """The chain with only the channels `kept[l]` of layer l, its weights solved again. All kept: the same chain."""
    if all(len(channels) == width for channels, width in zip(kept, chain.widths, strict=True)):
        return chain
    kernels, biases, changed = [], [], False
    flow = centred(seen.pixels)
    before = np.arange(3)
    for index, channels in enumerate(kept):
        kernel, bias = chain.kernels[index][:, :, before][..., channels], chain.biases[index][channels]
        changed = changed or len(before) < chain.kernels[index].shape[2]
        if changed:
            inputs = patches(flow, seen.places[index])
            kernel, bias = solve(inputs, seen.outputs[index][:, channels])
            del inputs
        kernels.append(kernel)
        biases.append(bias)
        flow = layer_by_parts(flow, kernel, bias, index in chain.pooled)
        before = channels
    return replace(chain, kernels=tuple(kernels), biases=tuple(biases))


def solve(inputs: np.ndarray, wanted: np.ndarray, rounds: int = ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [3, 3, in, out] and bias [out] that make of `inputs` [n, 9 * in] what is wanted, [n, out], as far as the
    ReLU lets through.

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
    kernel = weights.reshape(3, 3, inputs.shape[1] // 9, wanted.shape[1])
    return kernel.astype(np.float32), offset.astype(np.float32)


def patches(flow: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The 3 x 3 neighbourhoods float32 [n * p, 9 * C] of `places` [n, p, 2] in `flow` [n, h, w, C]; zeros outside."""
    found = np.empty((*places.shape[:2], 9, flow.shape[-1]), np.float32)
    rows, columns = places[..., 0], places[..., 1]
    for image in range(len(flow)):  # singly: a padded copy of them all would double the memory
        padded = np.pad(flow[image], ((1, 1), (1, 1), (0, 0)))
        for tap in range(9):
            found[image, :, tap] = padded[rows[image] + tap // 3, columns[image] + tap % 3]
    return found.reshape(-1, 9 * flow.shape[-1])


def centred(pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels as the first convolution takes them."""
    return pixels.astype(np.float32) - np.array(CAFFE_MEANS_RGB, np.float32)


def convolved(flow: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Outputs before the ReLU."""
    return np.asarray(tf.nn.conv2d(flow, kernel, 1, "SAME") + bias)


def after(outputs: np.ndarray, pooled: bool) -> np.ndarray:
    """ReLU, and pooling where there is one."""
    flow = tf.nn.relu(outputs)
    return np.asarray(tf.nn.max_pool2d(flow, 2, 2, "VALID") if pooled else flow)


def layer_by_parts(flow: np.ndarray, kernel: np.ndarray, bias: np.ndarray, pooled: bool) -> np.ndarray:
    """A whole layer, some images at a time."""
    side = flow.shape[1] // (2 if pooled else 1)
    found = np.empty((len(flow), side, side, len(bias)), np.float32)
    for start in range(0, len(flow), TOGETHER):
        part = slice(start, start + TOGETHER)
        found[part] = after(convolved(flow[part], kernel, bias), pooled)
    return found
