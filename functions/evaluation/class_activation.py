"""Why a picture got its label: which places of it speak for the label.

A class activation map (B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
arXiv 1512.04150): a label's logit is the sum of the head's inputs times its weights, and each input is pooled from one
channel of the last feature map. What a mean contributes is divided among the places as the channel is; what a maximum
contributes belongs to the place of the maximum. With the bias, the map adds up to the logit.

The map needs three tensors of model.onnx that the file does not declare as outputs: the functions request every output
that a file declares. A copy of the file in memory declares them; it is loaded only where somebody asks why.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime
    from numpy.typing import NDArray

TENSORS = FEATURES, HEAD_INPUTS, HEAD_WEIGHTS = "features", "head/inputs", "head/weights"
"""In model.onnx: the last feature map, float32 [N, h, w, C]; what the head's output layer gets, [N, D]; its weights,
[D, labels]. The latter two have these names only if the head is one linear layer."""

SHADE = 0.8
"""Opacity of the shade over places that do not speak for the label. The bright rest keeps its colours, so that no hue
is needed, which a picture may have itself."""

SHADE_SIZE = 64
"""Pixels of the longer side of a shade on a page; the browser enlarges it smoothly."""

NINTHS = (
    *("top left", "top centre", "top right"),
    *("middle left", "centre", "middle right"),
    *("bottom left", "bottom centre", "bottom right"),
)


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message: number and wire type 2, length in one byte (so below 128), content."""
    return bytes([number << 3 | 2, len(content)]) + content


# onnx.proto: ModelProto.graph is field 7, GraphProto.output 12, ValueInfoProto.name 1.
_AS_OUTPUTS = _field(7, b"".join(_field(12, _field(1, name.encode())) for name in TENSORS))
"""What makes the three tensors outputs, behind the content of an ONNX file: the functions have no library to edit the
graph. Messages one after the other are read as one, with the repeated fields of all
(https://protobuf.dev/programming-guides/encoding/#last-one-wins)."""


@dataclass(frozen=True, slots=True)
class Shade:
    """What is laid over a picture on a page."""

    uri: str  # a PNG: black, the more transparent, the more a place speaks for the label
    brightest: str  # the part of the picture that speaks for it most, in words; "" if none does

    @classmethod
    def of(cls, heat: NDArray[np.float32], width: int, height: int) -> Shade:
        """From a map [h, w] as of `ClassActivation.heat`, for a picture of width x height."""
        longest = max(width, height)
        size = (max(1, round(SHADE_SIZE * side / longest)) for side in (width, height))
        return cls("data:image/png;base64," + base64.b64encode(shade(heat, *size)).decode(), _brightest(heat))


@dataclass(frozen=True, slots=True)
class ClassActivation:
    """A finished model that returns its feature maps, and inputs and weights of the head's output layer."""

    session: onnxruntime.InferenceSession

    @classmethod
    def of(cls, network: bytes, path: Path, threads: int = 1) -> ClassActivation:
        """From the content of a model.onnx; `path` is for messages.

        Raises ModelError if its head is not one linear layer, or if it was built before these tensors had names.
        """
        return cls(open_session(network + _AS_OUTPUTS, path, threads))

    def contributions(self, pixels: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.float32]:
        """What each place adds to the logit of one label of each picture, float32 [N, h, w].

        `pixels`: uint8 [N, H, W, 3]; `labels`: N numbers.
        """
        maps, inputs, weights = self.session.run(TENSORS, {INPUT_NAME: pixels})
        parts = inputs * weights[:, labels].T  # [N, D]: of each input
        shares = [_as_channel(maps), _at_maximum(maps)]
        if parts.shape[1] == maps.shape[3]:
            shares = shares[1:] if _are_maxima(inputs, maps) else shares[:1]
        return np.asarray(np.einsum("nhwc,nc->nhw", np.concatenate(shares, axis=3), parts), np.float32)

    def heat(self, pixels: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.float32]:
        """`contributions` to the label, from 0, none or against it, to 1, the most of the picture."""
        positive = np.maximum(self.contributions(pixels, labels), 0)
        most = positive.max(axis=(1, 2), keepdims=True)
        return np.asarray(positive / np.where(most > 0, most, 1), np.float32)

    def shade(self, pixels: NDArray[np.uint8], label: int, width: int, height: int) -> Shade:
        """What darkens all that does not speak for the label, for a page.

        `pixels`: uint8 [H, W, 3], decoded from a picture of width x height.
        """
        (heat,) = self.heat(pixels[np.newaxis], [label])
        return Shade.of(heat, width, height)


def shade(heat: NDArray[np.float32], width: int, height: int) -> bytes:
    """A PNG to lay over the picture: black, the more transparent, the more a place speaks for the label.

    By the root, because a single place often has several times as much as all others.
    """
    opacity = np.round(255 * SHADE * (1 - np.sqrt(heat))).astype(np.uint8)
    alpha = Image.fromarray(opacity).resize((width, height), Image.Resampling.BILINEAR)
    image = Image.merge("LA", (Image.new("L", alpha.size), alpha))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _brightest(heat: NDArray[np.float32]) -> str:
    """The ninth of the picture with most of the map [h, w], such as "top left"; "" for a map of zeros."""
    rows, columns = (3 * np.arange(side) // side for side in heat.shape)
    ninths = np.zeros((3, 3))
    np.add.at(ninths, (rows[:, np.newaxis], columns), heat)
    return NINTHS[int(ninths.argmax())] if heat.any() else ""


def _as_channel(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    total = maps.sum(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.where(total > 0, total, 1))


def _at_maximum(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    is_maximum = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    return np.asarray(is_maximum / np.maximum(is_maximum.sum(axis=(1, 2), keepdims=True), 1), np.float32)


def _are_maxima(inputs: NDArray[np.float32], maps: NDArray[np.float32]) -> bool:
    """Whether the inputs are proportional to the channels' maxima."""
    maxima = maps.max(axis=(1, 2))
    return bool(np.allclose(inputs * np.linalg.norm(maxima, axis=1, keepdims=True), maxima, rtol=1e-3, atol=1e-3))
