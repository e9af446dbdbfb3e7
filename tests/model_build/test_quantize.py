import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

from model_build import quantize
from model_build.base import on_rgb_pixels
from model_build.config import BuildConfig, QuantisationCandidate, Ranges
from model_build.data.dataset import Dataset, Example
from model_build.export import FEATURES, IMAGE, export
from model_build.features import Features, pool
from model_build.first_layer import take_pixels
from model_build.quantize import (
    QuantisationError,
    QuantisedBase,
    choose_quantisation,
    compare,
    load,
    quantise_base,
    relative_error,
    save,
)
from tests.model_build.narrow import narrow_vgg


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth pictures, because convolutions treat noise differently from photographs."""
    coarse = np.random.default_rng(2).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


MINMAX = QuantisationCandidate("minmax", Ranges.MINMAX, 16)


def settings(*candidates: QuantisationCandidate) -> BuildConfig:
    return BuildConfig(Path("unused"), image_size=64, speedup=1.0, quantisations=candidates)


def run(path: Path, pixels: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {IMAGE: pixels})[0]


def reference(fp32: Path, pixels: np.ndarray) -> Features:
    """The pooled output of the graph for the pictures, which are written to files beside it."""
    examples = []
    for index, picture in enumerate(pixels):
        path = fp32.parent / f"{index}.png"
        Image.fromarray(picture).save(path)
        examples.append(Example(path, 0, hashlib.sha256(path.read_bytes()).hexdigest()))
    return Features(tuple(examples), pool(run(fp32, pixels)), np.zeros(len(pixels), int))


@pytest.fixture(scope="module")
def graphs(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    work = tmp_path_factory.mktemp("quantize")
    fp32 = work / "base.onnx"
    export(on_rgb_pixels(narrow_vgg(64, seed=5)), IMAGE, FEATURES, fp32)
    (measured,) = compare(fp32, settings(MINMAX), pixels[:16], reference(fp32, pixels[16:]), work)
    return fp32, measured.path


def kernels(path: Path) -> dict[str, np.ndarray]:
    """Kernels of the convolutions by the name of the node, as stored."""
    graph = onnx.load(path).graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {n.name: stored[source.get(n.input[1], n.input[1])] for n in graph.node if n.op_type == "Conv"}


def test_every_kernel_is_stored_as_int8_of_seven_bits(graphs: tuple[Path, Path]) -> None:
    quantised = kernels(graphs[1])
    assert len(quantised) == 13
    assert {values.dtype for values in quantised.values()} == {np.dtype(np.int8)}
    assert max(abs(int(bound)) for v in quantised.values() for bound in (v.min(), v.max())) <= 64


def test_no_sum_of_two_products_can_saturate_int16(graphs: tuple[Path, Path]) -> None:
    # VPMADDUBSW adds two products of an unsigned and a signed byte into 16 bits, saturating (Intel SDM, vol. 2).
    largest = max(int(np.abs(values.astype(int)).max()) for values in kernels(graphs[1]).values())
    assert 255 * largest * 2 <= np.iinfo(np.int16).max


def test_every_output_channel_has_its_own_scale(graphs: tuple[Path, Path]) -> None:
    for values in kernels(graphs[1]).values():
        # Symmetric scales stretch the largest weight of base channel to the end of the range.
        assert np.abs(values.astype(int)).max(axis=(1, 2, 3)).min() >= 62


def test_int8_features_follow_fp32_on_unseen_pictures(graphs: tuple[Path, Path], pixels: np.ndarray) -> None:
    fp32, int8 = (run(path, pixels[16:]).ravel() for path in graphs)
    assert np.corrcoef(fp32, int8)[0, 1] > 0.99
    assert np.abs(fp32 - int8).max() > 0  # the graph is quantised


# ---- comparison -----------------------------------------------------------------------------------------


def test_minmax_matches_onnxruntime_on_the_same_pictures(
    graphs: tuple[Path, Path], pixels: np.ndarray, tmp_path: Path
) -> None:
    class Reader(CalibrationDataReader):
        feeds = iter([{IMAGE: pixels[:16]}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    prepared, expected = tmp_path / "prepared.onnx", tmp_path / "expected.onnx"
    quant_pre_process(str(graphs[0]), str(prepared), skip_symbolic_shape=True)
    options = {"per_channel": True, "reduce_range": True, "activation_type": QuantType.QUInt8}
    quantize_static(str(prepared), str(expected), Reader(), **options)
    take_pixels(expected)
    np.testing.assert_array_equal(run(graphs[1], pixels[16:]), run(expected, pixels[16:]))


@pytest.fixture(scope="module")
def compared(
    graphs: tuple[Path, Path], pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> list[QuantisedBase]:
    candidates = (
        MINMAX,
        QuantisationCandidate("percentile 80", Ranges.PERCENTILE, 16, 80.0),
        QuantisationCandidate("entropy", Ranges.ENTROPY, 3),
        QuantisationCandidate("first and last in FP32", Ranges.MINMAX, 8, float_layers=(0, -1)),
    )
    config = replace(settings(*candidates), histogram_megapixels=4 * 64 * 64 / 1e6)
    work = tmp_path_factory.mktemp("compared")
    return compare(graphs[0], config, pixels[:16], reference(graphs[0], pixels[16:]), work)


def test_every_candidate_is_measured_on_its_images(compared: list[QuantisedBase]) -> None:
    assert [base.images for base in compared] == [16, 4, 3, 8]  # percentile has a budget of four
    assert all(base.milliseconds > 0 for base in compared)


def test_the_error_is_that_of_the_pooled_features_of_unseen_pictures(
    graphs: tuple[Path, Path], pixels: np.ndarray, compared: list[QuantisedBase]
) -> None:
    for base in compared:
        fp32, int8 = (run(path, pixels[16:]).mean(axis=(1, 2)) for path in (graphs[0], base.path))
        expected = np.sqrt(((fp32 - int8) ** 2).mean(axis=1)).mean() / np.sqrt(fp32.var(axis=0).mean())
        assert base.error == pytest.approx(expected, rel=1e-3)


def test_a_saved_comparison_is_loaded_unchanged(compared: list[QuantisedBase], tmp_path: Path) -> None:
    table, features = tmp_path / "table.json", tmp_path / "features.npy"
    save(compared, compared[1], table, features)
    loaded, chosen = load(table, features, [base.candidate for base in compared], compared[1].path)
    assert chosen == compared[1]
    for one, other in zip(loaded, compared, strict=True):
        assert (one.candidate, one.images, one.error, one.milliseconds) == (
            other.candidate,
            other.images,
            other.error,
            other.milliseconds,
        )
        np.testing.assert_array_equal(one.features, other.features)


def test_a_quantisation_is_taken_from_the_cache(
    graphs: tuple[Path, Path], pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = []
    for index, picture in enumerate(pixels[:16]):
        path = tmp_path / f"{index}.png"
        Image.fromarray(picture).save(path)
        examples.append(Example(path, 0, hashlib.sha256(path.read_bytes()).hexdigest()))
    unseen = reference(graphs[0], pixels[16:])
    data = Dataset(tmp_path, ("a",), {"train": tuple(examples), "validation": unseen.examples})
    config = replace(settings(MINMAX, replace(MINMAX, name="fewer", images=4)), cache=tmp_path / "cache")
    made, again = (tmp_path / name / "int8.onnx" for name in ("made", "again"))
    for path in (made, again):
        path.parent.mkdir()

    compared, chosen = quantise_base(graphs[0], made, unseen, data, config)
    monkeypatch.setattr(quantize, "compare", None)  # so that nothing is quantised again
    reused, chosen_again = quantise_base(graphs[0], again, unseen, data, config)

    assert made.read_bytes() == again.read_bytes()
    for one, other in zip([*compared, chosen], [*reused, chosen_again], strict=True):
        assert (one.candidate, one.images, one.error) == (other.candidate, other.images, other.error)
        np.testing.assert_array_equal(one.features, other.features)


def test_the_features_are_the_output_of_the_quantised_graph(compared: list[QuantisedBase], pixels: np.ndarray) -> None:
    for base in compared:
        np.testing.assert_allclose(base.features, pool(run(base.path, pixels[16:])), atol=1e-4)


def test_cutting_a_fifth_of_the_values_off_costs_accuracy(compared: list[QuantisedBase]) -> None:
    assert compared[1].error > 2 * compared[0].error


def test_float_layers_stay_in_fp32(compared: list[QuantisedBase]) -> None:
    types = [[values.dtype for values in kernels(base.path).values()] for base in compared]
    assert types[0] == [np.int8] * 13
    assert types[3] == [np.float32, *[np.int8] * 11, np.float32]


@pytest.fixture(scope="module")
def relu(graphs: tuple[Path, Path], pixels: np.ndarray) -> tuple[str, np.ndarray]:
    """Name of a ReLU's output in the middle of the network, and its values for the calibration pictures."""
    model = onnx.load(graphs[0])
    name = [node.output[0] for node in model.graph.node if node.op_type == "Relu"][6]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return name, session.run([name], {IMAGE: pixels[:16]})[0]


def highest(path: Path, activation: str) -> float:
    """The value that the highest of the 256 levels of an activation stands for; the lowest stands for 0."""
    graph = onnx.load(path).graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    (node,) = (node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == activation)
    assert stored[node.input[2]] == 0
    return 255 * float(stored[node.input[1]])


def test_a_minmax_range_ends_at_the_largest_value_over_the_candidates_own_pictures(
    relu: tuple[str, np.ndarray], compared: list[QuantisedBase]
) -> None:
    name, values = relu
    assert values[:8].max() < values.max()
    assert highest(compared[0].path, name) == pytest.approx(values.max(), rel=1e-5)
    assert highest(compared[3].path, name) == pytest.approx(values[:8].max(), rel=1e-5)


def test_a_percentile_range_leaves_the_same_share_of_values_out_at_both_ends(
    relu: tuple[str, np.ndarray], compared: list[QuantisedBase]
) -> None:
    name, values = relu
    # Of 80% of the values inside, a tenth lies above. The range ends at a border of the histogram's bins.
    bin_width = float(2 * values[:4].max() / 512)
    assert highest(compared[1].path, name) == pytest.approx(np.quantile(values[:4], 0.9), abs=bin_width)


def test_weights_have_seven_bits_with_any_ranges(compared: list[QuantisedBase]) -> None:
    for base in compared:
        for values in kernels(base.path).values():
            assert values.dtype != np.int8 or np.abs(values.astype(int)).max() <= 64


# ---- choice ---------------------------------------------------------------------------------------------


def measured(error: float, name: str, *float_layers: int) -> QuantisedBase:
    candidate = QuantisationCandidate(name, Ranges.MINMAX, 1, 100.0, float_layers)
    return QuantisedBase(candidate, 1, error, 1.0, Path(name), np.empty(0))


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([measured(0.10, "a"), measured(0.08, "b")], "b"),
        ([measured(0.104, "a"), measured(0.10, "b")], "a"),  # within 5%: the first
        ([measured(0.10, "a"), measured(0.08, "float", 0)], "a"),  # 20% less error is too little for a slow layer
        ([measured(0.10, "a"), measured(0.07, "float", 0)], "float"),
        ([measured(math.inf, "collapsed"), measured(0.9, "b")], "b"),
        ([measured(math.inf, "collapsed"), measured(0.9, "float", 0)], "float"),
    ],
)
def test_the_smallest_error_wins_within_the_rule(candidates: list[QuantisedBase], expected: str) -> None:
    assert choose_quantisation(candidates, same_error=0.05, float_gain=0.25).candidate.name == expected


def test_a_network_that_no_candidate_quantises_is_an_error() -> None:
    with pytest.raises(QuantisationError, match="none of 2 quantisations"):
        choose_quantisation([measured(math.inf, "a"), measured(math.inf, "b", 0)], 0.05, 0.25)


def test_features_that_are_not_finite_have_an_infinite_error() -> None:
    expected = np.random.default_rng(1).normal(0, 1, (4, 2, 3))
    assert relative_error(expected, expected) == 0
    assert relative_error(np.full_like(expected, np.nan), expected) == math.inf


def test_a_constant_has_an_error_of_one_and_one_image_counts_by_its_share() -> None:
    # By hand: four pictures of two channels, +-1 base, so the deviation is 1 and the mean 0.
    pooled = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    expected = np.stack([pooled, pooled], axis=1)
    assert relative_error(np.zeros_like(expected), expected) == pytest.approx(1)
    one_is_off = expected.copy()
    one_is_off[0] += 4
    assert relative_error(one_is_off, expected) == pytest.approx(1.0)  # 4 for one of four
