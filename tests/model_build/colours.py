"""A base that tells a picture's mean colour, and pictures of one colour: what it computes of them is known."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from model_build.data.dataset import Example
from model_build.export import FEATURES, IMAGE
from model_build.features import Features
from tests.support import encoded


def write_base(path: Path, side: int) -> None:
    """uint8 [N, side, side, 3] -> the mean colour [N, 1, 1, 3]."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [IMAGE], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats"], [FEATURES], axes=[1, 2], keepdims=1),
        ],
        "mean colour",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", 1, 1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def pictures(folder: Path, split: str, colours: np.ndarray, labels: list[int]) -> tuple[Example, ...]:
    """A picture of each colour, with its label."""
    examples = []
    for number, (colour, label) in enumerate(zip(colours, labels, strict=True)):
        path = folder / f"{split}-{number}.png"
        path.write_bytes(encoded(Image.new("RGB", (64, 64), tuple(colour.tolist()))))
        examples.append(Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest()))
    return tuple(examples)


def features_of(examples: tuple[Example, ...], colours: np.ndarray) -> Features:
    """What the base computes of pictures of these colours: each one's mean and maximum is its colour."""
    labels = np.array([example.label for example in examples])
    return Features(examples, np.stack([colours, colours], axis=1).astype(np.float32), labels)
