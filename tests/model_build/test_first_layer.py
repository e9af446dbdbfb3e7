from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from model_build.base import CAFFE_MEANS_RGB, on_rgb_pixels
from model_build.export import FEATURES, IMAGE, export
from model_build.first_layer import take_pixels
from model_build.quantize import quantize

CHANNELS = 16  # with fewer, onnxruntime uses another kernel
HIGHEST = 200.0  # of the activations' range, so that a level is 200 / 255


def base(side: int, path: Path) -> Path:
    """A convolution with ReLU in INT8, uint8 [N, side, side, 3] -> [N, side, side, CHANNELS]."""
    keras.utils.set_random_seed(3)
    image = keras.Input((side, side, 3))
    layer = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", bias_initializer="random_normal")
    fp32 = path / "fp32.onnx"
    export(on_rgb_pixels(keras.Model(image, layer(image))), IMAGE, FEATURES, fp32)
    centred, features = (find_output(fp32, operator) for operator in ("Transpose", "Relu"))
    ranges = {
        centred: (np.float32([-124.0]), np.float32([152.0])),
        features: (np.float32([0.0]), np.float32([HIGHEST])),
    }
    values = {value: ranges[features] for node in onnx.load(fp32).graph.node for value in node.output} | ranges
    quantize(fp32, path / "int8.onnx", values)
    return path / "int8.onnx"


def find_output(path: Path, operator: str) -> str:
    return next(node.output[0] for node in onnx.load(path).graph.node if node.op_type == operator)


def first_weights(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [out, 3, 3, 3] and bias [out] that the stored numbers of the convolution stand for."""
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    kernel, bias = (
        (stored[name] - stored[zero].reshape(shape)) * stored[scale].reshape(shape)
        for (name, scale, zero), shape in zip(
            (makers[value].input for value in convolution.input[1:]), ((-1, 1, 1, 1), (-1,)), strict=True
        )
    )
    return kernel, bias


def expected(pixels: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The layer in float64, with pixels of the level 115 around the picture: the rounded mean of the means."""
    bordered = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=115) - np.array(CAFFE_MEANS_RGB)
    windows = np.lib.stride_tricks.sliding_window_view(bordered, (3, 3), axis=(1, 2))
    return np.maximum(np.einsum("nhwcij,ocij->nhwo", windows, kernel) + bias, 0)


@pytest.fixture(scope="module", params=[8, 6], ids=["four pixels at once", "a side that is no multiple of four"])
def rewritten(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The rewritten graph, and what it must give for `pixels_of` its side."""
    path = base(request.param, tmp_path_factory.mktemp("first"))
    weights = first_weights(path)
    take_pixels(path)
    return path, expected(pixels_of(request.param), *weights)


def pixels_of(side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, side, side, 3), dtype=np.uint8)


def test_the_convolution_sees_the_pixels_minus_the_means_and_the_mean_level_around_them(
    rewritten: tuple[Path, np.ndarray],
) -> None:
    path, features = rewritten
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {IMAGE: pixels_of(features.shape[1])})[0]
    inside = features < HIGHEST
    assert 0.2 < (found[inside] > 0).mean() < 0.9
    # Half a level of the output, and the rounding of the bias.
    np.testing.assert_allclose(found[inside], features[inside], atol=0.51 * HIGHEST / 255)


def test_nothing_computes_with_the_pixels_before_the_convolution(rewritten: tuple[Path, np.ndarray]) -> None:
    operators = {node.op_type for node in onnx.load(rewritten[0]).graph.node}
    assert operators <= {"Pad", "Reshape", "Transpose", "DequantizeLinear", "QuantizeLinear", "Conv", "Relu"}


def test_onnxruntime_moves_no_activation_to_another_place(rewritten: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # that the file is for this processor alone
    ort.InferenceSession(rewritten[0], options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert "QLinearConv" in operators
    assert "Transpose" not in operators


def test_a_graph_that_begins_otherwise_is_refused(tmp_path: Path) -> None:
    base(8, tmp_path)
    with pytest.raises(ValueError, match="the base begins with Cast, Sub, Transpose, Conv"):
        take_pixels(tmp_path / "fp32.onnx")
