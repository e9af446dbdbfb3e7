"""The finished model with 8-bit instead of 7-bit kernels, for comparison; and a probe of a CPU's kernels."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.cpus import VerifyError
from bench.cpus.measure import PROBE_PRODUCTS
from labeller.manifest import EXEMPLARS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest
from model_build import golden
from model_build.progress import quiet_start


class PlainModelError(VerifyError):
    """The plain model cannot be built; the message says why."""


def make(model: Path, weights: str, out: Path) -> Path:
    """Write the model of the folder `model` to `out`, with its kernels quantised to 8 bits from the base `weights`.

    The ranges of the activations and the head stay. Returns `out`. Raises PlainModelError if the weights are not the
    manifest's.
    """
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    kernels, sha256 = _base_kernels(weights, manifest.input_size[0])
    expected = manifest.build.get("weights_sha256")
    if sha256 != expected:
        raise PlainModelError(
            f"{weights} holds other weights (SHA-256 {sha256[:12]}...) than the model was built from "
            f"({str(expected)[:12]}...); name those with WEIGHTS=..."
        )
    network = onnx.load(model / MODEL_FILE)
    requantise(network, kernels)
    content = network.SerializeToString()
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).write_bytes(content)
    plain = replace(
        manifest,
        model_version=f"{manifest.model_version}-plain",
        model_sha256=hashlib.sha256(content).hexdigest(),
        golden=golden.choose_golden_example(out / MODEL_FILE, manifest.input_size),
    )
    if (model / EXEMPLARS_FILE).is_file():
        shutil.copy(model / EXEMPLARS_FILE, out)
    (out / MANIFEST_FILE).write_text(plain.to_json(), encoding="utf-8")
    return out


def requantise(network: onnx.ModelProto, kernels: list[np.ndarray]) -> None:
    """Replace the kernels of the quantised convolutions of `network` by `kernels`, float32 [out, in, h, w], in 8 bits.

    Per output channel, symmetric, the largest weight at 127. The bias is stored in units of input scale x kernel scale
    and is converted with it. Changes `network`. Raises PlainModelError if a kernel is not the float original.
    """
    stored = {item.name: item for item in network.graph.initializer}
    dequantised = {node.output[0]: node for node in network.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    if len(convolutions) != len(kernels):
        raise PlainModelError(f"the model has {len(convolutions)} convolutions, its base weights {len(kernels)}")
    for node, kernel in zip(convolutions, kernels, strict=True):
        if node.input[1] not in dequantised:
            continue  # in float
        weight, scale = (stored[name] for name in dequantised[node.input[1]].input[:2])
        old, old_scale = numpy_helper.to_array(weight), numpy_helper.to_array(scale)
        step = old_scale.reshape(-1, 1, 1, 1)
        if old.shape != kernel.shape or np.abs(old * step - kernel).max() > 0.51 * old_scale.max():
            raise PlainModelError(f"the kernel of {node.name} is not the base weights' in fewer bits")
        new_scale = np.maximum(np.abs(kernel).max(axis=(1, 2, 3)), 1e-12).astype(np.float32) / np.float32(127)
        new = np.clip(np.round(kernel / new_scale.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
        _store(weight, new)
        _store(scale, new_scale)
        if len(node.input) > 2 and node.input[2] in dequantised:
            bias, bias_scale = (stored[name] for name in dequantised[node.input[2]].input[:2])
            ratio = new_scale.astype(np.float64) / old_scale
            _store(bias, np.round(numpy_helper.to_array(bias) / ratio).astype(np.int32))
            _store(bias_scale, (numpy_helper.to_array(bias_scale) * ratio).astype(np.float32))


def write_probe(path: Path) -> Path:
    """Write a network that adds up 64 products of its input, uint8 [1, 64], and 127 in onnxruntime's U8S8 kernel."""
    weights = np.full((PROBE_PRODUCTS, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["row", "weights"], ["sums"])],
        "U8S8 probe",
        [helper.make_tensor_value_info("row", TensorProto.UINT8, [1, PROBE_PRODUCTS])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 16])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _base_kernels(weights: str, image_size: int) -> tuple[list[np.ndarray], str]:
    """Kernels [out, in, h, w] of the frozen base in order, RGB, and the SHA-256 of its weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        import keras

        from model_build import base
        from model_build.config import BuildConfig
    try:
        frozen = base.load(weights, image_size, BuildConfig(Path("data")).seed)
    except base.WeightsError as error:
        raise PlainModelError(str(error)) from error
    layers = [layer for model in frozen.network.layers for layer in getattr(model, "layers", [model])]
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    return [layer.get_weights()[0].transpose(3, 2, 0, 1) for layer in convolutions], frozen.sha256


def _store(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name))
