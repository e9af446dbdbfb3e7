"""A VGG16 with few channels: the same layers, small enough to build a model in seconds."""

from __future__ import annotations

import keras
import numpy as np

from model_build.base import Base, on_rgb_pixels, sha256_of_values

BLOCKS = ((8, 2), (8, 2), (16, 3), (16, 3), (16, 3))  # channels, convolutions; VGG16 has 64 to 512 channels


def narrow_vgg(image_size: int, seed: int) -> keras.Model:
    """The network behind the preprocessing: BGR means subtracted -> feature maps [N, S/32, S/32, 16]."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((image_size, image_size, 3))
    flow = image
    for block, (channels, convolutions) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            flow = keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                bias_initializer=keras.initializers.RandomNormal(stddev=0.1),
                name=f"block{block}_conv{number}",
            )(flow)
        flow = keras.layers.MaxPooling2D(name=f"block{block}_pool")(flow)
    return keras.Model(image, flow)


def load_narrow(weights: str, image_size: int, seed: int) -> Base:
    """Stands in for model_build.base.load."""
    network = narrow_vgg(image_size, seed)
    return Base(on_rgb_pixels(network), weights, sha256_of_values(network))


def of_swapped_colours(kernel: np.ndarray) -> np.ndarray:
    """The first kernel [out, pixels * 3, h, w] (`model_build.first_layer`), as if red were blue."""
    outputs, inputs, height, width = kernel.shape
    return kernel.reshape(outputs, inputs // 3, 3, height, width)[:, :, ::-1].reshape(kernel.shape)
