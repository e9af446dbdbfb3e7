"""The names of the tensors that class activation needs, in networks whose tensors have others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.printer import to_text

from labeller.manifest import ModelError
from model_build.class_activation import name_output_layer, read_class_activation
from tests.evaluation.test_class_activation import RED, activation, network, picture


def unnamed(dense: bool = False) -> onnx.ModelProto:
    return network("average and maximum", dense, inputs="unit", weights="kernel")


def test_the_output_layer_gets_its_names_and_all_else_stays() -> None:
    model, expected = unnamed(), to_text(network("average and maximum"))
    for _ in range(2):  # the second time, the names are there
        name_output_layer(model)
        assert to_text(model).replace('[""] ', "") == expected


def test_a_model_of_an_older_build_shows_why_and_stays_as_it_is(tmp_path: Path) -> None:
    onnx.save(unnamed(), tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    heat = read_class_activation(tmp_path).heat(picture(), [RED])
    np.testing.assert_array_equal(heat, activation(network("average and maximum")).heat(picture(), [RED]))
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_a_head_with_a_hidden_layer_is_refused() -> None:
    model = unnamed(dense=True)
    with pytest.raises(ModelError, match="Dense layer"):
        name_output_layer(model)
    assert model == unnamed(dense=True)


def test_an_output_layer_of_another_kind_is_refused() -> None:
    model = unnamed()
    del model.graph.node[-2:]
    model.graph.node.append(helper.make_node("Gemm", ["unit", "kernel", "bias"], ["logits"]))
    with pytest.raises(ModelError, match="linear output layer"):
        name_output_layer(model)
