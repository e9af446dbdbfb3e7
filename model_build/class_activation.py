"""Names for the tensors that a class activation map needs (evaluation.class_activation)."""

from __future__ import annotations

from pathlib import Path

import onnx

from evaluation.class_activation import FEATURES, HEAD_INPUTS, HEAD_WEIGHTS, ClassActivation
from labeller.manifest import MODEL_FILE, OUTPUT_NAME, ModelError
from model_build.graph_names import rename


def name_output_layer(network: onnx.ModelProto) -> None:
    """Call inputs and weights of the layer that gives the logits HEAD_INPUTS and HEAD_WEIGHTS.

    Raises ModelError, and changes nothing, if the head is not one linear layer on the feature map.
    """
    graph = network.graph
    by_output = {name: node for node in graph.node for name in node.output}
    node = by_output[OUTPUT_NAME]
    if node.op_type == "Add":
        node = next(by_output[name] for name in node.input if name in by_output)
    constants = {tensor.name for tensor in graph.initializer}
    if node.op_type != "MatMul" or node.input[1] not in constants or FEATURES not in by_output:
        raise ModelError("the network has no feature map with a linear output layer, so it cannot show why")
    source = by_output.get(node.input[0])
    if source is not None and source.op_type == "Relu":
        raise ModelError("the network has a Dense layer in its head, so it cannot show why")
    rename(network, {node.input[0]: HEAD_INPUTS, node.input[1]: HEAD_WEIGHTS})


def read_class_activation(model: Path) -> ClassActivation:
    """That of the model in a folder, also of one whose build did not name the tensors. Raises OSError, ModelError."""
    path = model / MODEL_FILE
    network = onnx.load(path)
    name_output_layer(network)
    return ClassActivation.of(network.SerializeToString(), path)
