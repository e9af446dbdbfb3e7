"""The class activation of a network made by hand, whose feature map is known: one channel is red, one is blue."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from labeller.manifest import ModelError
from model_build.class_activation import ClassActivation, shade

SIDE, PLACES = 32, 4  # pixels of a side, and places of the feature map
RED, BLUE = 0, 1
BIAS = (0.25, -0.25)

UNIT = [
    ("Mul", "{0} {0}", "{0}2"),
    ("ReduceSum", "{0}2 one", "{0}s"),
    ("Sqrt", "{0}s", "{0}l"),
    ("Div", "{0} {0}l", "{0}u"),
]
POOLED = {
    "average": [("ReduceMean", "features", "a")],
    "square root": [("ReduceMean", "features", "m"), ("Sqrt", "m", "a")],
    "maximum": [("ReduceMax", "features", "a")],
    "average and maximum": [("ReduceMean", "features", "a"), ("ReduceMax", "features", "b")],
}


def network(pooling: str, dense: bool = False) -> onnx.ModelProto:
    """Pixels -> how much redder and bluer than grey each place is -> pooled, of unit length -> logits."""
    pooled = POOLED[pooling]
    ends = ["a", "b"] if pooling == "average and maximum" else ["a"]
    steps = [
        ("Cast", "image", "floats"),
        ("MatMul", "floats colours", "coloured"),
        ("Relu", "coloured", "pixels"),
        ("Transpose", "pixels", "planes"),
        ("AveragePool", "planes", "small"),
        ("Transpose", "small", "features"),
        *pooled,
        *((name, inputs.format(end), output.format(end)) for end in ends for name, inputs, output in UNIT),
        ("Concat", " ".join(f"{end}u" for end in ends), "unit"),
        *([("MatMul", "unit square", "hidden"), ("Relu", "hidden", "vector")] if dense else []),
        ("MatMul", "vector weights" if dense else "unit weights", "product"),
        ("Add", "product bias", "logits"),
    ]
    attributes = {
        "Cast": {"to": TensorProto.FLOAT},
        "AveragePool": {"kernel_shape": [8, 8], "strides": [8, 8]},
        "ReduceMean": {"axes": [1, 2], "keepdims": 0},
        "ReduceMax": {"axes": [1, 2], "keepdims": 0},
        "ReduceSum": {"keepdims": 1},
        "Concat": {"axis": 1},
    }
    perm = {"planes": [0, 3, 1, 2], "features": [0, 2, 3, 1]}
    nodes = [
        helper.make_node(
            name, inputs.split(), [output], **({"perm": perm[output]} if output in perm else attributes.get(name, {}))
        )
        for name, inputs, output in steps
    ]
    constants = {
        "colours": np.array([[1, -0.5], [-0.5, -0.5], [-0.5, 1]], np.float32),
        "one": np.array([1], np.int64),
        "square": np.eye(2 * len(ends), dtype=np.float32),
        "weights": np.array([[2, -2], [-2, 2]] * len(ends), np.float32),
        "bias": np.array(BIAS, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def picture() -> NDArray[np.uint8]:
    """Grey, with a red square in row 2, column 1 of the places, and a fainter blue one in row 0, column 3."""
    pixels = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    pixels[:, 16:24, 8:16] = (200, 20, 20)
    pixels[:, 0:8, 24:32] = (100, 100, 150)
    return pixels


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.mark.parametrize("pooling", list(POOLED))
def test_the_hottest_place_is_where_the_object_is(tmp_path: Path, pooling: str) -> None:
    activation = ClassActivation.of(saved(tmp_path, network(pooling)))
    twice = np.concatenate([picture(), picture()])

    red, blue = activation.heat(twice, [RED, BLUE])

    assert np.argwhere(red == 1).tolist() == [[2, 1]]
    assert np.argwhere(blue == 1).tolist() == [[0, 3]]
    assert np.count_nonzero(red) == np.count_nonzero(blue) == 1  # grey speaks for nothing, the other colour against it


@pytest.mark.parametrize("pooling", list(POOLED))
def test_the_contributions_add_up_to_the_logit(tmp_path: Path, pooling: str) -> None:
    model = network(pooling)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"image": picture()})

    activation = ClassActivation.of(saved(tmp_path, model))

    for label in (RED, BLUE):
        (contributions,) = activation.contributions(picture(), [label])
        assert contributions.sum() + BIAS[label] == pytest.approx(expected[0, label], abs=1e-5)


def test_the_model_itself_stays_as_it_is(tmp_path: Path) -> None:
    folder = saved(tmp_path, network("average"))
    before = (folder / "model.onnx").read_bytes()
    ClassActivation.of(folder).heat(picture(), [RED])
    assert (folder / "model.onnx").read_bytes() == before


def test_a_head_with_a_hidden_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Dense layer"):
        ClassActivation.of(saved(tmp_path, network("average", dense=True)))


def test_an_output_layer_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = network("average")
    del model.graph.node[-2:]
    model.graph.node.append(helper.make_node("Gemm", ["unit", "weights", "bias"], ["logits"]))
    with pytest.raises(ModelError, match="linear output layer"):
        ClassActivation.of(saved(tmp_path, model))


def test_nothing_is_hot_where_nothing_speaks_for_the_label(tmp_path: Path) -> None:
    pixels = picture()
    pixels[:, 16:24, 8:16] = 128  # only the blue one is left

    (heat,) = ClassActivation.of(saved(tmp_path, network("average"))).heat(pixels, [RED])

    assert heat.tolist() == np.zeros((PLACES, PLACES)).tolist()


def test_the_shade_is_black_and_clear_where_the_map_is_hot() -> None:
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1
    with Image.open(io.BytesIO(shade(heat, 60, 30))) as image:
        assert (image.mode, image.size) == ("LA", (60, 30))
        assert image.getpixel((58, 1)) == (0, 0)
        assert image.getpixel((1, 28)) == (0, 204)  # 0.8 of 255
