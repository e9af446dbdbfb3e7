"""The frozen base: VGG16 without its top, as a Keras model that takes raw RGB uint8 pixels."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from model_build import export
from model_build.cache import cache_in, key_of, source_of
from model_build.config import KERAS_WEIGHTS, BuildConfig

CAFFE_MEANS_RGB = (123.68, 116.779, 103.939)
"""Mean of ImageNet's training pixels, subtracted before VGG16 (Simonyan & Zisserman 2014; values as in
`keras.applications.imagenet_utils`, there in BGR order)."""

IMAGENET_SHA256 = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
"""`sha256_of_values` of the ImageNet weights that Keras publishes, whatever file they are in."""


class WeightsError(Exception):
    """The base weights cannot be loaded; the message says from where and what to do."""


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen base and the origin of its weights.

    `network` maps uint8 [N, S, S, 3] RGB to float32 [N, S/32, S/32, C]. `sha256` is over the weights' values in layer
    order, whatever file they came from, and decides `origin`: imagenet if the values are ImageNet's, else file or
    random.
    """

    network: keras.Model
    origin: str
    sha256: str


def load(weights: str, image_size: int, seed: int) -> Base:
    """Load VGG16 without its top and freeze it. Raises WeightsError.

    `weights` is `imagenet` (downloaded and checked by Keras), `random`, or the path of an .h5 file in the Keras layout.
    """
    shape = (image_size, image_size, 3)
    if weights == "random":
        keras.utils.set_random_seed(seed)
        vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=shape)
    elif weights == "imagenet":
        vgg16 = _imagenet(shape)
    else:
        vgg16 = _from_file(Path(weights), shape)
    if not all(np.isfinite(values).all() for values in vgg16.get_weights()):
        raise WeightsError(f"the weights of {weights} are damaged: some are not finite numbers")
    sha256 = sha256_of_values(vgg16)
    origin = "imagenet" if sha256 == IMAGENET_SHA256 else "random" if weights == "random" else "file"
    return Base(on_rgb_pixels(vgg16), origin, sha256)


def on_rgb_pixels(bgr_network: keras.Model) -> keras.Model:
    """Freeze a network and put the preprocessing of `keras.applications.vgg16` before it: RGB uint8, means subtracted.

    VGG16 takes BGR. The first kernel's input channels are reversed once instead of every image: the same sums, and no
    Gather in the exported graph. Changes `bgr_network` in place.
    """
    first = next(layer for layer in bgr_network.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1, :], *bias])
    bgr_network.trainable = False
    pixels = keras.Input(bgr_network.input_shape[1:], dtype="uint8", name="image")
    centred = keras.ops.cast(pixels, "float32") - np.array(CAFFE_MEANS_RGB, np.float32)
    return keras.Model(pixels, bgr_network(centred), name="base")


def export_base(base: Base, config: BuildConfig, path: Path) -> None:
    """Write the base as ONNX, image -> features, or copy the file that an earlier build exported."""
    key = key_of(
        "base",
        base.sha256,
        config.image_size,
        source_of(__file__, export.__file__),
        {name: version(name) for name in ("tensorflow", "keras", "tf2onnx", "onnx")},
    )
    cache_in(config.cache).files(key, [path], lambda: export.export(base.network, export.IMAGE, export.FEATURES, path))


def sha256_of_values(network: keras.Model) -> str:
    """SHA-256 over the weights of a network in layer order."""
    digest = hashlib.sha256()
    for values in network.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _imagenet(shape: tuple[int, int, int]) -> keras.Model:
    try:
        return keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # keras.utils.get_file raises network errors as plain Exception
        raise WeightsError(
            "the ImageNet weights are not in the Keras cache and could not be downloaded: "
            f"{_first_line(error)}. Try again with a network, or on a machine that has one download "
            f"{KERAS_WEIGHTS}, copy it here and name it with --weights PATH (make: WEIGHTS=PATH)"
        ) from error


def _from_file(path: Path, shape: tuple[int, int, int]) -> keras.Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that the file lacks
            return keras.applications.VGG16(include_top=False, weights=str(path), input_shape=shape)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise WeightsError(
            f"{path} does not hold the weights of VGG16 without its top in the Keras layout: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
