"""Export Keras models to ONNX, and join base and head in the graph that is shipped."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import keras
import onnx
import tensorflow as tf
import tf2onnx

from evaluation.class_activation import FEATURES
from labeller.manifest import ModelError
from model_build.class_activation import name_output_layer
from model_build.graph_names import rename

NUMBERED = re.compile(r"__(\d+)(?=$|:)")
"""The number that tf2onnx appends to names it generates."""

OPSET = 17
"""ONNX operator set: the newest that tf2onnx 1.17 writes without a warning; onnxruntime reads it since 1.12."""

IMAGE = "image"
STRIDE = 32
"""Pixels of the input for one position of the feature map: VGG16 halves its input five times."""
LOGITS = "logits"


def export(network: keras.Model, input_name: str, output_name: str, path: Path) -> onnx.ModelProto:
    """Write a Keras model with one input and one output as ONNX, with a free batch dimension; returns the graph."""
    (source,) = network.inputs
    signature = [tf.TensorSpec(source.shape, source.dtype, name=input_name)]

    @tf.function(input_signature=signature)
    def forward(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_name: network(batch, training=False)}

    graph, _ = tf2onnx.convert.from_function(forward, input_signature=signature, opset=OPSET)
    make_reproducible(graph)
    rename(graph, {graph.graph.input[0].name: input_name, graph.graph.output[0].name: output_name})
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)
    return graph


def join(base: Path, head: onnx.ModelProto, path: Path) -> None:
    """Write the base, a file with image -> features, and the head, features -> logits, as one graph.

    Inputs and weights of a linear head get the names that class activation asks for.
    """
    graph = onnx.load(base)
    head = onnx.compose.add_prefix(head, "head/")
    head.ir_version = graph.ir_version
    del head.opset_import[:]
    head.opset_import.extend(graph.opset_import)
    joined = onnx.compose.merge_models(graph, head, io_map=[(FEATURES, f"head/{FEATURES}")])
    rename(joined, {f"head/{LOGITS}": LOGITS})
    with suppress(ModelError):  # a head with a Dense layer shows no reasons
        name_output_layer(joined)
    joined.producer_name = "model_build"
    onnx.checker.check_model(joined, full_check=True)
    onnx.save(joined, path)


def resize(path: Path, image_size: int, resized: Path) -> None:
    """Write the graph of a base, image -> feature maps, for pictures of another size: convolutions and poolings have
    none of their own. The graph must be for at least 64 pixels: tf2onnx reshapes maps of one position by number."""
    graph = onnx.load(path)
    for value in (*graph.graph.input, *graph.graph.output):
        sides = value.type.tensor_type.shape.dim[1:3]
        stride = 1 if value.name == IMAGE else STRIDE
        for side in sides:
            side.dim_value = image_size // stride
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, resized)


def make_reproducible(model: onnx.ModelProto) -> None:
    """Make the bytes independent of the process: tf2onnx numbers names and batch dimensions per process, describes the
    graph's origin, and orders and names constants by iterating over sets, which PYTHONHASHSEED shuffles."""
    rename(model, _renumbered(model.graph))
    names = _names_by_use(model.graph)
    rename(model, names)
    order = list(names.values())
    constants = sorted(model.graph.initializer, key=lambda tensor: order.index(tensor.name))
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    model.graph.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "N"  # only the batch dimension is free


def _renumbered(graph: onnx.GraphProto) -> dict[str, str]:
    """New names for those that tf2onnx numbered: the numbers count from 0, in the order of first use."""
    names = [name for node in graph.node for name in (node.name, *node.input, *node.output)]
    matches = {name: match for name in names if (match := NUMBERED.search(name))}
    numbers = list(dict.fromkeys(int(match[1]) for match in matches.values()))
    return {
        name: f"{name[: match.start(1)]}{numbers.index(int(match[1]))}{name[match.end(1) :]}"
        for name, match in matches.items()
    }


def _names_by_use(graph: onnx.GraphProto) -> dict[str, str]:
    """New names for the constants, in the order of first use: that of the first node that uses them, and which of its
    inputs they are. Of equal constants tf2onnx keeps any, with its name."""
    constants = {tensor.name for tensor in graph.initializer}
    uses = [(name, f"{node.name}/{index}") for node in graph.node for index, name in enumerate(node.input)]
    first = dict(reversed(uses))  # the first use wins
    return {name: first[name] for name in dict(uses) if name in constants}
