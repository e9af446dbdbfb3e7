"""Keras predict and tf.function: the FP32 network, from the same base weights and with the finished model's head.

Writes that network as ONNX for the other runtimes. Run by bench.inference.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf
from onnx import numpy_helper

from bench.worker import Contenders
from labeller.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from model_build import base, export, head
from model_build.config import BuildConfig, Pooling

HEAD = "head/"
"""Prefix of the head's nodes, from export.join."""


class OtherWeights(Exception):
    """The named weights are not those of the model."""


def load(arguments: Mapping[str, Any]) -> Contenders:
    """Both ways to run the network."""
    tf.config.threading.set_intra_op_parallelism_threads(arguments["threads"])
    model = Path(arguments["model"])
    network = fp32_network(model, Manifest.from_file(model / MANIFEST_FILE), arguments["weights"])
    export.export(network, export.IMAGE, export.LOGITS, Path(arguments["onnx"]))
    traced = tf.function(lambda batch: network(batch, training=False))
    infer = {
        "Keras predict": lambda pixels: network.predict(pixels, batch_size=len(pixels), verbose=0),
        "tf.function": lambda pixels: traced(tf.constant(pixels)).numpy(),
    }
    return Contenders(infer, {"versions": {"tensorflow": tf.__version__, "keras": keras.__version__}})


def fp32_network(
    model: Path, manifest: Manifest, weights: str, load_base: Callable[[str, int, int], base.Base] = base.load
) -> keras.Model:
    """uint8 [N, S, S, 3] -> logits: the base before quantisation under the head of the finished model.

    Raises OtherWeights, WeightsError.
    """
    frozen = load_base(weights, manifest.input_size[0], BuildConfig(Path()).seed)
    if frozen.sha256 != manifest.build["weights_sha256"]:
        raise OtherWeights(
            f"{weights} has other values (SHA-256 {frozen.sha256[:12]}...) than the weights of {model} "
            f"({manifest.build['weights_sha256'][:12]}...); name those with --weights (make: WEIGHTS=)"
        )
    return keras.Model(frozen.network.input, _head(model, frozen.network.output_shape[1:])(frozen.network.output))


def _head(model: Path, shape: tuple[int, ...]) -> keras.Model:
    """The trained head: its weights from the finished graph, its pooling from report.json."""
    report = json.loads((model / "report.json").read_text("utf-8"))["head"]
    (chosen,) = (candidate for candidate in report["candidates"] if candidate["name"] == report["chosen"])
    graph = onnx.load(model / MODEL_FILE).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [node for node in graph.node if node.name.startswith(HEAD) and node.op_type == "MatMul"]
    weights = [values[node.input[1]] for node in products]
    biases = [
        values[node.input[1]]
        for product in products
        for node in graph.node
        if node.op_type == "Add" and node.input[0] == product.output[0]
    ]
    layers = head.dense_layers(*zip(weights, biases, strict=True))
    return head.on_feature_maps(layers, Pooling(chosen["pooling"]), shape)
