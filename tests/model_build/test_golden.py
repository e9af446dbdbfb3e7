"""The golden example of a built model is reproducible and detects wrong computations."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from labeller.classifier import load_classifier
from labeller.manifest import (
    EXEMPLARS_FILE,
    INPUT_NAME,
    MANIFEST_FILE,
    MODEL_FILE,
    OUTPUT_NAME,
    TOLERANCE,
    Manifest,
    ModelError,
)
from model_build import golden
from tests.model_build.narrow import of_swapped_colours

slow = pytest.mark.slow


def network(path: Path, row_weights: list[float]) -> Path:
    """A graph whose two logits are the sums of red over the upper and the lower rows, each row by its weight."""
    weights = np.zeros((16 * 16 * 3, 2), np.float32)
    for row, weight in enumerate(row_weights):
        weights.reshape(16, 16, 3, 2)[row, :, 0, row * 2 // 16] = weight
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [INPUT_NAME], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["values"]),
            helper.make_node("MatMul", ["values", "weights"], [OUTPUT_NAME]),
        ],
        "rows",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_random_tiles_are_reproducible_and_use_every_intensity() -> None:
    tiles = golden.random_tiles()

    assert (tiles.shape, tiles.dtype) == ((golden.CANDIDATES, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(tiles, golden.random_tiles())
    assert (tiles.min(), tiles.max()) == (0, 255)


def test_random_tiles_have_blocks_of_1_2_4_and_8_pixels_alternately() -> None:
    for tile, block in zip(golden.random_tiles(), [1, 2, 4, 8] * 4, strict=True):
        np.testing.assert_array_equal(tile, tile[::block, ::block].repeat(block, 0).repeat(block, 1))
        assert (tile[block - 1] != tile[block]).any()
        assert (tile[:, block - 1] != tile[:, block]).any()


def test_the_example_is_the_tile_whose_logits_change_most_under_the_swap_that_changes_them_less(
    tmp_path: Path,
) -> None:
    weights = [16.0 - row for row in range(16)]  # of which each change alone, and the larger one, choose other tiles
    example = golden.choose_golden_example(network(tmp_path / "rows.onnx", weights), (16, 16))

    def logits(tile: np.ndarray, channel: int) -> np.ndarray:
        sums = tile[..., channel].astype(float).sum(axis=1) * weights
        return np.array([sums[:8].sum(), sums[8:].sum()])

    tiles = golden.random_tiles()
    changes = [
        min(
            np.abs(logits(tile, 2) - logits(tile, 0)).max(),  # blue for red
            np.abs(logits(tile.swapaxes(0, 1), 0) - logits(tile, 0)).max(),  # rows for columns
        )
        for tile in tiles
    ]
    best = tiles[int(np.argmax(changes))]
    np.testing.assert_array_equal(example.pixels((16, 16))[0], best)
    np.testing.assert_allclose(example.logits, logits(best, 0), rtol=1e-5)


def test_the_example_has_the_familiarity_and_the_similarities_that_the_network_computes(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "rows.onnx", [16.0 - row for row in range(16)]))
    shares = np.full((768, 1), 1 / (768 * 255), np.float32) * np.float32([[1, 0.5, 0.25]])  # of the mean intensity
    model.graph.initializer.extend(
        [numpy_helper.from_array(shares, "shares"), numpy_helper.from_array(shares[:, 0], "one")]
    )
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["values", "one"], ["familiarity"]),
            helper.make_node("MatMul", ["values", "shares"], ["similarity"]),
        ]
    )
    outputs = {"familiarity": ["N"], "similarity": ["N", 3]}
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, outputs[name]) for name in outputs)
    onnx.save(model, tmp_path / "familiar.onnx")

    example = golden.choose_golden_example(tmp_path / "familiar.onnx", (16, 16))

    mean = example.pixels((16, 16))[0].mean() / 255
    assert example.familiarity == pytest.approx(mean, abs=1e-5)
    assert example.similarity == pytest.approx([mean, mean / 2, mean / 4], abs=1e-5)


@slow
def test_choosing_twice_gives_the_example_of_the_manifest(built: Path) -> None:
    manifest = Manifest.from_file(built / MANIFEST_FILE)

    assert golden.choose_golden_example(built / MODEL_FILE, manifest.input_size) == manifest.golden


@slow
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
    first.CopyFrom(numpy_helper.from_array(of_swapped_colours(numpy_helper.to_array(first)), first.name))


def transposed_kernels(network: onnx.ModelProto) -> None:
    """Swap height and width in the second convolution."""
    second = kernels(network)[1]
    second.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(second).swapaxes(2, 3).copy(), second.name))


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


def clipped_exemplars(network: onnx.ModelProto) -> None:
    """Lose the largest values of the exemplars; the logits stay."""
    (vectors,) = [item for item in network.graph.initializer if item.name == "familiarity/vectors"]
    values = np.minimum(numpy_helper.to_array(vectors), 30)
    vectors.CopyFrom(numpy_helper.from_array(values, vectors.name))


@slow
@pytest.mark.parametrize(
    "damage", [swapped_channels, transposed_kernels, unsigned_kernels, silent_channels, clipped_exemplars]
)
def test_a_model_that_computes_something_else_is_refused(built: Path, tmp_path: Path, damage) -> None:
    """The SHA-256 is right, as with an intact file on a faulty CPU."""
    network = onnx.load(built / MODEL_FILE)
    damage(network)
    content = network.SerializeToString()
    (tmp_path / MODEL_FILE).write_bytes(content)
    manifest = Manifest.from_file(built / MANIFEST_FILE)
    wrong = replace(manifest, model_sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / MANIFEST_FILE).write_text(wrong.to_json(), encoding="utf-8")
    shutil.copy(built / EXEMPLARS_FILE, tmp_path)

    with pytest.raises(ModelError, match="fails its self-check"):
        load_classifier(tmp_path, 1)


@slow
def test_damage_changes_the_golden_logits_by_far_more_than_the_tolerance(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "model")
    manifest = Manifest.from_file(built / MANIFEST_FILE)
    other = replace(manifest.golden, tile=golden.GoldenExample.of(np.full((16, 16, 3), 128, np.uint8), [0]).tile)
    (tmp_path / "model" / MANIFEST_FILE).write_text(replace(manifest, golden=other).to_json(), encoding="utf-8")

    with pytest.raises(ModelError, match="fails its self-check") as refused:
        load_classifier(tmp_path / "model", 1)
    difference = float(str(refused.value).split("(difference ")[1].split(",")[0])
    assert difference > 5 * TOLERANCE
