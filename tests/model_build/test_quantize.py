from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from model_build.base import on_rgb_pixels
from model_build.export import FEATURES, IMAGE, export
from model_build.quantize import quantize
from tests.model_build.narrow import narrow_vgg


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth pictures: noise says nothing about what a convolution does with photographs."""
    coarse = np.random.default_rng(2).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def graphs(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("quantize")
    fp32, int8 = folder / "base.onnx", folder / "base.int8.onnx"
    export(on_rgb_pixels(narrow_vgg(64, seed=5)), IMAGE, FEATURES, fp32)
    quantize(fp32, int8, (pixels[index : index + 1] for index in range(16)))
    return fp32, int8


def kernels(path: Path) -> dict[str, np.ndarray]:
    """Kernels of the convolutions by the name of the node, as stored."""
    graph = onnx.load(path).graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {n.name: stored[source.get(n.input[1], n.input[1])] for n in graph.node if n.op_type == "Conv"}


def test_every_kernel_is_stored_as_int8_of_seven_bits(graphs: tuple[Path, Path]) -> None:
    quantised = kernels(graphs[1])
    assert len(quantised) == 13
    assert {values.dtype for values in quantised.values()} == {np.dtype(np.int8)}
    assert max(abs(int(bound)) for v in quantised.values() for bound in (v.min(), v.max())) <= 64


def test_no_sum_of_two_products_can_saturate_int16(graphs: tuple[Path, Path]) -> None:
    # VPMADDUBSW adds two products of an unsigned and a signed byte into 16 bits, saturating (Intel SDM, vol. 2).
    largest = max(int(np.abs(values.astype(int)).max()) for values in kernels(graphs[1]).values())
    assert 255 * largest * 2 <= np.iinfo(np.int16).max


def test_every_output_channel_has_a_scale_of_its_own(graphs: tuple[Path, Path]) -> None:
    for values in kernels(graphs[1]).values():
        # Symmetric scales stretch the largest weight of each channel to the end of the range.
        assert np.abs(values.astype(int)).max(axis=(1, 2, 3)).min() >= 62


def test_int8_features_follow_fp32_on_pictures_that_calibration_did_not_see(
    graphs: tuple[Path, Path], pixels: np.ndarray
) -> None:
    fp32, int8 = (ort.InferenceSession(path).run(None, {IMAGE: pixels[16:]})[0].ravel() for path in graphs)
    assert np.corrcoef(fp32, int8)[0, 1] > 0.99
    assert np.abs(fp32 - int8).max() > 0  # it is quantised indeed


def test_nothing_but_the_result_is_left_in_the_folder(graphs: tuple[Path, Path]) -> None:
    assert sorted(path.name for path in graphs[0].parent.iterdir()) == ["base.int8.onnx", "base.onnx"]
