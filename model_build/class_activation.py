"""Why a picture got its label: which places of it speak for the label.

A class activation map (B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
arXiv 1512.04150): a label's logit is the sum of the head's inputs times its weights, and each input is pooled from one
channel of the last feature map. What a mean contributes is divided among the places as the channel is; what a maximum
contributes belongs to the place of the maximum. With the bias, the map adds up to the logit.

The map needs two tensors that model.onnx computes on its way and does not return. Here they are outputs of a copy in
memory, so serving pays nothing for them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME, ModelError

FEATURES = "features"
"""The last feature map, float32 [N, h, w, C], in model.onnx."""

SHADE = 0.8
"""Opacity of the shade over places that do not speak for the label. The bright rest keeps its colours, so that no hue
is needed, which a picture may have itself."""


@dataclass(frozen=True, slots=True)
class ClassActivation:
    """A finished model that also returns its feature maps and the inputs of the head's output layer."""

    session: onnxruntime.InferenceSession
    inputs: str  # the tensor of the output layer's inputs, float32 [N, D]
    weights: NDArray[np.float32]  # [D, labels]

    @classmethod
    def of(cls, model: Path, threads: int = 1) -> ClassActivation:
        """Read the model in a folder. Raises OSError; ModelError if its head is not one linear layer."""
        path = model / MODEL_FILE
        network = onnx.load(path)
        inputs, weights = _output_layer(network.graph, path)
        network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (FEATURES, inputs))
        return cls(open_session(network.SerializeToString(), path, threads), inputs, weights)

    def contributions(self, pixels: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.float32]:
        """What each place adds to the logit of one label of each picture, float32 [N, h, w].

        `pixels`: uint8 [N, H, W, 3]; `labels`: N numbers.
        """
        maps, inputs = self.session.run([FEATURES, self.inputs], {INPUT_NAME: pixels})
        parts = inputs * self.weights[:, labels].T  # [N, D]: of each input
        shares = [_as_channel(maps), _at_maximum(maps)]
        if parts.shape[1] == maps.shape[3]:
            shares = shares[1:] if _are_maxima(inputs, maps) else shares[:1]
        return np.asarray(np.einsum("nhwc,nc->nhw", np.concatenate(shares, axis=3), parts), np.float32)

    def heat(self, pixels: NDArray[np.uint8], labels: Sequence[int]) -> NDArray[np.float32]:
        """`contributions` to the label, from 0, none or against it, to 1, the most of the picture."""
        positive = np.maximum(self.contributions(pixels, labels), 0)
        most = positive.max(axis=(1, 2), keepdims=True)
        return np.asarray(positive / np.where(most > 0, most, 1), np.float32)


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


def as_data_uri(png: bytes) -> str:
    """A PNG for a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _output_layer(graph: onnx.GraphProto, path: Path) -> tuple[str, NDArray[np.float32]]:
    """Inputs and weights of the layer that gives the logits. Raises ModelError."""
    by_output = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    node = by_output[OUTPUT_NAME]
    if node.op_type == "Add":
        node = next(by_output[name] for name in node.input if name in by_output)
    if node.op_type != "MatMul" or node.input[1] not in constants or FEATURES not in by_output:
        raise ModelError(f"{path} has no feature map with a linear output layer, so it cannot show why")
    source = by_output.get(node.input[0])
    if source is not None and source.op_type == "Relu":
        raise ModelError(f"{path} has a Dense layer in its head, so it cannot show why")
    return node.input[0], numpy_helper.to_array(constants[node.input[1]])


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
