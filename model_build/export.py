"""Keras to ONNX, and the frozen base and the trained head joined into the one graph that is shipped."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx

NUMBERED = re.compile(r"__(\d+)(?=$|:)")
"""How tf2onnx ends the names it makes up."""

OPSET = 17
"""ONNX operator set. The newest that tf2onnx 1.17 writes without warning and every onnxruntime since 1.12 reads."""

IMAGE = "image"
FEATURES = "features"
LOGITS = "logits"


def export(network: keras.Model, input_name: str, output_name: str, path: Path) -> onnx.ModelProto:
    """Write a Keras model with one input and one output as ONNX; the batch dimension stays free.

    Returns the graph that was written, its input and output named as asked.
    """
    (source,) = network.inputs
    signature = [tf.TensorSpec(source.shape, source.dtype, name=input_name)]

    @tf.function(input_signature=signature)
    def forward(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name: network(batch, training=False)}

    graph, _ = tf2onnx.convert.from_function(forward, input_signature=signature, opset=OPSET)
    _forget_the_process(graph)
    _rename(graph, {graph.graph.input[0].name: input_name, graph.graph.output[0].name: output_name})
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)
    return graph


def load(path: Path) -> onnx.ModelProto:
    """The graph in a file."""
    return onnx.load(path)


def join(base: onnx.ModelProto, head: onnx.ModelProto, path: Path) -> None:
    """Write base (image -> features) and head (features -> logits) as one graph, image -> logits."""
    head = onnx.compose.add_prefix(head, "head/")
    head.ir_version = base.ir_version
    del head.opset_import[:]
    head.opset_import.extend(base.opset_import)
    joined = onnx.compose.merge_models(base, head, io_map=[(FEATURES, f"head/{FEATURES}")])
    _rename(joined, {f"head/{LOGITS}": LOGITS})
    joined.producer_name = "model_build"
    onnx.checker.check_model(joined, full_check=True)
    onnx.save(joined, path)


def _forget_the_process(model: onnx.ModelProto) -> None:
    """Number anew what tf2onnx numbered, and name the batch N: it counts through the process and describes where the
    graph came from, so that the same network would be other bytes the second time."""
    _rename(model, _renumbered(model))
    model.graph.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "N"  # the batch is the only dimension that is free


def _renumbered(model: onnx.ModelProto) -> dict[str, str]:
    graph = model.graph
    names = [name for node in graph.node for name in (node.name, *node.output)] + [
        each.name for each in graph.initializer
    ]
    found = {name: NUMBERED.search(name) for name in names}
    numbers = sorted({int(match[1]) for match in found.values() if match})
    return {
        name: f"{name[: match.start(1)]}{numbers.index(int(match[1]))}{name[match.end(1) :]}"
        for name, match in found.items()
        if match
    }


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Give tensors and nodes of a graph other names, wherever they occur."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
