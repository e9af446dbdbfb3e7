"""The frozen base taken apart: a chain of convolutions as plain numbers, and a network made of such a chain again."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from model_build.base import CAFFE_MEANS_RGB

OUTPUT_COST, INPUT_COST = 32, 15
"""Multiply-accumulates that take as long as writing one output value and as reading one input value of a convolution
in onnxruntime's INT8 kernels. Fitted to 216 convolutions (3 x 3, 3 x 1 and 1 x 3, 16 to 512 channels, 8 to 128 places
a side; one thread, Zen 4 with VNNI): 4.28 ms for 10^9 multiply-accumulates, 0.136 for 10^6 outputs, 0.064 for 10^6
inputs; half of them are within 1.5 % of it, all within 17 %. Multiply-accumulates alone miss by 6 and 42 %."""


class StructureError(Exception):
    """The base is not a plain chain of 3 x 3 convolutions and poolings; it cannot be compressed."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """One layer: a 3 x 3 convolution, bias, ReLU, and a 2 x 2 max pooling if `pooled`.

    `kernels` are [3, 3, in, out] alone, or a column [3, 1, in, rank] and a row [1, 3, rank, out] one after the other,
    with nothing in between: a kernel of low rank. `bias` is [out].
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
        """Channels between column and row; None of a whole kernel."""
        return self.kernels[0].shape[-1] if len(self.kernels) == 2 else None

    def outputs(self, flow: np.ndarray) -> tf.Tensor:
        """float32 [n, h, w, in] -> [n, h, w, out], before the ReLU."""
        for kernel in self.kernels:
            flow = tf.nn.conv2d(flow, kernel, 1, "SAME")
        return flow + self.bias

    def __call__(self, flow: np.ndarray) -> tf.Tensor:
        """The whole layer: float32 [n, h, w, in] -> [n, h, w, out], of half the side if `pooled`."""
        return self.after(self.outputs(flow))

    def after(self, outputs: tf.Tensor) -> tf.Tensor:
        """ReLU, and pooling where there is one."""
        flow = tf.nn.relu(outputs)
        return tf.nn.max_pool2d(flow, 2, 2, "VALID") if self.pooled else flow


@dataclass(frozen=True, slots=True)
class Chain:
    """A frozen base, on centred RGB pixels."""

    layers: tuple[Convolution, ...]

    @property
    def widths(self) -> list[int]:
        """Output channels of each layer."""
        return [layer.width for layer in self.layers]

    @property
    def ranks(self) -> list[int | None]:
        """Rank of each layer; None of a whole kernel."""
        return [layer.rank for layer in self.layers]

    def sides(self, image_size: int) -> list[int]:
        """Places along a side of each layer's outputs, before its pooling."""
        found, side = [], image_size
        for layer in self.layers:
            found.append(side)
            side //= 2 if layer.pooled else 1
        return found

    def multiplications(self, image_size: int) -> int:
        """Multiply-accumulates for one image."""
        return sum(
            side * side * kernel.size
            for side, layer in zip(self.sides(image_size), self.layers, strict=True)
            for kernel in layer.kernels
        )


def layer_cost(inputs: int, outputs: int, rank: int | None) -> int:
    """What one place of a layer takes, in multiply-accumulates that take as long."""
    if rank is None:
        return _cost(9, inputs, outputs)
    return _cost(3, inputs, rank) + _cost(3, rank, outputs)


def _cost(taps: int, inputs: int, outputs: int) -> int:
    return taps * inputs * outputs + INPUT_COST * inputs + OUTPUT_COST * outputs


def chain_of(network: keras.Model) -> Chain:
    """The numbers of a frozen base of `model_build.base`. StructureError if it is of another kind."""
    (inner,) = (layer for layer in network.layers if isinstance(layer, keras.Model))
    layers: list[Convolution] = []
    for layer in inner.layers[1:]:
        if isinstance(layer, keras.layers.MaxPooling2D) and layers and not layers[-1].pooled:
            layers[-1] = Convolution(layers[-1].kernels, layers[-1].bias, pooled=True)
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            kernel, bias = layer.get_weights()
            layers.append(Convolution((kernel,), bias))
        else:
            raise StructureError(f"the base has a layer {layer.name} that compression does not know")
    return Chain(tuple(layers))


def network_of(chain: Chain, image_size: int) -> keras.Model:
    """The chain as a Keras network on RGB pixels, uint8 [N, S, S, 3] -> features."""
    pixels = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    flow = keras.ops.cast(pixels, "float32") - np.array(CAFFE_MEANS_RGB, np.float32)
    for index, layer in enumerate(chain.layers):
        *columns, last = layer.kernels
        for kernel in columns:
            column = keras.layers.Conv2D(
                kernel.shape[-1], kernel.shape[:2], padding="same", use_bias=False, name=f"column{index}"
            )
            flow = column(flow)
            column.set_weights([kernel])
        convolution = keras.layers.Conv2D(
            layer.width, last.shape[:2], padding="same", activation="relu", name=f"conv{index}"
        )
        flow = convolution(flow)
        convolution.set_weights([last, layer.bias])
        if layer.pooled:
            flow = keras.layers.MaxPooling2D(name=f"pool{index}")(flow)
    network = keras.Model(pixels, flow, name="base")
    network.trainable = False
    return network
