"""What the glance network may answer, chosen by the cross-validation; and a build that ships one."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeller.classifier import load_classifier
from labeller.manifest import Manifest
from model_build.calibration import Threshold
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Example, scan
from model_build.data.reader import PictureReader
from model_build.familiarity import Exemplars, Familiarity, Scale
from model_build.glance import _confidence, _Judged, _sure, least_confidence, rule
from model_build.selection import EvaluatedHead, JudgedCopies
from model_build.verify import Predictions
from tests.model_build import quick
from tests.model_build.examples import report_schema
from tests.model_build.narrow import load_narrow

CONFIG = BuildConfig(Path("unused"), glance_losses=0.5, glance_confidence=0.0, glance_familiarity=0.1)
FAMILIARITY = Familiarity(
    Exemplars((), np.zeros((0, 2), np.int8), 1.0, np.zeros(0, np.float32)),
    np.zeros(4),
    Scale(np.array([0.0, 1.0]), np.array([0.0, 1.0])),
    0.03,
)
# Of the glance network: wrong are the pictures of 0.60, 0.70, 0.80 and 0.96.
CONFIDENCE = np.array([0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.92, 0.94, 0.96, 0.98])
WRONG = np.isin(CONFIDENCE, [0.60, 0.70, 0.80, 0.96])
FAMILIAR = np.full(11, 0.5)
NONE = np.zeros(11, bool)
EXAMPLES = tuple(Example(Path(f"{number}.jpg"), 0, "") for number in range(11))


def logits_of(confidence: np.ndarray) -> np.ndarray:
    """Logits of label 0 with this probability."""
    return np.column_stack([np.log(confidence / (1 - confidence)), np.zeros(len(confidence))])


def answers(wrong: np.ndarray, threshold: float = 0.0) -> Any:
    """The thorough network's answers in the cross-validation, to the pictures and to one copy; it says label 0."""
    logits, targets = logits_of(np.full(len(wrong), 0.9)), wrong.astype(int)
    copies = JudgedCopies(np.array(["mirrored"]), logits[:1], np.array([0]), np.array([True]))
    return Namespace(
        validation=Predictions(EXAMPLES, logits, targets, 1.0),
        copies=copies,
        threshold=Threshold(threshold, 0.99, reached=True),
    )


def judged(wrong: np.ndarray, shares: np.ndarray = FAMILIAR, copy: float = 0.99, copy_wrong: bool = False) -> _Judged:
    """The glance network's, to the same."""
    head = EvaluatedHead(HeadCandidate("a", Pooling.AVERAGE), logits_of(CONFIDENCE), wrong.astype(int), 0.0)
    of_copy = logits_of(np.array([copy]))
    changed = JudgedCopies(np.array(["mirrored"]), of_copy, np.array([int(copy_wrong)]), np.array([not copy_wrong]))
    return _Judged(EXAMPLES, EXAMPLES[:1], head, changed, 1.0, FAMILIARITY, shares, np.ones(1))


def chosen(glance: _Judged, thorough: Any, judges: np.ndarray = ~NONE, **settings: float) -> float | None:
    return _confidence(glance, thorough, judges, replace(CONFIG, **settings))


def test_it_answers_from_the_lowest_confidence_at_which_it_loses_few_labels() -> None:
    # Copy included, 1 of 7 are lost from 0.85 on, 2 of 9 from 0.75 on, and 4 of all 12. The upper ends of their Wilson
    # intervals are 0.513, 0.547 and 0.609; that of 0 of the 2 from 0.98 on is 0.658.
    assert chosen(judged(WRONG), answers(NONE), glance_losses=0.52) == pytest.approx(0.825)
    assert chosen(judged(WRONG), answers(NONE), glance_losses=0.55) == pytest.approx(0.725)
    assert chosen(judged(WRONG), answers(NONE), glance_losses=0.62) == 0.0
    assert chosen(judged(WRONG), answers(NONE), glance_losses=0.50) is None


def test_what_the_thorough_network_gets_wrong_as_well_is_not_lost() -> None:
    # A picture in the wrong folder. 2 of the 11 from 0.65 on are lost: 0.477; 3 of all 12: 0.532.
    assert chosen(judged(WRONG), answers(CONFIDENCE == 0.96)) == pytest.approx(0.625)


def test_pictures_that_guided_the_network_judge_it_not() -> None:
    # The copy is of the picture of 0.60. With both, 0 of 8 are lost from 0.65 on: 0.324. Without, 0 of 7: 0.354.
    assert chosen(judged(WRONG), answers(NONE), ~WRONG | (CONFIDENCE == 0.60), glance_losses=0.33) == pytest.approx(
        0.625
    )
    assert chosen(judged(WRONG), answers(NONE), ~WRONG, glance_losses=0.33) is None
    assert chosen(judged(WRONG), answers(NONE), ~WRONG, glance_losses=0.36) == 0.0


def test_unfamiliar_pictures_do_not_count() -> None:
    assert chosen(judged(WRONG, np.where(WRONG, 0.09, 0.1)), answers(NONE), glance_losses=0.33) == 0.0
    assert chosen(judged(WRONG, np.full(11, 0.09), copy_wrong=True), answers(NONE)) is None


def test_changed_copies_count_too() -> None:
    # 0 of 12: 0.242; 1 of 12: 0.354.
    assert chosen(judged(NONE, copy=0.91), answers(NONE), glance_losses=0.33) == 0.0
    assert chosen(judged(NONE, copy=0.91, copy_wrong=True), answers(NONE), glance_losses=0.33) is None


def test_its_confidence_has_a_lower_bound_above_which_enough_must_be_right() -> None:
    # 0.94, 0.96, 0.98 and the copy of 0.99 remain: 0 of 4 is 0.490.
    assert chosen(judged(NONE), answers(NONE), glance_confidence=0.93) == 0.93
    assert chosen(judged(NONE), answers(NONE), glance_confidence=0.93, glance_losses=0.48) is None


def test_equal_confidences_stay_together() -> None:
    confidence, lost = np.array([0.9, 0.8, 0.8, 0.7]), np.array([False, False, True, False])
    # 0 of the first 2 would be 0.658; 1 of 3 is 0.792, 1 of 4 is 0.699.
    assert least_confidence(confidence, lost, 0.0, replace(CONFIG, glance_losses=0.67)) is None
    assert least_confidence(confidence, lost, 0.0, replace(CONFIG, glance_losses=0.8)) == 0.0
    assert least_confidence(np.empty(0), np.empty(0, bool), 0.0, CONFIG) is None


def test_the_rule_in_words_has_the_settings() -> None:
    words = rule(BuildConfig(Path("unused"), glance_losses=0.015, glance_confidence=0.9))
    assert "from 0.9 and the confidence threshold on, at which it loses at most 1.5% of the right labels" in words


def test_it_answers_nothing_below_the_models_own_threshold() -> None:
    # As labeller.classifier, which asks for the stricter of both: 0.98 and the copy of 0.99 remain, 0 of 2 is 0.658.
    assert chosen(judged(NONE), answers(NONE, threshold=0.97), glance_losses=0.66) == 0.97
    assert chosen(judged(NONE), answers(NONE, threshold=0.97), glance_losses=0.65) is None


def test_it_answers_what_is_sure_and_familiar() -> None:
    answered = _sure(logits_of(np.array([0.96, 0.96, 0.94])), 1.0, np.array([0.1, 0.09, 0.5]), 0.95, CONFIG)

    assert answered.tolist() == [True, False, False]


def test_it_is_tried_where_networks_are_made_smaller_and_pictures_are_large() -> None:
    asked = BuildConfig(Path("unused"), image_size=128, speedup=2.0)
    assert asked.has_glance
    assert (asked.halved.image_size, asked.halved.speedup, asked.halved.searches) == (64, 6.0, False)
    assert replace(asked, speedup=1.0, auto_speedup=True).has_glance
    assert not replace(asked, speedup=1.0).has_glance
    assert not replace(asked, image_size=127).has_glance
    assert not replace(asked, image_size=385).has_glance  # each pixel of the half is the mean of four
    assert not replace(asked, glance_speedup=0.0).has_glance


@pytest.fixture(scope="module")
def glanced(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    from model_build.build import build

    folder = tmp_path_factory.mktemp("glanced")
    settings = replace(
        config,
        out=folder / "model",
        cache=folder / "cache",
        image_size=128,
        quantisations=quick.QUANTISATIONS[:1],
        heads=quick.HEADS[:1],
        speedup=1.5,
        glance_speedup=1.5,
        glance_losses=0.1,
        guide_images=40,
        check_images=40,
        compress_step=4,
        compress_megapixels=0.13,
    )
    build(settings, load_narrow)
    return settings


@pytest.mark.slow
def test_a_build_ships_a_glance_network_and_reports_what_it_answers(glanced: BuildConfig) -> None:
    report = json.loads((glanced.out / "report.json").read_text("utf-8"))
    report_schema().validate(report)
    glance = report["glance"]
    assert glance["network"] == "64 px, 1.5x faster"
    assert glance["test"]["share"] > 0.5
    assert glance["test"]["accuracy"] > 0.9
    classifier = load_classifier(glanced.out, threads=1)  # checks both networks
    assert classifier.input_size == (128, 128)
    manifest = Manifest.from_file(glanced.out / "manifest.json")
    assert manifest.glance is not None
    assert manifest.glance.confidence == pytest.approx(glance["confidence"], abs=1e-4)
    assert "Glance network: the easy pictures in a fraction of the time" in (glanced.out / "index.html").read_text()


@pytest.mark.slow
def test_the_shipped_model_answers_as_the_report_says(glanced: BuildConfig) -> None:
    classifier = load_classifier(glanced.out, threads=1)
    report = json.loads((glanced.out / "report.json").read_text("utf-8"))
    examples = scan(glanced.data).splits["test"]

    _, pixels = PictureReader(examples, 128).all(16)
    outputs = classifier.outputs(pixels)

    assert outputs.glance is not None
    assert int(outputs.glance.sum()) == report["glance"]["test"]["images"]
    thorough = classifier.thorough.outputs(pixels[~outputs.glance])
    np.testing.assert_allclose(outputs.logits[~outputs.glance], thorough.logits, atol=1e-4)
