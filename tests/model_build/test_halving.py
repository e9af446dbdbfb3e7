"""A base for pictures of twice the size sees the means of four pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from model_build.export import FEATURES, IMAGE
from model_build.halving import halve


def halved(tmp_path: Path, large: np.ndarray) -> np.ndarray:
    """What a base whose features are its pixels answers for pictures [N, H, W, C] of twice its size."""
    _, height, width, colours = large.shape
    shape = ["N", height // 2, width // 2, colours]
    graph = helper.make_graph(
        [helper.make_node("Cast", [IMAGE], [FEATURES], to=TensorProto.FLOAT)],
        "pixels as features",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    halve(tmp_path / "a.onnx", tmp_path / "b.onnx")
    (pixels,) = ort.InferenceSession(tmp_path / "b.onnx").run([FEATURES], {IMAGE: large})
    return pixels


@pytest.mark.parametrize("width", [2, 4, 6, 12, 16, 22, 48, 64])
def test_each_pixel_is_the_mean_of_its_own_four_at_any_width(tmp_path: Path, width: int) -> None:
    large = np.random.default_rng(width).integers(0, 256, (3, 8, width, 3), dtype=np.uint8)

    expected = np.rint(large.reshape(3, 4, 2, width // 2, 2, 3).mean(axis=(2, 4)))

    np.testing.assert_array_equal(halved(tmp_path, large), expected)


def test_every_mean_is_rounded_to_even(tmp_path: Path) -> None:
    sums = np.arange(4 * 255 + 1)
    four = np.stack([np.clip(sums - 255 * other, 0, 255) for other in range(4)])  # add up to `sums`
    large = np.zeros((len(sums), 2, 2, 3), np.uint8)
    large[:, [0, 0, 1, 1], [0, 1, 0, 1], 1] = four.T

    small = halved(tmp_path, large)

    assert small[[6, 10], 0, 0, 1].tolist() == [2, 2]  # 1.5 and 2.5
    assert small[[0, 1020], 0, 0, 1].tolist() == [0, 255]
    np.testing.assert_array_equal(small[:, 0, 0, 1], np.rint(sums / 4))
    assert not small[..., [0, 2]].any()
