"""Familiarity inside the shipped graph: the feature maps of model.onnx -> familiarity, nearest exemplars, cosines."""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from labeller.manifest import EXEMPLARS_FILE, FAMILIARITY_OUTPUT, NEAREST_OUTPUT, SIMILARITY_OUTPUT
from model_build.data.dataset import Dataset
from model_build.familiarity import BEST, EPSILON, NEIGHBOURS, Exemplars, Familiarity, Scale
from model_build.features import WINDOWS, window_weights

NAMED = 3
"""Nearest exemplars that are named."""


def add_familiarity(path: Path, maps: str, side: int, familiarity: Familiarity) -> None:
    """Add three outputs to a graph that computes feature maps [N, side, side, C], called `maps`, on its way to logits.

    FAMILIARITY_OUTPUT is float32 [N]; NEAREST_OUTPUT int32 [N, NAMED], rows of exemplars.json, the most similar first;
    SIMILARITY_OUTPUT float32 [N, NAMED], their cosines. There are only float32 operations: the INT8 exemplars are
    converted when the graph is loaded, so that no processor's integer kernels are involved.
    """
    model = onnx.load(path)
    graph = model.graph
    for name, values in _constants(familiarity, side).items():
        graph.initializer.append(numpy_helper.from_array(values, f"familiarity/{name}"))
    graph.node.extend(_nodes(maps, familiarity))
    graph.output.extend(
        [
            helper.make_tensor_value_info(FAMILIARITY_OUTPUT, TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(NEAREST_OUTPUT, TensorProto.INT32, ["N", NAMED]),
            helper.make_tensor_value_info(SIMILARITY_OUTPUT, TensorProto.FLOAT, ["N", NAMED]),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_exemplars(folder: Path, exemplars: Exemplars, data: Dataset) -> None:
    """Write exemplars.json: the path below the data's folder and the label of each exemplar, in the graph's order."""
    rows = [
        {"path": example.path.relative_to(data.root).as_posix(), "label": data.labels[example.label]}
        for example in exemplars.examples
    ]
    (folder / EXEMPLARS_FILE).write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n", "utf-8")


def _constants(familiarity: Familiarity, side: int) -> dict[str, np.ndarray]:
    exemplars = familiarity.exemplars
    starts, widths, slopes = _pieces(familiarity.scale)
    count, channels = exemplars.vectors.shape
    scoring = {
        "offsets": exemplars.offsets,
        "neighbours": np.array([min(NEIGHBOURS, count)]),
        "windows": np.concatenate([window_weights(side, side), np.full((1, side * side), side**-2, np.float32)]),
        "positions": np.array([-1, side * side, channels]),
        "best": np.array([min(BEST, len(WINDOWS))]),
        "last": np.array([2]),
        "whole": np.array(len(WINDOWS)),
        "first_part": np.array([0]),
        "behind_parts": np.array([len(WINDOWS)]),
    }
    if (distance := familiarity.mahalanobis) is not None:
        scoring = {"whitening": distance.whitening, "means": distance.means, "each": np.array([2])}
    if familiarity.direction.any():
        scoring["direction"] = familiarity.direction[:, None]
    return scoring | {
        "vectors": np.ascontiguousarray(exemplars.vectors.T),
        "step": np.array(exemplars.step, np.float32),
        "starts": starts,
        "widths": widths,
        "slopes": slopes[:, None],
        "epsilon": np.array(EPSILON, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "channels": np.array([1]),
        "named": np.array([NAMED]),
    }


def _pieces(scale: Scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, width and slope of each piece, float32 [K - 1]: a share is the sum of slope x (score - start), each
    difference within 0 and the width."""
    widths = np.diff(scale.scores)
    return scale.scores[:-1], widths, (np.diff(scale.shares.astype(np.float64)) / widths).astype(np.float32)


def _node(outer: Set[str], operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node whose names are of this part of the graph, except `outer` ones."""

    def named(names: str) -> list[str]:
        return [name if name in outer else f"familiarity/{name}" for name in names.split()]

    title = f"familiarity/node/{outputs.split()[-1]}"
    return helper.make_node(operator, named(inputs), named(outputs), name=title, **attributes)


Node = Callable[..., onnx.NodeProto]
"""`_node` with the names of the outer graph."""


def _nodes(maps: str, familiarity: Familiarity) -> list[onnx.NodeProto]:
    node = partial(_node, {maps, FAMILIARITY_OUTPUT, NEAREST_OUTPUT, SIMILARITY_OUTPUT})
    by_direction = familiarity.direction.any()
    return [
        node("Cast", "vectors", "floats", to=TensorProto.FLOAT),
        *(_distance(node, maps) if familiarity.mahalanobis else _mean_closeness(node, maps)),
        node("TopK", "cosines named", f"{SIMILARITY_OUTPUT} rows", axis=1),
        node("Cast", "rows", NEAREST_OUTPUT, to=TensorProto.INT32),
        *(_along_direction(node, maps) if by_direction else [node("Identity", "base_score", "score")]),
        node("Sub", "score starts", "beyond"),
        node("Max", "beyond zero", "reached"),
        node("Min", "reached widths", "within"),
        node("MatMul", "within slopes", "sum"),
        node("Squeeze", "sum channels", "unbounded"),
        node("Max", "unbounded zero", "bounded_below"),
        node("Min", "bounded_below one", FAMILIARITY_OUTPUT),
    ]


def _distance(node: Node, maps: str) -> list[onnx.NodeProto]:
    """Maps to the cosines with the exemplars and, by the Mahalanobis distance, the score."""
    return [
        node("ReduceMean", maps, "channel_means", axes=[1, 2], keepdims=0),
        *_unit(node, "channel_means", ""),
        node("MatMul", "unit floats", "products"),
        node("Mul", "products step", "cosines"),
        node("MatMul", "unit whitening", "white"),
        node("Unsqueeze", "white channels", "white_row"),
        node("Sub", "white_row means", "differences"),
        node("Mul", "differences differences", "squared"),
        node("ReduceSum", "squared each", "distances", keepdims=0),
        node("ReduceMin", "distances", "distance", axes=[1], keepdims=1),
        node("Neg", "distance", "base_score"),
    ]


def _mean_closeness(node: Node, maps: str) -> list[onnx.NodeProto]:
    """Maps to the cosines with the exemplars and, by the closeness of the windows, the score."""
    # The whole picture is one more window, so that the exemplars are read once.
    return [
        node("Reshape", f"{maps} positions", "places"),
        node("MatMul", "windows places", "window_means"),
        *_unit(node, "window_means", "window_", "last"),
        node("MatMul", "window_unit floats", "window_products"),
        node("Mul", "window_products step", "window_cosines"),
        node("Gather", "window_cosines whole", "cosines", axis=1),
        node("Gather", "window_unit whole", "unit", axis=1),
        node("Slice", "window_cosines first_part behind_parts channels", "part_cosines"),
        node("Sub", "part_cosines offsets", "closeness"),
        node("TopK", "closeness neighbours", "highest highest_rows", axis=2),
        node("ReduceMean", "highest", "window_scores", axes=[2], keepdims=0),
        node("TopK", "window_scores best", "best_scores best_rows", axis=1),
        node("ReduceMean", "best_scores", "base_score", axes=[1], keepdims=1),
    ]


def _along_direction(node: Node, maps: str) -> list[onnx.NodeProto]:
    """Add the product with the direction to the score."""
    return [
        node("ReduceMax", maps, "channel_maxima", axes=[1, 2], keepdims=0),
        *_unit(node, "channel_maxima", "maximum_"),
        node("Concat", "unit maximum_unit", "both", axis=1),
        node("MatMul", "both direction", "along"),
        node("Add", "base_score along", "score"),
    ]


def _unit(node: Node, pooled: str, prefix: str, axis: str = "channels") -> list[onnx.NodeProto]:
    return [
        node("Mul", f"{pooled} {pooled}", f"{prefix}squares"),
        node("ReduceSum", f"{prefix}squares {axis}", f"{prefix}square_length", keepdims=1),
        node("Add", f"{prefix}square_length epsilon", f"{prefix}positive"),
        node("Sqrt", f"{prefix}positive", f"{prefix}length"),
        node("Div", f"{pooled} {prefix}length", f"{prefix}unit"),
    ]
