"""Names in an ONNX graph."""

from __future__ import annotations

import onnx


def rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Rename tensors and nodes wherever they occur."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
