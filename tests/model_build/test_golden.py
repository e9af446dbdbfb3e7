"""The golden example of a built model is reproducible and detects wrong computations."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from labeller.classifier import load_classifier
from labeller.manifest import MANIFEST_FILE, MODEL_FILE, TOLERANCE, Manifest, ModelError
from model_build import golden

pytestmark = pytest.mark.slow


def test_random_tiles_are_reproducible_and_use_every_intensity() -> None:
    tiles = golden.random_tiles()

    assert (tiles.shape, tiles.dtype) == ((golden.CANDIDATES, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(tiles, golden.random_tiles())
    assert (tiles.min(), tiles.max()) == (0, 255)


def test_choosing_twice_gives_the_example_of_the_manifest(built: Path) -> None:
    manifest = Manifest.from_file(built / MANIFEST_FILE)

    assert golden.choose_golden_example(built / MODEL_FILE, manifest.input_size) == manifest.golden


def test_the_built_model_passes_its_self_check_with_any_number_of_threads(built: Path) -> None:
    assert [load_classifier(built, threads).check_itself() < 1e-4 for threads in (1, 2)] == [True, True]


def kernels(network: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The INT8 kernels of the convolutions, first to last."""
    stored = {item.name: item for item in network.graph.initializer}
    source = {node.output[0]: node.input[0] for node in network.graph.node if node.op_type == "DequantizeLinear"}
    return [stored[source[node.input[1]]] for node in network.graph.node if node.op_type == "Conv"]


def swapped_channels(network: onnx.ModelProto) -> None:
    """Swap red and blue in the first convolution, as a wrong channel order does."""
    first = kernels(network)[0]
    first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first)[:, ::-1].copy(), first.name))


def transposed_kernels(network: onnx.ModelProto) -> None:
    """Swap height and width in the first convolution."""
    first = kernels(network)[0]
    first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first).swapaxes(2, 3).copy(), first.name))


def unsigned_kernels(network: onnx.ModelProto) -> None:
    """Read the kernels of one layer as unsigned, and clip them."""
    kernel = kernels(network)[6]
    as_unsigned = numpy_helper.to_array(kernel).view(np.uint8)
    kernel.CopyFrom(numpy_helper.from_array(np.minimum(as_unsigned, 127).astype(np.int8), kernel.name))


def silent_channels(network: onnx.ModelProto) -> None:
    """Drop the last quarter of one layer's channels, as a kernel without tail handling does."""
    kernel = kernels(network)[3]
    values = numpy_helper.to_array(kernel).copy()
    values[-len(values) // 4 :] = 0
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


@pytest.mark.parametrize("damage", [swapped_channels, transposed_kernels, unsigned_kernels, silent_channels])
def test_a_model_that_computes_something_else_is_refused(built: Path, tmp_path: Path, damage) -> None:
    """The SHA-256 is right, as with an intact file on a faulty CPU."""
    network = onnx.load(built / MODEL_FILE)
    damage(network)
    content = network.SerializeToString()
    (tmp_path / MODEL_FILE).write_bytes(content)
    manifest = Manifest.from_file(built / MANIFEST_FILE)
    wrong = replace(manifest, model_sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / MANIFEST_FILE).write_text(wrong.to_json(), encoding="utf-8")

    with pytest.raises(ModelError, match="fails its self-check"):
        load_classifier(tmp_path, 1)


def test_damage_changes_the_golden_logits_by_far_more_than_the_tolerance(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "model")
    manifest = Manifest.from_file(built / MANIFEST_FILE)
    other = replace(manifest.golden, tile=golden.GoldenExample.of(np.full((16, 16, 3), 128, np.uint8), [0]).tile)
    (tmp_path / "model" / MANIFEST_FILE).write_text(replace(manifest, golden=other).to_json(), encoding="utf-8")

    with pytest.raises(ModelError, match="fails its self-check") as refused:
        load_classifier(tmp_path / "model", 1)
    difference = float(str(refused.value).split("(difference ")[1].split(",")[0])
    assert difference > 5 * TOLERANCE
