"""The plain model is ours but for the eighth bit of the kernels, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from bench.cpus import plain
from labeller.classifier import load_classifier
from labeller.manifest import MANIFEST_FILE, MODEL_FILE, Manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain.make(built, tmp_path_factory.mktemp("plain") / "model")


def stored(folder: Path) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(folder / MODEL_FILE).graph.initializer}


def kernels(folder: Path) -> list[np.ndarray]:
    """The convolutions' kernels as stored."""
    graph = onnx.load(folder / MODEL_FILE).graph
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    values = stored(folder)
    return [values[source[n.input[1]]] for n in graph.node if n.op_type == "Conv" and n.input[1] in source]


def logits_in_float(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """The answers of a network whose convolutions are not fused into INT8 kernels, which saturate without VNNI."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(folder / MODEL_FILE, options).run(None, {"image": pixels})[0]


def test_kernels_use_all_eight_bits_where_ours_use_seven(built: Path, made: Path) -> None:
    ours, eight_bits = kernels(built), kernels(made)
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in ours) <= 64
    assert [int(np.abs(kernel.astype(int)).max()) for kernel in eight_bits] == [127] * len(ours)


def test_only_kernels_biases_and_their_scales_differ(built: Path, made: Path) -> None:
    ours, theirs = stored(built), stored(made)
    changed = {name for name in ours if not np.array_equal(ours[name], theirs[name])}
    assert set(ours) == set(theirs)
    assert {ours[name].dtype.name for name in changed} == {"int8", "int32", "float32"}
    # Of each convolution: kernel, its scale, bias, its scale.
    assert len(changed) == 4 * len(kernels(built))


def test_the_plain_network_computes_the_same_function(built: Path, made: Path) -> None:
    size = Manifest.from_file(built / MANIFEST_FILE).input_size
    coarse = np.random.default_rng(4).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    pixels = coarse.repeat(size[0] // 8, axis=1).repeat(size[1] // 8, axis=2)
    ours, theirs = (logits_in_float(folder, pixels) for folder in (built, made))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_its_manifest_fits_it(built: Path, made: Path) -> None:
    assert load_classifier(made, 1).version == f"{load_classifier(built, 1).version}-plain"
