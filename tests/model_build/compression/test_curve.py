"""The curve of accuracy against arithmetic, and what is taken from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import log_loss

from labeller.classifier import Manifest, load_classifier
from model_build.__main__ import main
from model_build.compression import candidates
from model_build.compression.candidates import Kind
from model_build.compression.curve import Network, choose, excess, log_losses
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.head import TrainedHead
from model_build.selection import EvaluatedHead, ValidationScore
from tests.model_build import quick
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow


RANDOM = np.random.default_rng(3)
LOSSES = RANDOM.exponential(0.1, 1000)


def network(name: str, cost: int, correct: int, more: float = 0.0, size: int = 64) -> Network:
    """A network whose pictures have `more` log loss than the full one's, with noise."""
    trained = TrainedHead(None, {}, 1)  # type: ignore[arg-type]
    head = EvaluatedHead(
        HeadCandidate("a", Pooling.AVERAGE), trained, ValidationScore(correct, 1000, 0.1), np.empty(0), 0.0
    )
    noise = RANDOM.normal(size=1000)
    losses = LOSSES + more + 0.1 * (noise - noise.mean()) / noise.std() if cost < 100 else LOSSES
    return Network(name, Kind.BOTH, size, (8,), (None,), cost, cost, Path("a"), Path("b"), head, losses)


NETWORKS = [network("full", 100, 950), network("2", 50, 948), network("3", 33, 947), network("4", 25, 946)]


def test_the_least_time_within_the_loss_is_taken() -> None:
    assert choose(NETWORKS, 0.003, None).name == "3"
    assert choose(NETWORKS, 0.0, None).name == "full"
    assert choose([*NETWORKS, network("5", 20, 951)], 0.0, None).name == "5"


def test_a_network_whose_log_loss_is_higher_by_more_than_chance_is_not_taken() -> None:
    # 0.1 over the root of 1,000 is 0.00316: 1.645 of those are 0.0052
    assert choose([*NETWORKS, network("5", 20, 951, more=0.0060)], 0.003, None).name == "3"
    assert choose([*NETWORKS, network("5", 20, 951, more=0.0045)], 0.003, None).name == "5"
    assert excess(network("5", 20, 951, more=0.0060), NETWORKS[0]) == pytest.approx(0.006 / 0.1 * 1000**0.5)
    assert excess(NETWORKS[0], NETWORKS[0]) == 0


def test_smaller_pictures_are_for_the_user_to_choose() -> None:
    assert choose([*NETWORKS, network("48 pixels", 20, 999, size=48)], 0.003, None).name == "3"


def test_a_number_takes_that_network_whatever_it_costs() -> None:
    assert choose(NETWORKS, 0.0, "4").name == "4"


def test_log_losses_are_those_of_scikit_learn() -> None:
    logits = np.random.default_rng(1).normal(size=(7, 3)) * 5  # scikit-learn cuts off at 36
    labels = np.array([0, 1, 2, 2, 1, 0, 0])
    expected = [
        log_loss([label], [softmax(each)], labels=[0, 1, 2]) for each, label in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(log_losses(logits, labels), expected, rtol=1e-4, atol=1e-12)


def test_the_curve_has_both_ways_together_each_alone_and_smaller_pictures(tmp_path: Path) -> None:
    auto = candidates.planned(BuildConfig(tmp_path, image_size=128, compress="auto"))
    assert len(auto) >= 7  # eight points with the full network
    assert {each.kind for each in auto} == {Kind.BOTH, Kind.CHANNELS, Kind.RANKS, Kind.PIXELS}
    assert [each.image_size for each in auto if each.kind is Kind.PIXELS] == [112, 96]
    assert len({each.files(tmp_path) for each in auto}) == len(auto)
    assert [each.name for each in candidates.planned(BuildConfig(tmp_path, compress="2.5"))] == ["2.5 times less"]


@pytest.fixture(scope="module")
def small(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    return replace(
        config,
        out=tmp_path_factory.mktemp("small") / "model",
        quantisations=quick.QUANTISATIONS[:1],
        heads=(replace(quick.HEADS[0], epochs=15),),
        compress="2",
        compress_step=4,
        compress_megapixels=0.13,
    )


@pytest.fixture(scope="module")
def thinned(small: BuildConfig) -> Path:
    from model_build.build import build

    return build(small, load_narrow)


@pytest.fixture(scope="module")
def curve(small: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_build.build import build

    out = tmp_path_factory.mktemp("curve") / "model"
    settings = replace(small, out=out, compress="auto", compress_times=(1.5,), compress_singly=(1.5,))
    return build(replace(settings, compress_sizes=(0.75,)), load_narrow)


def test_the_report_has_the_curve_and_names_what_is_shipped(curve: Path) -> None:
    report = json.loads((curve / "report.json").read_text("utf-8"))
    found = report["compression"]
    assert [each["name"] for each in found["networks"]] == [
        "full",
        "1.5 times less",
        "1.5 times less, channels only",
        "1.5 times less, ranks only",
        "48 pixels",
    ]
    full, both, channels, ranks, pixels = found["networks"]
    assert pixels["multiplications"] == full["multiplications"] * 9 // 16
    assert pixels["channels"] == ranks["channels"] == full["channels"]
    assert channels["ranks"] == full["ranks"] == [None] * 13
    assert any(ranks["ranks"])
    assert channels["multiplications"] < full["multiplications"] > both["multiplications"]
    assert full["validation"]["excess"] == 0
    assert found["chosen"] in [each["name"] for each in found["networks"][:4]]
    assert len(found["redundancy"]) == 13
    first, *_, last = found["redundancy"]
    assert first["half"] <= first["half_by_lasso"] * 1.05  # greedy looks at the weights that are solved again
    assert (last["half"], last["half_by_lasso"]) == (None, None)
    assert 0 <= last["rank_2"] <= last["rank_4"]
    with Image.open(curve / "figures/tradeoff.png") as drawn:
        assert min(drawn.size) > 600
    card = (curve / "index.html").read_text("utf-8")
    assert "Less arithmetic" in card
    assert "1.5 times less, ranks only" in card


def test_the_curve_from_the_cache_is_the_same(curve: Path, small: BuildConfig, tmp_path: Path) -> None:
    from model_build.build import build

    settings = replace(small, out=tmp_path / "again", compress="auto", compress_times=(1.5,), compress_singly=(1.5,))
    again = build(replace(settings, compress_sizes=(0.75,)), load_narrow)
    first, second = (json.loads((each / "report.json").read_text("utf-8")) for each in (curve, again))
    for one, other in zip(first["compression"]["networks"], second["compression"]["networks"], strict=True):
        assert {**one, "milliseconds": 0} == {**other, "milliseconds": 0}
    assert (again / "model.onnx").read_bytes() == (curve / "model.onnx").read_bytes()


def test_a_number_makes_that_network_and_ships_it(thinned: Path) -> None:
    report = json.loads((thinned / "report.json").read_text("utf-8"))
    found = report["compression"]
    assert [each["name"] for each in found["networks"]] == ["full", "2 times less"]
    assert found["chosen"] == "2 times less"
    full, two = found["networks"]
    assert two["bytes"] < full["bytes"]
    assert two["channels"][-1] == 16
    assert two["validation"]["correct"] == report["accuracy"]["validation"]["int8"]["correct"]
    test = found["test"]
    assert test["correct"] == report["accuracy"]["test"]["int8"]["correct"]
    assert test["full_correct"] - test["only_full"] + test["only_shipped"] == test["correct"]


def test_the_compressed_model_loads_with_its_golden_answer_and_is_smaller(thinned: Path, built: Path) -> None:
    classifier = load_classifier(thinned, threads=1)  # checks SHA-256 and the golden input
    assert classifier.labels == ("day", "night")
    assert (thinned / "model.onnx").stat().st_size < (built / "model.onnx").stat().st_size
    assert Manifest.from_file(thinned / "manifest.json").model_version != (
        Manifest.from_file(built / "manifest.json").model_version
    )


def test_the_same_settings_give_the_same_compressed_model_without_the_cache(
    thinned: Path, small: BuildConfig, tmp_path: Path
) -> None:
    from model_build.build import build

    again = build(replace(small, out=tmp_path / "model", cache=tmp_path / "cache"), load_narrow)
    assert (again / "model.onnx").read_bytes() == (thinned / "model.onnx").read_bytes()


@pytest.mark.parametrize("asked", ["1", "0", "-2", "nan", "inf", "fast", "21"])
def test_what_is_no_compression_is_refused(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--compress", asked])
    assert "is neither none nor auto nor a number" in capsys.readouterr().err
