from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_build.base import on_rgb_pixels
from model_build.export import FEATURES, IMAGE, LOGITS, export, join, make_reproducible
from tests.model_build.narrow import narrow_vgg


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return on_rgb_pixels(narrow_vgg(64, seed=5))


@pytest.fixture(scope="module")
def head() -> keras.Model:
    keras.utils.set_random_seed(6)
    return keras.Sequential(
        [
            keras.Input((2, 2, 16)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(8, activation="relu", bias_initializer="random_normal"),
            keras.layers.Dense(3, bias_initializer="random_normal"),
        ]
    )


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def run(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(path).run(None, feed)[0]


def test_the_exported_base_computes_what_keras_computes(base: keras.Model, pixels: np.ndarray, tmp_path: Path) -> None:
    export(base, IMAGE, FEATURES, tmp_path / "base.onnx")
    expected = base.predict(pixels, verbose=0)
    np.testing.assert_allclose(run(tmp_path / "base.onnx", {IMAGE: pixels}), expected, rtol=1e-3, atol=1e-3)
    operators = {domain.domain: domain.version for domain in onnx.load(tmp_path / "base.onnx").opset_import}
    assert operators[""] == 17
    one = run(tmp_path / "base.onnx", {IMAGE: pixels[:1]})  # the batch dimension is free
    np.testing.assert_allclose(one, expected[:1], rtol=1e-3, atol=1e-3)


def test_the_exported_base_has_no_transposes_between_its_layers(base: keras.Model, tmp_path: Path) -> None:
    graph = export(base, IMAGE, FEATURES, tmp_path / "base.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Transpose") == 2  # pixels and Keras's features are NHWC, everything between is NCHW
    assert (kinds.count("Conv"), kinds.count("MaxPool")) == (13, 5)


def test_the_joined_graph_is_the_head_on_the_base(
    base: keras.Model, head: keras.Model, pixels: np.ndarray, tmp_path: Path
) -> None:
    export(base, IMAGE, FEATURES, tmp_path / "base.onnx")
    join(tmp_path / "base.onnx", export(head, FEATURES, LOGITS, tmp_path / "head.onnx"), tmp_path / "joined.onnx")
    expected = head.predict(base.predict(pixels, verbose=0), verbose=0)
    np.testing.assert_allclose(run(tmp_path / "joined.onnx", {IMAGE: pixels}), expected, rtol=1e-3, atol=1e-3)
    graph = onnx.load(tmp_path / "joined.onnx").graph
    assert [value.name for value in graph.input] == [IMAGE]
    assert [value.name for value in graph.output] == [LOGITS]


def test_the_bytes_do_not_depend_on_names_and_order_that_tf2onnx_takes_from_sets(tmp_path: Path) -> None:
    """PYTHONHASHSEED changed the order of the constants, and under which of their names equal ones were kept."""

    def graph(names: dict[str, str], order: list[int]) -> bytes:
        one, two = (numpy_helper.from_array(np.float32([value]), names[name]) for name, value in (("a", 1), ("b", 2)))
        nodes = [
            helper.make_node("Mul", ["x", names["a"]], [names["scaled"]], "scale"),
            helper.make_node("Add", [names["scaled"], names["b"]], [names["shifted"]], "shift"),
            helper.make_node("Add", [names["shifted"], names["a"]], ["y"], "shift_again"),
        ]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
        constants = [(one, two)[index] for index in order]
        model = helper.make_model(helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants))
        make_reproducible(model)
        onnx.checker.check_model(model, full_check=True)
        (result,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": np.float32([5])})
        assert result == [8]  # 5 * 1 + 2 + 1
        return model.SerializeToString()

    one = graph({"a": "Const:0", "b": "fold__7", "scaled": "mul__3:0", "shifted": "add__4:0"}, [0, 1])
    other = graph({"a": "Const_1:0", "b": "fold__2", "scaled": "mul__9:0", "shifted": "add__1:0"}, [1, 0])
    assert one == other
