"""The class activation of a network made by hand, whose feature map is known: one channel is red, one is blue."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from evaluation import class_activation
from evaluation.class_activation import ClassActivation, shade
from labeller.manifest import ModelError

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


def network(
    pooling: str, dense: bool = False, inputs: str = "head/inputs", weights: str = "head/weights"
) -> onnx.ModelProto:
    """Pixels -> how much redder and bluer than grey each place is -> pooled, of unit length -> logits.

    `inputs` and `weights` are the names of these tensors of the output layer.
    """
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
        *((name, given.format(end), output.format(end)) for end in ends for name, given, output in UNIT),
        ("Concat", " ".join(f"{end}u" for end in ends), "unit" if dense else inputs),
        *([("MatMul", "unit square", "hidden"), ("Relu", "hidden", inputs)] if dense else []),
        ("MatMul", f"{inputs} {weights}", "product"),
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
            name, given.split(), [output], **({"perm": perm[output]} if output in perm else attributes.get(name, {}))
        )
        for name, given, output in steps
    ]
    constants = {
        "colours": np.array([[1, -0.5], [-0.5, -0.5], [-0.5, 1]], np.float32),
        "one": np.array([1], np.int64),
        "square": np.eye(2 * len(ends), dtype=np.float32),
        weights: np.array([[2, -2], [-2, 2]] * len(ends), np.float32),
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


def activation(model: onnx.ModelProto) -> ClassActivation:
    return ClassActivation.of(model.SerializeToString(), Path("model.onnx"))


@pytest.mark.parametrize("pooling", list(POOLED))
def test_the_hottest_place_is_where_the_object_is(pooling: str) -> None:
    twice = np.concatenate([picture(), picture()])

    red, blue = activation(network(pooling)).heat(twice, [RED, BLUE])

    assert np.argwhere(red == 1).tolist() == [[2, 1]]
    assert np.argwhere(blue == 1).tolist() == [[0, 3]]
    assert np.count_nonzero(red) == np.count_nonzero(blue) == 1  # grey speaks for nothing, the other colour against it


@pytest.mark.parametrize("pooling", list(POOLED))
def test_the_contributions_add_up_to_the_logit(pooling: str) -> None:
    model = network(pooling)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"image": picture()})

    for label in (RED, BLUE):
        (contributions,) = activation(model).contributions(picture(), [label])
        assert contributions.sum() + BIAS[label] == pytest.approx(expected[0, label], abs=1e-5)


@pytest.mark.parametrize("pooling", list(POOLED))
def test_pictures_together_get_the_maps_that_each_gets_alone(pooling: str) -> None:
    two_places = picture()
    two_places[:, 24:32, 0:8] = (110, 20, 20)  # red as well, but half as much
    explained = activation(network(pooling))

    together = explained.contributions(np.concatenate([two_places, picture()]), [RED, BLUE])

    assert together.dtype == np.float32
    alone = [explained.contributions(two_places, [RED]), explained.contributions(picture(), [BLUE])]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


ROOT = np.sqrt


@pytest.mark.parametrize(
    ("pooling", "second", "red", "places"),
    [
        ("average", 90, 3 / ROOT(13), (2 / 3, 1 / 3)),  # (180 + 90, 180) of unit length is (3, 2) / root of 13
        ("square root", 90, ROOT(3 / 5), (2 / 3, 1 / 3)),  # roots of (3, 2): (3, 2) / 5 are their squares
        ("maximum", 90, ROOT(1 / 2), (1, 0)),  # (180, 180)
        ("average", 180, 2 / ROOT(5), (1 / 2, 1 / 2)),
        ("maximum", 180, ROOT(1 / 2), (1 / 2, 1 / 2)),
    ],
)
def test_a_mean_is_shared_by_all_places_and_a_maximum_is_that_of_its_place(
    pooling: str, second: int, red: float, places: tuple[float, float]
) -> None:
    # Two places are redder than grey, by 180 and by `second`, and one is bluer, by 180. A head's weight for red is 2.
    pixels = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    pixels[:, 16:24, 8:16] = (200, 20, 20)
    pixels[:, 0:8, 24:32] = (second + 20, 20, 20)
    pixels[:, 24:32, 0:8] = (20, 20, 200)

    (contributions,) = activation(network(pooling)).contributions(pixels, [RED])

    expected = [2 * red * share for share in places]
    assert (contributions[2, 1], contributions[0, 3]) == pytest.approx(expected, abs=1e-5)


def test_the_outputs_are_declared_as_onnx_itself_declares_them() -> None:
    model = network("average")
    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_activation, "open_session", lambda content, path, threads: seen.append(content))
        activation(model)
    names = ("features", "head/inputs", "head/weights")
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    assert onnx.load_from_string(seen[0]) == model


def test_a_network_whose_tensors_have_other_names_is_refused() -> None:
    with pytest.raises(ModelError, match="head/inputs"):
        activation(network("average", inputs="unit"))


def test_nothing_is_hot_where_nothing_speaks_for_the_label() -> None:
    pixels = picture()
    pixels[:, 16:24, 8:16] = 128  # only the blue one is left

    (heat,) = activation(network("average")).heat(pixels, [RED])

    assert heat.tolist() == np.zeros((PLACES, PLACES)).tolist()


def test_the_shade_is_black_and_clear_where_the_map_is_hot() -> None:
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1
    with Image.open(io.BytesIO(shade(heat, 60, 30))) as image:
        assert (image.mode, image.size) == ("LA", (60, 30))
        assert image.getpixel((58, 1)) == (0, 0)
        assert image.getpixel((1, 28)) == (0, 204)  # 0.8 of 255


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((0, 0), "top left"),
        ((0, 3), "top right"),
        ((2, 1), "middle left"),
        ((3, 2), "bottom centre"),
    ],
)
def test_a_shade_for_a_page_says_in_words_where_it_is_brightest(place: tuple[int, int], words: str) -> None:
    row, column = place
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = (200, 20, 20)

    made = activation(network("average")).shade(pixels, RED, 40, 80)

    assert made.brightest == words
    with Image.open(io.BytesIO(base64.b64decode(made.uri.removeprefix("data:image/png;base64,")))) as image:
        assert image.size == (32, 64)  # as the picture, the longer side 64 pixels
        y, x = np.argwhere(np.asarray(image.getchannel("A")) < 25).mean(axis=0)  # of the brightest pixels
        assert (y // 16, x // 8) == (row, column)


def test_a_shade_where_nothing_speaks_for_the_label_names_no_place() -> None:
    blue = np.full((SIDE, SIDE, 3), (20, 20, 200), np.uint8)
    made = activation(network("average")).shade(blue, RED, 40, 80)
    assert made.brightest == ""
