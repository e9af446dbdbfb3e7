"""The first convolution of a quantised base, rewritten to read the pixels as they are, four side by side at once.

The network subtracts the mean of each channel from the pixels, and quantisation rounds the differences to 256 levels.
Both vanish if the convolution takes the pixels with scale 1 and one zero point, and its bias the rest of the means.

Onnxruntime's INT8 convolution reads its inputs in place if their channels are a multiple of 4 (convsym.cpp,
KernelInputChannelAlignment), and copies all nine neighbours of each pixel otherwise. A pixel has three channels, four
pixels twelve. So four output pixels become one position with four times the channels, and their kernel has zeros where
a pixel is no neighbour. The numbers in memory are the same, so reshaping costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_build.export import IMAGE

PIXELS = 4
"""Pixels side by side in one position."""

BEGINNING = ("Cast", "Sub", "Transpose", "QuantizeLinear", "DequantizeLinear", "Conv")
"""The first nodes of a quantised base."""

TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
"""Transpositions that bring the channels before, and behind, rows and columns."""


def take_pixels(path: Path) -> None:
    """Rewrite the first convolution, 3 x 3 in INT8, of a base that `quantize` wrote, uint8 [N, S, S, 3] -> features.

    Four pixels are taken at once if S is a multiple of 4; `export.resize` may then change S to another one. The
    features stay what they are but for rounding, and but for the border: outside the picture, the convolution sees the
    mean of the channels' means instead of each channel's, a difference of at most 11 of 255 levels. Raises ValueError
    if the graph begins otherwise.
    """
    model = onnx.load(path)
    graph = model.graph
    *removed, convolution = _first_nodes(graph)
    means = _constant(graph, removed[1].input[1]).astype(np.float64).reshape(-1, 1, 1)
    zero_point = np.uint8(round(means.mean()))
    kernel, scale, bias = _weights(graph, convolution)
    bias = bias - (kernel * scale[:, None, None, None] * (means - zero_point)).sum(axis=(1, 2, 3))
    for node in removed:
        graph.node.remove(node)

    side = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    before = [helper.make_node("Transpose", [IMAGE], ["first/rows"], perm=TO_FIRST)]
    if side % PIXELS == 0:
        before = [
            helper.make_node("Pad", [IMAGE, "first/border", "first/zero_point"], ["first/bordered"]),
            helper.make_node("Reshape", ["first/bordered", "first/positions"], ["first/joined"]),
            helper.make_node("Transpose", ["first/joined"], ["first/rows"], perm=TO_FIRST),
        ]
        # Above and left, below and right. With a pixel on the left, all neighbours are in two positions.
        _add(graph, "border", np.array([0, 1, 1, 0, 0, 1, PIXELS - 1, 0]))
        _add(graph, "positions", np.array([0, 0, -1, PIXELS * 3]))
        _split_positions(graph, convolution, np.array([0, 0, -1, len(kernel)]))
        kernel, scale, bias = _widened(kernel), np.tile(scale, PIXELS), np.tile(bias, PIXELS)
        sizes = {attribute.name: attribute.ints for attribute in convolution.attribute}
        sizes["kernel_shape"][:], sizes["pads"][:] = kernel.shape[2:], [0, 0, 0, 0]
    _add(graph, "one", np.float32(1))
    _add(graph, "zero_point", zero_point)
    before.append(helper.make_node("DequantizeLinear", ["first/rows", "first/one", "first/zero_point"], ["first/x"]))
    convolution.input[0] = "first/x"
    for node in reversed(before):
        graph.node.insert(0, node)
    _set_weights(graph, convolution, kernel, scale, bias)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    del graph.value_info[:]  # onnx infers them again
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _first_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes BEGINNING. Raises ValueError if there are others."""
    nodes: list[onnx.NodeProto] = []
    for _ in BEGINNING:
        value = nodes[-1].output[0] if nodes else IMAGE
        nodes.append(next(node for node in graph.node if value in node.input))
    if (found := tuple(node.op_type for node in nodes)) != BEGINNING:
        raise ValueError(f"the base begins with {', '.join(found)}, not with {', '.join(BEGINNING)}")
    return nodes


def _tensor(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def _constant(graph: onnx.GraphProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(_tensor(graph, name))


def _add(graph: onnx.GraphProto, name: str, value: np.ndarray | np.generic) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"first/{name}"))


def _stored(graph: onnx.GraphProto, convolution: onnx.NodeProto) -> list[str]:
    """Names of kernel, its scale and zero point, and of the bias, its scale and zero point."""
    makers = (node for value in convolution.input[1:] for node in graph.node if value in node.output)
    return [name for node in makers for name in node.input]


def _weights(graph: onnx.GraphProto, convolution: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel int8 [out, 3, 3, 3], its scales float64 [out], and the bias float64 [out]."""
    kernel, scale, _, bias, bias_scale, *_ = (_constant(graph, name) for name in _stored(graph, convolution))
    return kernel, scale.astype(np.float64), bias * bias_scale.astype(np.float64)


def _set_weights(
    graph: onnx.GraphProto, convolution: onnx.NodeProto, kernel: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> None:
    """Store what `_weights` returns. The input's scale is 1, so the bias has the scale of the kernel."""
    rounded = np.round(bias / scale.astype(np.float32)).astype(np.int32)
    scale, zeros = scale.astype(np.float32), np.zeros(len(scale))
    values: list[np.ndarray] = [kernel, scale, zeros.astype(np.int8), rounded, scale, zeros.astype(np.int32)]
    for name, value in zip(_stored(graph, convolution), values, strict=True):
        _tensor(graph, name).CopyFrom(numpy_helper.from_array(value, name))


def _split_positions(graph: onnx.GraphProto, convolution: onnx.NodeProto, shape: np.ndarray) -> None:
    """Give the quantised activations of the convolution their `shape` [N, S, S, out] again, channels first."""
    node = convolution
    while node.op_type != "QuantizeLinear":  # there may be a ReLU between
        node = next(user for user in graph.node if node.output[0] in user.input)
    levels = node.output[0]
    for user in graph.node:
        user.input[:] = ["first/split" if name == levels else name for name in user.input]
    _add(graph, "pixels", shape)
    index = list(graph.node).index(node)
    for number, step in enumerate(
        (
            helper.make_node("Transpose", [levels], ["first/levels"], perm=TO_LAST),
            helper.make_node("Reshape", ["first/levels", "first/pixels"], ["first/levels_split"]),
            helper.make_node("Transpose", ["first/levels_split"], ["first/split"], perm=TO_FIRST),
        ),
        1,
    ):
        graph.node.insert(index + number, step)


def _widened(kernel: np.ndarray) -> np.ndarray:
    """Of a kernel [out, in, 3, 3], that of PIXELS pixels [PIXELS * out, PIXELS * in, 3, 2]."""
    outputs, inputs, height, width = kernel.shape
    wide = np.zeros((PIXELS, outputs, height, 2 * PIXELS, inputs), kernel.dtype)
    for pixel in range(PIXELS):
        wide[pixel, :, :, pixel : pixel + width] = kernel.transpose(0, 2, 3, 1)
    return wide.reshape(PIXELS * outputs, height, 2, PIXELS * inputs).transpose(0, 3, 1, 2)
