"""The frozen base as plain arrays: a sequence of convolutions, read from Keras and written back to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from model_build.base import CAFFE_MEANS_RGB

OUTPUT_COST, INPUT_COST = 32, 15
"""Time to write one output value and to read one input value of a convolution in onnxruntime's INT8 kernels, in
multiply-accumulates. Fitted to 216 convolutions (3 x 3, 3 x 1 and 1 x 3, 16 to 512 channels, 8 to 128 positions a side;
one thread, Zen 4 with VNNI): 4.28 ms for 10^9 multiply-accumulates, 0.136 for 10^6 outputs, 0.064 for 10^6 inputs. Half
of the convolutions are within 1.5% of the fit, all within 17%. Multiply-accumulates alone miss by 6% and 42%."""


class StructureError(Exception):
    """The base is not a plain sequence of 3 x 3 convolutions and poolings, so it cannot be compressed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Per layer: output channels, rank (None for a whole kernel), and whether a pooling follows."""

    widths: tuple[int, ...]
    ranks: tuple[int | None, ...]
    pooled: tuple[bool, ...]

    def sides(self, image_size: int) -> list[int]:
        """Side of each layer's output, before its pooling."""
        return [image_size >> sum(self.pooled[:layer]) for layer in range(len(self.pooled))]

    def multiplications(self, image_size: int) -> int:
        """Multiply-accumulates for one image."""
        return sum(count * taps * inputs * outputs for count, taps, inputs, outputs in self._kernels(image_size))

    def cost(self, image_size: int) -> int:
        """Estimated time of one image, in multiply-accumulates."""
        return sum(
            count * (taps * inputs * outputs + INPUT_COST * inputs + OUTPUT_COST * outputs)
            for count, taps, inputs, outputs in self._kernels(image_size)
        )

    def _kernels(self, image_size: int) -> Iterator[tuple[int, int, int, int]]:
        """Positions, taps, inputs and outputs of every kernel."""
        inputs = 3
        for side, width, rank in zip(self.sides(image_size), self.widths, self.ranks, strict=True):
            if rank is None:
                yield side * side, 9, inputs, width
            else:
                yield side * side, 3, inputs, rank
                yield side * side, 3, rank, width
            inputs = width


@dataclass(frozen=True, slots=True)
class Convolution:
    """One layer: a 3 x 3 convolution, bias, ReLU, and a 2 x 2 max pooling if `pooled`.

    `kernels` is one kernel [3, 3, in, out], or for a low rank a column [3, 1, in, rank] followed directly by a row
    [1, 3, rank, out]. `bias` is [out].
    """

    kernels: tuple[np.ndarray, ...]
    bias: np.ndarray
    pooled: bool = False

    @property
    def width(self) -> int:
        """Output channels."""
        return len(self.bias)

    @property
    def rank(self) -> int | None:
        """Channels between column and row; None for a whole kernel."""
        return self.kernels[0].shape[-1] if len(self.kernels) == 2 else None

    def outputs(self, activations: np.ndarray) -> tf.Tensor:
        """float32 [n, h, w, in] -> [n, h, w, out], before the ReLU."""
        for kernel in self.kernels:
            activations = tf.nn.conv2d(activations, kernel, 1, "SAME")
        return activations + self.bias

    def activate(self, outputs: tf.Tensor) -> tf.Tensor:
        """Apply the ReLU, and the pooling if there is one."""
        activations = tf.nn.relu(outputs)
        return tf.nn.max_pool2d(activations, 2, 2, "VALID") if self.pooled else activations

    def __call__(self, activations: np.ndarray) -> tf.Tensor:
        """The whole layer: float32 [n, h, w, in] -> [n, h, w, out], or half the side if `pooled`."""
        return self.activate(self.outputs(activations))


@dataclass(frozen=True, slots=True)
class ConvNet:
    """A frozen base. Its input is centred RGB pixels."""

    layers: tuple[Convolution, ...]

    @property
    def shape(self) -> Shape:
        """Channels, ranks and poolings of the layers."""
        rows = ((layer.width, layer.rank, layer.pooled) for layer in self.layers)
        return Shape(*zip(*rows, strict=True))


def from_keras(model: keras.Model) -> ConvNet:
    """Read the weights of a base made by `model_build.base`. Raises StructureError for any other network."""
    (inner,) = (layer for layer in model.layers if isinstance(layer, keras.Model))
    layers: list[Convolution] = []
    for layer in inner.layers[1:]:
        if isinstance(layer, keras.layers.MaxPooling2D) and layers and not layers[-1].pooled:
            layers[-1] = Convolution(layers[-1].kernels, layers[-1].bias, pooled=True)
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            kernel, bias = layer.get_weights()
            layers.append(Convolution((kernel,), bias))
        else:
            raise StructureError(
                f"the base cannot be compressed: its layer {layer.name} is neither a 3 x 3 convolution nor a pooling "
                "after one"
            )
    return ConvNet(tuple(layers))


def to_keras(network: ConvNet, image_size: int) -> keras.Model:
    """The network as a frozen Keras model: RGB pixels, uint8 [N, S, S, 3] -> features."""
    pixels = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    activations = keras.ops.cast(pixels, "float32") - np.array(CAFFE_MEANS_RGB, np.float32)
    for index, layer in enumerate(network.layers):
        for kernel in layer.kernels:
            last = kernel is layer.kernels[-1]
            convolution = keras.layers.Conv2D(
                kernel.shape[-1],
                kernel.shape[:2],
                padding="same",
                use_bias=last,
                activation="relu" if last else None,
                name=f"{'conv' if last else 'column'}{index}",
            )
            activations = convolution(activations)
            convolution.set_weights([kernel, layer.bias] if last else [kernel])
        if layer.pooled:
            activations = keras.layers.MaxPooling2D(name=f"pool{index}")(activations)
    model = keras.Model(pixels, activations, name="base")
    model.trainable = False
    return model
