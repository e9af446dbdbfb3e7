"""Pictures of twice the size for a base that takes smaller ones: each pixel is the mean of four.

An INT8 convolution computes the means, of up to 16 pixels side by side as one position, for the reason that first_layer
gives: 59 us for 384 x 384 pixels on one thread, where onnxruntime's AveragePool took 244.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from model_build.export import IMAGE
from model_build.graph_names import rename

SIDE_BY_SIDE = 16
"""Pixels in one position, at most. 8 and 64 take 129 and 98 us, 32 as long as 16."""

PREFIX = "halving/"
MEANS = f"{PREFIX}means"
GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
halving (uint8[N, {height}, {width}, {colours}] image) => (uint8[N, {half_height}, {half_width}, {colours}] means) {{
    joined = Reshape (image, positions)
    joined_rows = Transpose <perm = [0, 3, 1, 2]> (joined)
    levels = DequantizeLinear (joined_rows, one, zero)
    weights = DequantizeLinear (kernel, quarter, zero_weight)
    sums = Conv <kernel_shape = [2, 1], strides = [2, 1]> (levels, weights)
    rounded = QuantizeLinear (sums, one, zero)
    rounded_rows = Transpose <perm = [0, 2, 3, 1]> (rounded)
    means = Reshape (rounded_rows, pixels)
}}
"""


def halve(path: Path, halved: Path) -> None:
    """Write the graph of a base, image uint8 [N, H, W, C] -> feature maps, for pictures twice as wide and high.

    The means are rounded to even, in whole numbers that every processor computes alike.
    """
    base = onnx.load(path)
    rename(base, {IMAGE: "halved"})
    (small,) = base.graph.input
    height, width, colours = (size.dim_value for size in small.type.tensor_type.shape.dim[1:])
    model = onnx.compose.merge_models(_halving(height, width, colours, base), base, io_map=[(MEANS, "halved")])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, halved)


def _halving(height: int, width: int, colours: int, base: onnx.ModelProto) -> onnx.ModelProto:
    """The graph image -> means of that size, for the versions of ONNX that the base has."""
    sizes = {"height": 2 * height, "width": 2 * width, "half_height": height, "half_width": width, "colours": colours}
    model = onnx.parser.parse_model(GRAPH.format(**sizes))
    model.ir_version = base.ir_version
    del model.opset_import[:]
    model.opset_import.extend(base.opset_import)
    kernel = _kernel(math.gcd(2 * width, SIDE_BY_SIDE), colours)
    for name, value in {
        "positions": np.array([0, 0, -1, kernel.shape[1]]),
        "pixels": np.array([0, 0, -1, colours]),
        "kernel": kernel,
        "quarter": np.float32(0.25),
        "zero_weight": np.int8(0),
        "one": np.float32(1),
        "zero": np.uint8(0),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return onnx.compose.add_prefix(model, PREFIX, rename_inputs=False)


def _kernel(pixels: int, colours: int) -> np.ndarray:
    """Sums of four of so many pixels side by side, int8 [pixels // 2 * colours, pixels * colours, 2, 1]."""
    pairs = np.repeat(np.eye(pixels // 2, dtype=np.int8), 2, axis=1)
    sums = np.kron(pairs, np.eye(colours, dtype=np.int8))
    return np.stack([sums, sums], axis=2)[..., np.newaxis]
