"""The finished model with 8-bit instead of 7-bit kernels, for comparison; and a probe of a CPU's kernels."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.cpus.measure import PROBE_PRODUCTS
from labeller.manifest import EXEMPLARS_FILE, MANIFEST_FILE, MODEL_FILE, Manifest
from model_build import golden


def make(model: Path, out: Path) -> Path:
    """Write the model of the folder `model` to `out`, with its kernels in 8 bits; returns `out`.

    The kernels are those of the 7-bit ones, so that a compressed network needs no base weights. Ranges of activations,
    head and familiarity stay; a glance network is left out, so that each picture shows what the kernels do.
    """
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    network = onnx.load(model / MODEL_FILE)
    requantise(network)
    content = network.SerializeToString()
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL_FILE).write_bytes(content)
    plain = replace(
        manifest,
        model_version=f"{manifest.model_version}-plain",
        model_sha256=hashlib.sha256(content).hexdigest(),
        golden=golden.choose_golden_example(out / MODEL_FILE, manifest.input_size),
        glance=None,
    )
    if (model / EXEMPLARS_FILE).is_file():
        shutil.copy(model / EXEMPLARS_FILE, out)
    (out / MANIFEST_FILE).write_text(plain.to_json(), encoding="utf-8")
    return out


def requantise(network: onnx.ModelProto) -> None:
    """Stretch the quantised kernels of the convolutions of `network`, per output channel, to 127 as the largest weight.

    The bias is stored in units of input scale x kernel scale and is converted with it. Changes `network`.
    """
    stored = {item.name: item for item in network.graph.initializer}
    dequantised = {node.output[0]: node for node in network.graph.node if node.op_type == "DequantizeLinear"}
    for node in network.graph.node:
        if node.op_type != "Conv" or node.input[1] not in dequantised:
            continue  # in float
        weight, scale = (stored[name] for name in dequantised[node.input[1]].input[:2])
        old, old_scale = numpy_helper.to_array(weight), numpy_helper.to_array(scale)
        largest = np.maximum(np.abs(old.astype(np.float64)).max(axis=(1, 2, 3)), 1)
        ratio = largest / 127
        _store(weight, np.round(old / ratio.reshape(-1, 1, 1, 1)).astype(np.int8))
        _store(scale, (old_scale * ratio).astype(np.float32))
        if len(node.input) > 2 and node.input[2] in dequantised:
            bias, bias_scale = (stored[name] for name in dequantised[node.input[2]].input[:2])
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


def _store(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name))
