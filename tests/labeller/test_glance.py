"""The glance network answers what it is sure of and finds familiar, the thorough one all else.

By hand, of `write_glance_model`: the glance network knows the colours, and the thorough one takes red for blue, so that
an answer tells which of them gave it. A picture of red r, green g and blue b has the glance logits +-(r - b) / 25.5 at
temperature 2, so the confidence 1 / (1 + exp(-|r - b| / 25.5)), and the familiarity 1 - g / 255.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeller.classifier import Classifier, load_classifier
from labeller.inference import infer
from labeller.manifest import GLANCE_FILE, MANIFEST_FILE, TILE, Glance, GoldenExample, Manifest, ModelError
from labeller.results import Thresholds
from labeller.settings import Settings
from labeller.storage import Fetched
from tests.support import (
    NEAREST,
    RED,
    YELLOW,
    colour_network,
    encoded,
    plain,
    write_familiar_model,
    write_glance_model,
)

Colour = tuple[int, int, int]
FAINT = (76, 0, 0)  # glance confidence 1 / (1 + exp(-2.98)) = 0.9517: just enough
FAINTER = (74, 0, 0)  # 1 / (1 + exp(-2.90)) = 0.9479
GREENISH = (255, 127, 0)  # familiarity 0.502: just enough
GREENER = (255, 128, 0)  # 0.498


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(write_glance_model(tmp_path_factory.mktemp("model")), threads=1)


def labels(classifier: Classifier, *colours: Colour, thresholds: Thresholds | None = None) -> list[str]:
    pixels = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])
    return [prediction.label for prediction in classifier.predict(pixels, thresholds)]


@pytest.mark.parametrize(
    ("colour", "label"),
    [(RED, "red"), (FAINT, "red"), (FAINTER, "blue"), (GREENISH, "red"), (GREENER, "blue"), (YELLOW, "blue")],
)
def test_the_glance_network_answers_a_sure_and_familiar_picture(
    classifier: Classifier, colour: Colour, label: str
) -> None:
    assert labels(classifier, colour) == [label]


def test_its_answer_is_whole(classifier: Classifier) -> None:
    (prediction,) = classifier.predict(np.full((1, 8, 8, 3), FAINT, np.uint8))

    assert prediction.confidence == pytest.approx(1 / (1 + math.exp(-76 / 25.5)))  # at its own temperature, 2
    assert prediction.familiarity == 1.0
    assert prediction.nearest == NEAREST


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(colours=st.lists(st.sampled_from([RED, FAINT, FAINTER, GREENISH, GREENER, YELLOW]), min_size=1, max_size=6))
def test_an_answer_does_not_depend_on_the_other_pictures(classifier: Classifier, colours: list[Colour]) -> None:
    pixels = np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])
    one_by_one = [classifier.outputs(picture[np.newaxis]) for picture in pixels]

    together = classifier.outputs(pixels)

    for name in ("logits", "familiarity", "nearest", "similarity", "glance"):
        parts = [getattr(one, name) for one in one_by_one]
        np.testing.assert_array_equal(getattr(together, name), np.concatenate(parts))
    assert together.glance is not None
    assert together.glance.tolist() == [colour in (RED, FAINT, GREENISH) for colour in colours]


def test_stricter_thresholds_in_force_leave_more_to_the_thorough_network(classifier: Classifier) -> None:
    assert labels(classifier, FAINT, RED, thresholds=Thresholds(0.96, 0.25)) == ["blue", "red"]
    assert labels(classifier, GREENISH, RED, thresholds=Thresholds(0.9, 0.6)) == ["blue", "red"]


@pytest.mark.parametrize(("operator", "label"), [("", "red"), ("0.96", "blue"), ("0.5", "red")])
def test_an_object_is_labelled_by_the_thresholds_that_an_operator_sets(
    classifier: Classifier, operator: str, label: str
) -> None:
    in_force = Settings.from_env({"RESULTS_TABLE": "results", "CONFIDENCE_THRESHOLD": operator})
    picture = encoded(plain(FAINT, 32, 32))

    inference = infer(Fetched(picture, len(picture), "etag"), classifier, in_force, {})

    assert inference.prediction.label == label


@pytest.mark.parametrize("thresholds", [Thresholds(0.5, 0.25), Thresholds(0.9, None), Thresholds(0.9, 0.0)])
def test_looser_thresholds_in_force_leave_it_no_more(classifier: Classifier, thresholds: Thresholds) -> None:
    assert labels(classifier, FAINTER, GREENER, thresholds=thresholds) == ["blue", "blue"]


def test_a_model_without_a_glance_network_has_one_answer(tmp_path: Path) -> None:
    classifier = load_classifier(write_familiar_model(tmp_path), threads=1)

    outputs = classifier.outputs(np.full((1, 8, 8, 3), RED, np.uint8))

    assert (classifier.glance, outputs.glance) == (None, None)
    with pytest.raises(ValueError, match="colour-1 has no glance network"):
        classifier.glance_outputs(np.full((1, 8, 8, 3), RED, np.uint8))


def test_the_self_check_asks_both_networks(tmp_path: Path) -> None:
    tile = np.full((TILE, TILE, 3), RED, np.uint8)
    assert load_classifier(write_glance_model(tmp_path / "right"), threads=1).check_itself() == 0.0

    wrong = {"golden": GoldenExample.of(tile, (9.9, -9.9))}  # 0.1 / temperature 2 = 0.05 more than allowed

    with pytest.raises(ModelError, match="fails its self-check"):
        load_classifier(write_glance_model(tmp_path / "wrong", glance=wrong), threads=1)


@pytest.mark.parametrize("similarity", [(), (0.75,), (0.75, 0.5, 0.5)])
def test_a_golden_picture_with_fewer_or_more_neighbours_fails_the_self_check(
    tmp_path: Path, similarity: tuple[float, ...]
) -> None:
    glance = Manifest.from_file(write_glance_model(tmp_path / "right") / MANIFEST_FILE).glance
    assert glance is not None
    wrong = {"golden": replace(glance.golden, similarity=similarity)}

    with pytest.raises(ModelError, match=r"fails its self-check: .* with the similarity"):
        load_classifier(write_glance_model(tmp_path / "wrong", glance=wrong), threads=1)


def test_a_glance_network_of_another_build_is_refused(tmp_path: Path) -> None:
    write_glance_model(tmp_path)
    (tmp_path / GLANCE_FILE).write_bytes(b"another")

    with pytest.raises(ModelError, match=r"glance\.onnx has the SHA-256 .* are not of one build"):
        load_classifier(tmp_path, threads=1)


def test_a_missing_glance_network_is_named(tmp_path: Path) -> None:
    write_glance_model(tmp_path)
    (tmp_path / GLANCE_FILE).unlink()

    with pytest.raises(ModelError, match=r"glance\.onnx is missing"):
        load_classifier(tmp_path, threads=1)


def naming_one_neighbour() -> onnx.ModelProto:
    network = colour_network((8, 8), familiarity=True)
    for output in network.graph.output:
        if output.name in ("nearest", "similarity"):
            output.type.tensor_type.shape.dim[1].dim_value = 1
    return network


@pytest.mark.parametrize("network", [colour_network((8, 8)), naming_one_neighbour()], ids=["no familiarity", "another"])
def test_a_glance_network_with_other_outputs_than_the_thorough_one_is_refused(
    tmp_path: Path, network: onnx.ModelProto
) -> None:
    write_glance_model(tmp_path)
    content = network.SerializeToString()
    (tmp_path / GLANCE_FILE).write_bytes(content)
    manifest = Manifest.from_file(tmp_path / MANIFEST_FILE)
    assert manifest.glance is not None
    other = replace(manifest, glance=replace(manifest.glance, sha256=hashlib.sha256(content).hexdigest()))
    other = replace(other, familiarity_threshold=None)
    (tmp_path / MANIFEST_FILE).write_text(other.to_json())

    with pytest.raises(ModelError, match=r"glance\.onnx: its outputs must be those of model\.onnx"):
        load_classifier(tmp_path, threads=1)


def test_the_manifest_survives_the_way_through_json(tmp_path: Path) -> None:
    manifest = Manifest.from_file(write_glance_model(tmp_path) / MANIFEST_FILE)

    assert isinstance(manifest.glance, Glance)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "A" * 64}, "glance.sha256 must be 64 lower-case"),
        ({"temperature": 0}, "glance.temperature must be a number above 0, not 0"),
        ({"temperature": math.nan}, "glance.temperature must be a number above 0, not nan"),
        ({"temperature": 10**400}, "glance.temperature must be a number above 0, not 1000"),
        ({"confidence": 1.1}, "glance.confidence must be between 0 and 1, not 1.1"),
        ({"confidence": math.nan}, "glance.confidence must be between 0 and 1, not nan"),
        ({"familiarity": None}, "glance.familiarity must be between 0 and 1, not None"),
        ({"familiarity": -0.1}, "glance.familiarity must be between 0 and 1, not -0.1"),
        ({"golden": {}}, "golden must be"),
        ({"golden": None}, "golden must be"),
    ],
)
def test_a_glance_network_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = json.loads((write_glance_model(tmp_path) / MANIFEST_FILE).read_text("utf-8"))
    del content["manifest_sha256"]

    with pytest.raises(ModelError, match=message):
        Manifest.from_json(json.dumps(content | {"glance": content["glance"] | changes}))


@pytest.mark.parametrize("glance", [[], "glance.onnx", {}, {"confidence": 0.9}])
def test_what_is_no_glance_network_is_refused(tmp_path: Path, glance: object) -> None:
    content = json.loads((write_glance_model(tmp_path) / MANIFEST_FILE).read_text("utf-8"))
    del content["manifest_sha256"]

    with pytest.raises(ModelError, match=r"glance (must be an object|lacks)"):
        Manifest.from_json(json.dumps(content | {"glance": glance}))


def test_the_glance_networks_golden_picture_has_a_logit_for_each_label(tmp_path: Path) -> None:
    tile = np.full((TILE, TILE, 3), RED, np.uint8)

    with pytest.raises(ModelError, match="one logit for each of the 2 labels"):
        write_glance_model(tmp_path, glance={"golden": GoldenExample.of(tile, (1.0, 0.0, -1.0))})
