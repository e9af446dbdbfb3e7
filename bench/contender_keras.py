"""The network in FP32, from the same base weights and with the finished model's head: Keras predict and tf.function.

Writes the same network as ONNX, for the runtimes. Run by bench.inference.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

from bench.worker import inference_commands, serve
from labeller.manifest import MODEL_FILE, Manifest
from model_build import base, export, head
from model_build.config import BuildConfig, Pooling

HEAD = "head/"
"""Prefix that export.join gives to the head's nodes."""


class OtherWeights(Exception):
    """The weights that were named are not those the model was made from."""


def fp32_network(
    model: Path, manifest: Manifest, weights: str, load_base: Callable[[str, int, int], base.Base] = base.load
) -> keras.Model:
    """uint8 [N, S, S, 3] -> logits: the base before quantisation under the head of the finished model.

    Raises OtherWeights, WeightsError.
    """
    frozen = load_base(weights, manifest.input_size[0], BuildConfig(Path()).seed)
    if frozen.sha256 != manifest.build["weights_sha256"]:
        raise OtherWeights(
            f"{weights} has other values (SHA-256 {frozen.sha256[:12]}...) than the weights that {model} was made "
            f"from ({manifest.build['weights_sha256'][:12]}...); name those with --weights (make: WEIGHTS=)"
        )
    return keras.Model(frozen.network.input, _head(model, frozen.network.output_shape[1:])(frozen.network.output))


def _head(model: Path, shape: tuple[int, ...]) -> keras.Model:
    """The trained head, its weights read from the finished graph and its pooling from report.json."""
    found = json.loads((model / "report.json").read_text("utf-8"))["head"]
    (chosen,) = (each for each in found["candidates"] if each["name"] == found["chosen"])
    graph = onnx.load(model / MODEL_FILE).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    layers = [
        values[node.input[1]] for node in graph.node if node.name.startswith(HEAD) and node.op_type in ("MatMul", "Add")
    ]
    kernel, _, _, output = layers
    dense = keras.Sequential(
        [keras.Input(kernel.shape[:1]), keras.layers.Dense(kernel.shape[1]), keras.layers.Dense(len(output))]
    )
    dense.set_weights(layers)
    size = kernel.shape[0]
    return head.on_feature_maps(dense, Pooling(chosen["pooling"]), shape, np.zeros(size), np.ones(size))


def main() -> None:
    """Serve."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(given["threads"])
    model = Path(given["model"])
    network = fp32_network(model, Manifest.from_file(model / "manifest.json"), given["weights"])
    export.export(network, export.IMAGE, export.LOGITS, Path(given["onnx"]))
    traced = tf.function(lambda batch: network(batch, training=False))
    serve(
        inference_commands(
            {
                "Keras predict": lambda pixels: network.predict(pixels, batch_size=len(pixels), verbose=0),
                "tf.function": lambda pixels: traced(tf.constant(pixels)).numpy(),
            },
            np.load(given["pixels"]),
        )
        | {"versions": lambda: {"tensorflow": tf.__version__, "keras": keras.__version__}}
    )


if __name__ == "__main__":
    main()
