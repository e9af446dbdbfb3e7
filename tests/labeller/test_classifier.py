from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from labeller.classifier import load_classifier, softmax
from labeller.manifest import TILE, TOLERANCE, GoldenExample, Manifest, ModelError
from labeller.results import Thresholds
from tests.support import BLUE, GREEN, GREY, NEAREST, RED, YELLOW, colour_network, write_familiar_model, write_model


def tile(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((TILE, TILE, 3), colour, np.uint8)


VALID: dict[str, Any] = {
    "labels": ("red", "blue"),
    "input_size": (8, 8),
    "temperature": 1.5,
    "confidence_threshold": 0.6,
    "model_version": "2026-11-24",
    "model_sha256": "0" * 64,
    "golden": GoldenExample.of(tile(RED), (10, -10)),
}


def batch(*colours: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.stack([np.full((*size, 3), colour, np.uint8) for colour in colours])


# ---- manifest ---------------------------------------------------------------------------------------------


def test_a_manifest_survives_the_way_through_json() -> None:
    golden = GoldenExample.of(tile(RED), (10, -10), familiarity=0.25, similarity=(0.5, -0.25))
    build = {"weights": {"sha256": "ab"}, "accuracy": 0.98, "größe": [1, 2]}
    manifest = Manifest(**VALID | {"golden": golden}, familiarity_threshold=0.01, build=build)

    assert Manifest.from_json(manifest.to_json()) == manifest


def test_members_that_this_version_does_not_know_are_ignored() -> None:
    content = json.loads(Manifest(**VALID).to_json()) | {"invented_later": 1}
    del content["manifest_sha256"]

    assert Manifest.from_json(json.dumps(content)) == Manifest(**VALID)


def test_provenance_and_digest_may_be_left_out() -> None:
    content = json.loads(Manifest(**VALID).to_json())
    del content["build"], content["manifest_sha256"]

    assert Manifest.from_json(json.dumps(content)) == Manifest(**VALID)


def test_the_manifest_of_a_model_without_familiarity_is_read() -> None:
    content = json.loads(Manifest(**VALID).to_json())
    del content["familiarity_threshold"], content["golden"]["familiarity"], content["manifest_sha256"]

    manifest = Manifest.from_json(json.dumps(content))

    assert manifest == Manifest(**VALID)
    assert (manifest.thresholds, manifest.golden.familiarity) == (Thresholds(0.6, None), None)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("labels", ["blue", "red"]),
        ("temperature", 1.6),
        ("confidence_threshold", 0.5),
        ("model_version", "2026-11-25"),
        ("build", {"accuracy": 0.99}),
        ("golden", {"tile": VALID["golden"].tile, "logits": [-10, 10]}),
        ("invented_later", 1),
    ],
)
def test_a_manifest_that_was_edited_after_the_build_is_refused(tmp_path: Path, member: str, value: object) -> None:
    path = tmp_path / "manifest.json"
    content = json.loads(Manifest(**VALID, build={"accuracy": 0.98}).to_json())
    path.write_text(json.dumps(content | {member: value}))

    with pytest.raises(ModelError, match=r"manifest\.json: was changed after the model was built.*ConfidenceThreshold"):
        Manifest.from_file(path)


def test_order_and_spacing_of_a_manifest_do_not_count() -> None:
    content = json.loads(Manifest(**VALID, build={"größe": [1, 2.50], 3: None}).to_json())
    backwards = dict(reversed(content.items()))

    assert Manifest.from_json(json.dumps(backwards)).build == {"größe": [1, 2.5], "3": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 1}, "format_version is 1, this code reads 2"),
        ({"labels": ("cat",)}, "labels must be at least two"),
        ({"labels": ("cat", " ")}, "labels must be at least two non-empty strings"),
        ({"labels": ("cat", 3)}, "labels must be at least two non-empty strings"),
        ({"labels": ("cat", "cat")}, "labels repeat themselves"),
        ({"labels": ("cat", "UNSURE")}, "labels must not be UNSURE"),
        ({"input_size": (224,)}, r"input_size must be \[height, width\]"),
        ({"input_size": (224, 0)}, r"input_size must be \[height, width\]"),
        ({"input_size": (224, 22.5)}, r"input_size must be \[height, width\]"),
        ({"temperature": 0}, "temperature must be a number above 0, not 0"),
        ({"temperature": math.nan}, "temperature must be a number above 0"),
        ({"temperature": math.inf}, "temperature must be a number above 0"),
        ({"temperature": "1"}, "temperature must be a number above 0, not '1'"),
        ({"confidence_threshold": 1.1}, "confidence_threshold must be between 0 and 1"),
        ({"confidence_threshold": True}, "confidence_threshold must be between 0 and 1"),
        ({"familiarity_threshold": -0.01}, "familiarity_threshold must be between 0 and 1, or null, not -0.01"),
        ({"labels": ("cat", "UNKNOWN")}, "labels must not be UNKNOWN"),
        ({"model_version": ""}, "model_version must be a non-empty string"),
        ({"model_sha256": "XYZ"}, "model_sha256 must be 64 lower-case hexadecimal digits"),
        ({"golden": None}, "golden must be a GoldenExample, not None"),
        ({"golden": GoldenExample.of(tile(RED), (1, 2, 3))}, "golden needs one logit for each of the 2 labels"),
        ({"build": 3}, "build must be an object"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Manifest(**{**VALID, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "lacks confidence_threshold, format_version, golden, input_size, labels"),
        ('{"labels": "cat"}', "lacks"),
    ],
)
def test_a_manifest_file_that_is_no_manifest_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)

    with pytest.raises(ModelError, match=message) as caught:
        Manifest.from_file(path)

    assert str(caught.value).startswith(f"{path}: ")


def test_labels_must_be_a_list_in_the_file() -> None:
    content = json.loads(Manifest(**VALID).to_json()) | {"labels": "cat"}

    with pytest.raises(ModelError, match="labels must be a list, not 'cat'"):
        Manifest.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        ("orange", r'golden must be \{"tile": base64, "logits": \[number, ...\]\}'),
        ({"logits": [1, 2]}, "golden must be {"),
        ({"tile": "@", "logits": [1, 2]}, "golden.tile must be base64"),
        ({"tile": "AAAA", "logits": [1, 2]}, "golden.tile must hold 16 x 16 RGB pixels, 768 bytes, not 3"),
        ({"tile": VALID["golden"].tile, "logits": [1, math.inf]}, "golden.logits must be finite numbers"),
        ({"tile": VALID["golden"].tile, "logits": ["1", 2]}, "golden.logits must be finite numbers"),
        ({"tile": VALID["golden"].tile, "logits": [1, 2], "familiarity": 1.5}, "golden.familiarity must be between"),
        (
            {"tile": VALID["golden"].tile, "logits": [1, 2], "similarity": [0.5, 1.5]},
            "golden.similarity must be between",
        ),
    ],
)
def test_a_golden_example_that_makes_no_sense_is_refused(golden: object, message: str) -> None:
    content = json.loads(Manifest(**VALID).to_json()) | {"golden": golden}

    with pytest.raises(ModelError, match=message):
        Manifest.from_json(json.dumps(content))


# ---- softmax ----------------------------------------------------------------------------------------------


def test_softmax_of_known_logits() -> None:
    # exp(0), exp(ln 3): a quarter and three quarters.
    np.testing.assert_allclose(softmax(np.array([[0.0, math.log(3)]]), 1.0), [[0.25, 0.75]], rtol=1e-12)


def test_a_higher_temperature_draws_the_probabilities_together() -> None:
    # ln 9 halved is ln 3.
    np.testing.assert_allclose(softmax(np.array([[0.0, math.log(9)]]), 2.0), [[0.25, 0.75]], rtol=1e-12)


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    np.testing.assert_array_equal(softmax(np.array([[1e4, -1e4]], np.float32), 1.0), [[1.0, 0.0]])


def test_each_row_of_softmax_is_of_its_own_logits() -> None:
    np.testing.assert_array_equal(softmax(np.array([[0.0, 0.0], [5000.0, 0.0]]), 1.0), [[0.5, 0.5], [1.0, 0.0]])


def test_softmax_computes_in_double_precision() -> None:
    assert softmax(np.zeros((1, 2), np.float32), 1.0).dtype == np.float64


# ---- classifier -------------------------------------------------------------------------------------------


def test_pictures_get_the_label_of_their_colour(tmp_path: Path) -> None:
    classifier = load_classifier(write_model(tmp_path), threads=1)

    red, blue, grey = classifier.predict(batch(RED, BLUE, GREY))

    assert (red.label, blue.label) == ("red", "blue")
    assert red.confidence == pytest.approx(1 / (1 + math.exp(-20)))  # logits 10, -10
    assert dict(grey.scores) == pytest.approx({"red": 0.5, "blue": 0.5})
    assert sum(red.scores.values()) == pytest.approx(1)
    assert red.confidence == red.scores["red"]


def test_the_temperature_of_the_manifest_is_applied(tmp_path: Path) -> None:
    classifier = load_classifier(write_model(tmp_path, temperature=10.0), threads=1)

    (red,) = classifier.predict(batch(RED))

    assert red.confidence == pytest.approx(1 / (1 + math.exp(-2)))


def test_a_classifier_tells_what_its_manifest_says(tmp_path: Path) -> None:
    classifier = load_classifier(write_model(tmp_path, size=(6, 4)), threads=2)

    assert classifier.input_size == (6, 4)
    assert classifier.labels == ("red", "blue")
    assert classifier.version == "colour-1"
    assert classifier.thresholds == Thresholds(0.9, None)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_network_runs_with_the_threads_it_is_given_and_idle_ones_sleep(tmp_path: Path, threads: int) -> None:
    options = load_classifier(write_model(tmp_path), threads).thorough._session.get_session_options()

    assert options.intra_op_num_threads == threads
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_no_pictures_have_no_predictions(tmp_path: Path) -> None:
    assert load_classifier(write_model(tmp_path), 1).predict(np.empty((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((1, 9, 8, 3), np.uint8),
    ],
)
def test_pixels_of_another_kind_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    classifier = load_classifier(write_model(tmp_path), 1)

    with pytest.raises(ValueError, match=r"pixels must be uint8 \[N, 8, 8, 3\], not"):
        classifier.predict(pixels)


def test_logits_that_are_no_numbers_never_become_a_label(tmp_path: Path) -> None:
    # 255 x 2e36 is more than a float32 holds (3.4e38); a grey golden picture has the logits 0 all the same.
    golden = GoldenExample.of(tile(GREY), (0, 0))
    classifier = load_classifier(write_model(tmp_path, colour_network((8, 8), gain=2e36), golden=golden), 1)

    with pytest.raises(ModelError, match="model colour-1 answers with logits that are no finite numbers"):
        classifier.predict(batch(RED))


# ---- familiarity ------------------------------------------------------------------------------------------


def test_pictures_have_the_familiarity_and_the_nearest_training_pictures_that_the_network_gives(tmp_path: Path) -> None:
    classifier = load_classifier(write_familiar_model(tmp_path), threads=1)

    red, yellow, grey = classifier.predict(batch(RED, YELLOW, GREY))

    assert (red.familiarity, yellow.familiarity) == (1, 0)
    assert grey.familiarity == 0.498039  # 1 - 128 / 255, with the six decimals of a row
    assert red.nearest == yellow.nearest == NEAREST
    assert yellow.label == "red"
    assert classifier.thresholds == Thresholds(0.9, 0.25)
    assert classifier.has_familiarity


def test_a_float32_that_stands_for_the_threshold_is_not_below_it(tmp_path: Path) -> None:
    # 1 - 252 / 255 = 0.011765 in float32 is 0.0117647..., below the decimal number.
    classifier = load_classifier(write_familiar_model(tmp_path, threshold=0.011765), threads=1)

    (strange,) = classifier.predict(batch((255, 252, 0)))

    assert classifier.thresholds.status(strange) == "LABELLED"


def test_a_model_without_familiarity_has_none(tmp_path: Path) -> None:
    classifier = load_classifier(write_model(tmp_path), threads=1)

    (green,) = classifier.predict(batch(GREEN))

    assert (green.familiarity, green.nearest) == (None, ())
    assert classifier.has_familiarity is False
    may_answer = classifier.may_answer(classifier.outputs(batch(GREEN, RED)))
    assert (may_answer.dtype, may_answer.tolist()) == (np.bool_, [False, False])


def test_answers_are_in_double_precision(tmp_path: Path) -> None:
    outputs = load_classifier(write_familiar_model(tmp_path), threads=1).outputs(batch(RED))

    assert outputs.familiarity is not None
    assert outputs.logits.dtype == outputs.familiarity.dtype == np.float64


def test_a_model_with_a_threshold_needs_the_output(tmp_path: Path) -> None:
    write_model(tmp_path, familiarity_threshold=0.01)

    with pytest.raises(ModelError, match=r"familiarity_threshold 0.01 .*its output 'familiarity' must be .*it has"):
        load_classifier(tmp_path, 1)


def test_a_familiarity_of_another_shape_is_refused(tmp_path: Path) -> None:
    network = colour_network((8, 8), familiarity=True)
    del network.graph.output[1:]
    network.graph.node[4].output[0] = "of no use"
    network.graph.node[-1].output[0] = "familiarity"  # what was the similarity
    network.graph.output.append(helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["N", 2]))
    write_model(tmp_path, network)

    with pytest.raises(ModelError, match=r"its output 'familiarity' must be tensor\(float\) of 1 dimension"):
        load_classifier(tmp_path, 1)


def test_a_familiarity_that_is_no_share_never_becomes_a_result(tmp_path: Path) -> None:
    network = colour_network((8, 8), familiarity=True)
    (green,) = [tensor for tensor in network.graph.initializer if tensor.name == "green"]
    green.CopyFrom(onnx.numpy_helper.from_array(np.array([0, -1 / 25, 0], np.float32), "green"))
    del network.graph.output[2:]
    classifier = load_classifier(write_model(tmp_path, network, golden=GoldenExample.of(tile(RED), (10, -10))), 1)

    with pytest.raises(ModelError, match="model colour-1 answers with a familiarity that is not between 0 and 1"):
        classifier.predict(batch(GREEN))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"exemplars\.json is missing"),
        ("{}", r"names the training pictures \[2, 0\], exemplars\.json has 0: the two are not of one build"),
        ('[{"path": "a.jpg"}]', r'exemplars\.json must be a list of \{"path": \.\.\., "label": \.\.\.\}'),
        ("[", r"exemplars\.json must be a list"),
    ],
)
def test_a_model_that_names_training_pictures_needs_their_list(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = write_familiar_model(tmp_path) / "exemplars.json"
    path.unlink()
    if content is not None:
        path.write_text(content)

    with pytest.raises(ModelError, match=message):
        load_classifier(tmp_path, 1).predict(batch(RED))


# ---- self-check -------------------------------------------------------------------------------------------


def test_a_network_that_answers_as_it_did_when_it_was_built_passes_its_self_check(tmp_path: Path) -> None:
    # 255 / 25.5 by hand; see colour_network.
    classifier = load_classifier(write_model(tmp_path, golden=GoldenExample.of(tile(RED), (10, -10))), 1)

    assert classifier.check_itself() < 1e-5


@pytest.mark.parametrize(("expected", "temperature"), [((10.019, -10), 1.0), ((10, -10.038), 2.0)])
def test_a_logit_may_be_off_by_two_hundredths_of_the_temperature(
    tmp_path: Path, expected: tuple[float, float], temperature: float
) -> None:
    write_model(tmp_path, golden=GoldenExample.of(tile(RED), expected), temperature=temperature)

    assert load_classifier(tmp_path, 1).check_itself() == pytest.approx(0.019, abs=1e-5)


@pytest.mark.parametrize(("expected", "temperature"), [((10.021, -10), 1.0), ((10, -10.042), 2.0)])
def test_a_logit_that_is_off_by_more_fails_the_self_check(
    tmp_path: Path, expected: tuple[float, float], temperature: float
) -> None:
    write_model(tmp_path, golden=GoldenExample.of(tile(RED), expected), temperature=temperature)

    with pytest.raises(
        ModelError, match=r"model colour-1 fails its self-check: .* \(difference 0\.021, allowed 0\.02\)"
    ):
        load_classifier(tmp_path, 1)


@pytest.mark.parametrize(("expected", "passes"), [(0.991, True), (0.989, False)])
def test_the_familiarity_of_the_golden_picture_may_be_off_by_a_hundredth(
    tmp_path: Path, expected: float, passes: bool
) -> None:
    write_familiar_model(tmp_path, golden=GoldenExample.of(tile(RED), (10, -10), expected))  # red: 1

    if passes:
        assert load_classifier(tmp_path, 1).check_itself() < 1e-5
    else:
        with pytest.raises(
            ModelError, match=r"fails its self-check: .* familiarity 1\.0, the build got 0\.989 .*0\.011"
        ):
            load_classifier(tmp_path, 1)


def test_exemplars_that_the_golden_picture_resembles_otherwise_are_refused(tmp_path: Path) -> None:
    write_familiar_model(tmp_path, golden=GoldenExample.of(tile(RED), (10, -10), 1.0, [0.75, 0.505]))  # is 0.5
    assert load_classifier(tmp_path, 1).check_itself() < 1e-5

    write_familiar_model(tmp_path, golden=GoldenExample.of(tile(RED), (10, -10), 1.0, [0.75, 0.52]))
    with pytest.raises(ModelError, match=r"self-check: .* similarity \[0\.75, 0\.5\], the build got \(0\.75, 0\.52\)"):
        load_classifier(tmp_path, 1)


@given(
    logits=arrays(np.float64, (1, 5), elements=st.floats(-30, 30)),
    moves=arrays(np.float64, (1, 5), elements=st.floats(-TOLERANCE, TOLERANCE)),
)
def test_what_the_self_check_lets_pass_moves_no_probability_by_more_than_a_hundredth(
    logits: np.ndarray, moves: np.ndarray
) -> None:
    assert np.abs(softmax(logits + moves, 1.0) - softmax(logits, 1.0)).max() <= TOLERANCE / 2 + 1e-12


def saturating_network(saturates: bool) -> onnx.ModelProto:
    """Logits [s, -s] / 1000 with s = 127 x red + 127 x green of the first pixel: what a kernel of U8S8 products
    computes in 32 bits and, where `saturates`, in VPMADDUBSW's 16 bits."""
    ends = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (
            ("most", 32767.0 if saturates else 1e9),
            ("least", -32768.0 if saturates else -1e9),
            ("weights", [[127.0], [127.0], [0.0]]),
            ("out", [[1e-3, -1e-3]]),
        )
    ]
    ends.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "first"))
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "first"], ["row"], axis=1),
        helper.make_node("ReduceMean", ["row"], ["pixel"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["pixel", "weights"], ["sum"]),
        helper.make_node("Clip", ["sum", "least", "most"], ["sixteen_bits"]),
        helper.make_node("MatMul", ["sixteen_bits", "out"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum of two products",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        ends,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_kernels_that_saturate_are_found_out(tmp_path: Path) -> None:
    # Yellow: 127 x 255 + 127 x 255 = 64,770, twice what 16 bits hold. By hand: 64.77 without saturation.
    golden = GoldenExample.of(tile((255, 255, 0)), (64.77, -64.77))
    load_classifier(write_model(tmp_path, saturating_network(saturates=False), golden=golden), 1)

    with pytest.raises(ModelError, match=r"logits \[32\.76.*difference 32"):
        load_classifier(write_model(tmp_path, saturating_network(saturates=True), golden=golden), 1)


def test_a_small_network_gets_the_golden_picture_cut_and_a_large_one_enlarged() -> None:
    quarters = np.zeros((TILE, TILE, 3), np.uint8)
    quarters[8:, 8:] = 255
    example = GoldenExample.of(quarters, (0, 0))

    small, large = example.pixels((8, 12)), example.pixels((40, 48))

    assert (small.shape, small[0, :, 8:].max()) == ((1, 8, 12, 3), 0)  # the upper left corner
    assert large.shape == (1, 40, 48, 3)  # each pixel three times, the lowest rows cut off
    np.testing.assert_array_equal(large[0, 24:, 24:], 255)
    assert (large[0, :24].max(), large[0, :, :24].max()) == (0, 0)


def test_a_missing_model_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"manifest\.json is missing\. .*make model layer.*MODEL_DIR"):
        load_classifier(tmp_path, 1)

    write_model(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        load_classifier(tmp_path, 1)


def test_a_model_of_another_build_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    other = colour_network((8, 8), gain=2.0).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(other)

    with pytest.raises(ModelError, match=r"model\.onnx has the SHA-256 .*not of one build"):
        load_classifier(tmp_path, 1)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    garbage = b"not a network"
    write_model(tmp_path, model_sha256=hashlib.sha256(garbage).hexdigest())
    (tmp_path / "model.onnx").write_bytes(garbage)

    with pytest.raises(ModelError, match=r"model\.onnx: onnxruntime .* cannot load it"):
        load_classifier(tmp_path, 1)


def test_as_many_labels_as_logits_are_needed(tmp_path: Path) -> None:
    write_model(tmp_path, labels=("red", "green", "blue"))

    with pytest.raises(ModelError, match=r"output must be 'logits'.*\[N, 3\].*red, green, blue.*\['N', 2\]"):
        load_classifier(tmp_path, 1)


def test_the_networks_size_must_be_the_manifests(tmp_path: Path) -> None:
    write_model(tmp_path, colour_network((8, 9)), size=(8, 8))

    with pytest.raises(ModelError, match=r"input must be 'image'.*\[N, 8, 8, 3\] with any N"):
        load_classifier(tmp_path, 1)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("input_1", TensorProto.UINT8, ["N", 8, 8, 3]),
        ("image", TensorProto.FLOAT, ["N", 8, 8, 3]),
        ("image", TensorProto.UINT8, [1, 8, 8, 3]),
    ],
)
def test_another_input_than_agreed_is_refused(tmp_path: Path, name: str, kind: int, shape: list[Any]) -> None:
    network = colour_network((8, 8))
    del network.graph.input[:]
    network.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    network.graph.node[0].input[0] = name
    write_model(tmp_path, network)

    with pytest.raises(ModelError, match="its input must be 'image'"):
        load_classifier(tmp_path, 1)


def test_the_test_network_is_valid_onnx() -> None:
    onnx.checker.check_model(colour_network((8, 8)))
