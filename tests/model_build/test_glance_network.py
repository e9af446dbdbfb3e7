"""A glance network is taught on a base that tells a picture's mean colour: red and blue are easy, purple is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from labeller.classifier import softmax
from labeller.manifest import GLANCE_FILE
from model_build import calibration
from model_build.calibration import Calibration, Threshold
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Dataset
from model_build.data.shifts import CHANGES, change_of
from model_build.export import IMAGE
from model_build.familiarity import Mahalanobis, part_of
from model_build.features import Features, extract
from model_build.glance import GlanceNetwork, export_glance, learn
from model_build.search import Network
from model_build.selection import JudgedCopies, evaluate_head, judge_copies
from model_build.verify import Predictions
from tests.model_build.colours import features_of, pictures, write_base

RED, BLUE, PURPLE = (200, 60, 60), (60, 60, 200), (140, 60, 140)
TEMPERATURE, LEAD = 2.0, 6.0  # of the thorough network: of the right label's logit
HEAD = HeadCandidate("average", Pooling.AVERAGE)  # of the thorough network


@dataclass(frozen=True)
class Arithmetic:
    """Stands in for a network's shape."""

    value: float

    def cost(self, _: int) -> float:
        return self.value


@dataclass
class World:
    """Red pictures and blue ones, a fifth of each purple; and a thorough network that is right about all of them."""

    folder: Path
    data: Dataset
    config: BuildConfig
    features: Features  # of `data.known`: a picture has one colour
    purple: np.ndarray  # bool [n] of the same

    def learn(
        self,
        threshold: float = 0.8,
        cost: float = 100,
        head: HeadCandidate = HEAD,
        by_distance: bool = False,
        others: Any = None,
        **settings: Any,
    ) -> GlanceNetwork | None:
        """Teach a network of cost 10. The thorough one has this confidence `threshold` and `cost`."""
        config = replace(self.config, **settings)
        data = self.data if others is None else replace(self.data, others=others)
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        small, large = (self.network(side, one) for side, one in ((32, 10.0), (64, cost)))
        known = Features(data.known, np.zeros(0), np.zeros(0))
        return learn(
            searched(small, (1.0, 0.5)),
            searched(large, (8.0, 4.0)),
            SimpleNamespace(features=known, head=SimpleNamespace(candidate=head)),  # type: ignore[arg-type]
            self.alone(threshold),
            SimpleNamespace(mahalanobis=object() if by_distance else None),  # type: ignore[arg-type]
            data,
            config,
            work,
        )

    def network(self, side: int, cost: float) -> Network:
        shape: Any = Arithmetic(cost)
        return Network(side, 6.0, shape, self.folder / "fp32.onnx", self.folder / "colours.onnx")

    def alone(self, threshold: float = 0.8) -> Calibration:
        """The thorough network's answers."""
        labels = np.array([example.label for example in self.data.known])
        copies = self.data.splits["validation"]
        targets = np.array([example.label for example in copies])
        changes = np.array([change_of(example.sha256) for example in copies])
        return Calibration(
            TEMPERATURE,
            Threshold(threshold, 0.99, reached=True),
            Predictions(self.data.known, LEAD * np.eye(2)[labels], labels, TEMPERATURE),
            Features((), np.zeros(0), np.zeros(0)),
            JudgedCopies(changes, LEAD * np.eye(2)[targets], targets, np.ones(len(copies), bool)),
        )


def searched(network: Network, milliseconds: tuple[float, float]) -> Any:
    return SimpleNamespace(chosen=network, milliseconds={network: milliseconds})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("glance")
    write_base(folder / "colours.onnx", 32)
    ten = [BLUE] * 4 + [PURPLE] + [RED] * 4 + [PURPLE]
    colours = np.array(ten * 10) + np.random.default_rng(1).integers(-30, 31, (100, 3))
    labels = ([0] * 5 + [1] * 5) * 10
    splits = {
        "train": pictures(folder, "train", colours[:60], labels[:60]),
        "validation": pictures(folder, "validation", colours[60:], labels[60:]),
    }
    data = Dataset(folder, ("blue", "red"), splits)
    features = features_of(data.known, colours)
    config = BuildConfig(
        folder,
        image_size=64,
        cache=folder / "cache",
        penalties=(1e-4,),
        guide_images=0,
        glance_losses=0.06,
        glance_confidence=0.9,
        glance_familiarity=0.0,
    )
    return World(folder, data, config, features, np.arange(100) % 5 == 4)


@pytest.fixture(scope="module")
def glance(world: World) -> GlanceNetwork:
    learnt = world.learn()
    assert learnt is not None
    return learnt


def test_it_answers_the_easy_pictures_and_the_thorough_network_the_others(world: World, glance: GlanceNetwork) -> None:
    head = evaluate_head(HEAD, world.features, 2, world.config)

    assert glance.answered.tolist() == (~world.purple).tolist()
    own = softmax(head.logits, glance.temperature)[glance.answered]
    together = softmax(glance.logits, TEMPERATURE)
    np.testing.assert_allclose(together[glance.answered], own, atol=1e-6)
    assert own.max(axis=1).min() >= glance.confidence == 0.9
    assert glance.logits[world.purple].max(axis=1).tolist() == [6.0] * 20
    assert (together.argmax(axis=1) == world.features.labels).all()


def test_its_temperature_is_fitted_on_pictures_and_changed_copies(world: World, glance: GlanceNetwork) -> None:
    head = evaluate_head(HEAD, world.features, 2, world.config)
    changed = extract(glance.network.int8, world.data.splits["validation"], world.config, CHANGES)
    copies = judge_copies(head, world.features, changed, world.config)

    fitted = calibration.fit_temperature(*calibration.answers(head, world.features, copies))
    assert glance.temperature == pytest.approx(fitted, rel=1e-4) != 1


def test_it_answers_changed_copies_by_the_same_rule(world: World, glance: GlanceNetwork) -> None:
    purple, labels = world.purple[60:], world.features.labels[60:]
    changed = extract(glance.network.int8, world.data.splits["validation"], world.config, CHANGES)
    alone = judge_copies(evaluate_head(HEAD, world.features, 2, world.config), world.features, changed, world.config)
    own = softmax(alone.logits, glance.temperature)
    together = softmax(glance.copies.logits, TEMPERATURE)

    assert glance.answered_copies.sum() > 25
    assert not glance.answered_copies[purple].any()
    assert glance.answered_copies.tolist() == (own.max(axis=1) >= glance.confidence).tolist()
    np.testing.assert_allclose(together[glance.answered_copies], own[glance.answered_copies], atol=1e-6)
    assert glance.copies.logits[~glance.answered_copies].max(axis=1).tolist() == [6.0] * (~glance.answered_copies).sum()
    assert (glance.copies.targets == labels).all()


def test_what_it_costs_is_the_mean_log_loss_above_that_of_the_thorough_network(
    world: World, glance: GlanceNetwork
) -> None:
    labels = world.features.labels
    right = softmax(glance.logits, TEMPERATURE)[np.arange(100), labels]
    difference = -np.log(right) - np.log1p(np.exp(-6 / TEMPERATURE))  # the thorough network's lead is 6

    assert glance.loss == pytest.approx((difference.mean(), difference.std() / 10), rel=1e-4)
    assert glance.milliseconds == (1.0, 8.0)  # of one picture on one thread


def test_the_calibration_of_both_together_has_the_answers_of_both(world: World, glance: GlanceNetwork) -> None:
    alone = world.alone()
    both = glance.applied(alone)

    assert both.validation.logits is glance.logits
    assert both.copies is glance.copies
    assert both.copies.changes.tolist() == alone.copies.changes.tolist()
    assert (both.temperature, both.threshold, both.validation.labels) == (
        TEMPERATURE,
        alone.threshold,
        alone.validation.labels,
    )


def test_its_head_is_trained_on_all_pictures_and_takes_the_maps_of_its_base(
    world: World, glance: GlanceNetwork
) -> None:
    answers = glance.trained.logits(world.features.values).argmax(axis=1)

    assert (answers == world.features.labels)[~world.purple].all()
    assert glance.trained.network.input_shape == (None, 1, 1, 3)


def test_it_leaves_unfamiliar_pictures_to_the_thorough_network(world: World) -> None:
    glance = world.learn(glance_familiarity=0.3, glance_losses=0.1)

    assert glance is not None
    unseen = world.features.examples[60:]
    familiar = glance.familiarity(part_of(world.features, unseen)) >= 0.3
    assert familiar.sum() == 28  # of 40 validation pictures the shares are 1/41 to 40/41; 13/41 is 0.317
    assert glance.answered[60:].tolist() == (familiar & ~world.purple[60:]).tolist()
    changed = glance.familiarity(extract(glance.network.int8, unseen, world.config, CHANGES))
    assert (changed < 0.3).sum() > 3
    assert not glance.answered_copies[changed < 0.3].any()


def test_its_head_is_of_the_thorough_networks_kind(world: World, glance: GlanceNetwork) -> None:
    other = world.learn(head=HeadCandidate("maximum", Pooling.MAXIMUM))

    assert glance.trained.pooling == Pooling.AVERAGE
    assert other is not None
    assert other.trained.pooling == Pooling.MAXIMUM


def test_its_familiarity_has_the_method_of_the_thorough_networks(world: World, glance: GlanceNetwork) -> None:
    distance = world.learn(by_distance=True)

    assert glance.familiarity.mahalanobis is None
    assert distance is not None
    assert distance.familiarity.mahalanobis is not None
    learnt = Mahalanobis.of(part_of(world.features, world.data.splits["train"]))
    np.testing.assert_allclose(distance.familiarity.mahalanobis.means, learnt.means, rtol=1e-3)


@pytest.mark.parametrize(
    ("split", "threshold"), [("train", 0.03), ("validation", 0.03), ("train and validation", 0.03), ("test", 0.02)]
)
def test_other_pictures_that_resemble_the_labels_raise_its_threshold_but_not_those_of_test(
    world: World, split: str, threshold: float
) -> None:
    colours = np.random.default_rng(3).integers(-30, 31, (10, 3)) + RED
    near = pictures(world.folder, "other", colours, [2] * 10)
    others = {"train": near[:5], "validation": near[5:]} if " " in split else {split: near}

    glance = world.learn(others=others)

    assert glance is not None
    assert glance.familiarity.threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"glance_losses": 0.01}, "it is sure of too few pictures, or loses too many labels"),
        ({"glance_losses": 1.0, "glance_confidence": 0.0, "threshold": 0.0}, "it would cost accuracy"),
        ({"cost": 12}, "it would save no time"),
        ({"cost": 12.5}, "it would save no time"),
    ],
)
def test_there_is_none_if_it_would_not_help(
    world: World, settings: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.learn(**settings) is None
    assert reason in capsys.readouterr().out


def test_a_loss_that_is_higher_by_chance_does_not_count(world: World) -> None:
    glance = world.learn(glance_losses=1.0, glance_confidence=0.0)  # it answers some of the purple ones, as sure as 0.8

    assert glance is not None
    assert 0 < glance.loss[0] < glance.loss[1]


def test_it_is_worth_its_time_if_the_pictures_that_it_answers_cost_more_without_it(world: World) -> None:
    assert world.learn(cost=13) is not None  # it costs 10 for every picture, and saves 13 for four of five


def test_guides_do_not_judge_it(world: World) -> None:
    # Of 80 easy pictures and some 30 copies, none is lost: an upper end below 0.04. Of two thirds: above.
    assert world.learn(glance_losses=0.04) is not None
    assert world.learn(glance_losses=0.04, guide_images=1000) is None


# ---- the file -----------------------------------------------------------------------------------------


def test_the_file_takes_pictures_of_the_thorough_networks_size_and_answers_as_learnt(
    world: World, glance: GlanceNetwork, tmp_path: Path
) -> None:
    part = export_glance(glance, glance.familiarity, world.config, tmp_path, tmp_path)

    content = (tmp_path / GLANCE_FILE).read_bytes()
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    assert (part.temperature, part.confidence, part.familiarity) == (glance.temperature, 0.9, 0.0)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    pixels = np.stack([np.asarray(Image.open(example.path)) for example in world.data.known])
    logits, familiarity = session.run(["logits", "familiarity"], {IMAGE: pixels})
    np.testing.assert_allclose(logits, glance.trained.logits(world.features.values), atol=1e-4)
    np.testing.assert_allclose(familiarity, glance.familiarity(world.features), atol=2e-3)
    golden = session.run(["logits"], {IMAGE: part.golden.pixels((64, 64))})[0][0]
    np.testing.assert_allclose(golden, part.golden.logits, atol=1e-4)


def test_both_networks_name_the_same_exemplars(world: World, glance: GlanceNetwork, tmp_path: Path) -> None:
    exemplars = replace(glance.familiarity.exemplars, examples=glance.familiarity.exemplars.examples[1:])

    with pytest.raises(AssertionError, match="the same exemplars"):
        export_glance(glance, replace(glance.familiarity, exemplars=exemplars), world.config, tmp_path, tmp_path)
