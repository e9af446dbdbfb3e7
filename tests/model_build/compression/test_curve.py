"""The curve of accuracy against time, and the network chosen from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labeller.classifier import load_classifier
from labeller.manifest import Manifest
from model_build.__main__ import main
from model_build.compression.candidates import Kind, plan_candidates
from model_build.compression.curve import CurvePoint, choose_network, excess_loss
from model_build.compression.network import Shape
from model_build.config import BuildConfig
from tests.model_build import quick
from tests.model_build.examples import report_schema
from tests.model_build.narrow import load_narrow
from tests.model_build.test_selection import evaluated

pytestmark = pytest.mark.slow


RANDOM = np.random.default_rng(3)
LOSSES = RANDOM.exponential(0.1, 1000)


def point(name: str, cost: int, more: float = 0.0, size: int = 64) -> CurvePoint:
    """A network whose log loss is `more` above the full one's, with noise of 0.1 if it costs less."""
    noise = RANDOM.normal(size=1000)
    losses = LOSSES + 1 + (more + 0.1 * (noise - noise.mean()) / noise.std() if cost < 100 else 0)
    return CurvePoint(
        name, Kind.BOTH, size, Shape((cost,), (None,), (False,)), Path("a"), Path("b"), evaluated(name, losses)
    )


FULL, TWO, THREE = point("full", 100), point("2", 50), point("3", 33)


def test_the_fastest_network_without_measurable_loss_is_chosen() -> None:
    assert choose_network([FULL, TWO, THREE], None).name == "3"
    assert choose_network([FULL], None).name == "full"


def test_a_network_with_a_measurably_higher_log_loss_is_not_chosen() -> None:
    # 0.1 over the root of 1,000 is 0.00316: 1.645 of those are 0.0052
    assert choose_network([FULL, TWO, point("5", 20, more=0.0060)], None).name == "2"
    assert choose_network([FULL, TWO, point("5", 20, more=0.0045)], None).name == "5"
    assert excess_loss(point("5", 20, more=0.0060), FULL) == pytest.approx(0.006 / 0.1 * 1000**0.5)
    assert excess_loss(FULL, FULL) == 0


def test_a_network_for_smaller_pictures_is_never_chosen() -> None:
    assert choose_network([FULL, TWO, point("48 pixels", 20, size=48)], None).name == "2"


def test_a_number_chooses_that_network_whatever_it_costs() -> None:
    assert choose_network([FULL, TWO, point("4", 25, more=1.0)], "4").name == "4"


def test_the_curve_has_channels_and_ranks_together_and_alone_and_smaller_pictures(tmp_path: Path) -> None:
    auto = plan_candidates(BuildConfig(tmp_path, image_size=128, compress="auto"))
    assert len(auto) >= 7  # eight points with the full network
    assert {candidate.kind for candidate in auto} == {Kind.BOTH, Kind.CHANNELS, Kind.RANKS, Kind.PIXELS}
    assert [candidate.image_size for candidate in auto if candidate.kind is Kind.PIXELS] == [112, 96]
    assert len({candidate.files(tmp_path) for candidate in auto}) == len(auto)
    assert [candidate.name for candidate in plan_candidates(BuildConfig(tmp_path, compress="2.5"))] == ["2.5x faster"]


@pytest.fixture(scope="module")
def small(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    folder = tmp_path_factory.mktemp("small")
    return replace(
        config,
        out=folder / "model",
        # A copy: tests of the shared cache expect the networks of its own build alone.
        cache=Path(shutil.copytree(config.cache, folder / "cache", ignore=shutil.ignore_patterns("*.partial*"))),
        quantisations=quick.QUANTISATIONS[:1],
        heads=quick.HEADS[:1],
        compress="2",
        compress_step=4,
        compress_megapixels=0.13,
    )


@pytest.fixture(scope="module")
def compressed(small: BuildConfig) -> Path:
    from model_build.build import build

    return build(small, load_narrow)


@pytest.fixture(scope="module")
def curve(small: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_build.build import build

    out = tmp_path_factory.mktemp("curve") / "model"
    settings = replace(small, out=out, compress="auto", compress_times=(1.5,), compress_singly=(1.5,))
    return build(replace(settings, compress_sizes=(0.75,)), load_narrow)


def test_the_report_has_the_curve_and_names_the_shipped_network(curve: Path) -> None:
    report = json.loads((curve / "report.json").read_text("utf-8"))
    report_schema().validate(report)
    compression = report["compression"]
    assert [network["name"] for network in compression["networks"]] == [
        "full",
        "1.5x faster",
        "1.5x faster, channels only",
        "1.5x faster, ranks only",
        "48 pixels",
    ]
    full, both, channels, ranks, pixels = compression["networks"]
    assert pixels["multiplications"] == full["multiplications"] * 9 // 16
    assert pixels["channels"] == ranks["channels"] == full["channels"]
    assert channels["ranks"] == full["ranks"] == [None] * 13
    assert any(ranks["ranks"])
    assert channels["multiplications"] < full["multiplications"] > both["multiplications"]
    assert full["validation"]["excess"] == 0
    assert compression["chosen"] in [network["name"] for network in compression["networks"][:4]]
    assert len(compression["redundancy"]) == 13
    first, *_, last = compression["redundancy"]
    assert first["half"] <= first["half_by_lasso"] * 1.05  # elimination accounts for the weights being solved again
    assert (last["half"], last["half_by_lasso"]) == (None, None)
    assert 0 <= last["rank_2"] <= last["rank_4"]
    assert "1.5x faster, ranks only" in (curve / "figures/curve.svg").read_text("utf-8")
    card = (curve / "index.html").read_text("utf-8")
    assert "Compression: accuracy against time" in card
    assert "1.5x faster, ranks only" in card


def test_the_curve_from_the_cache_is_the_same(curve: Path, small: BuildConfig, tmp_path: Path) -> None:
    from model_build.build import build

    settings = replace(small, out=tmp_path / "again", compress="auto", compress_times=(1.5,), compress_singly=(1.5,))
    again = build(replace(settings, compress_sizes=(0.75,)), load_narrow)
    first, second = (json.loads((folder / "report.json").read_text("utf-8")) for folder in (curve, again))
    for one, other in zip(first["compression"]["networks"], second["compression"]["networks"], strict=True):
        assert {**one, "milliseconds": 0} == {**other, "milliseconds": 0}
    assert (again / "model.onnx").read_bytes() == (curve / "model.onnx").read_bytes()


def test_a_number_builds_that_network_and_ships_it(compressed: Path) -> None:
    report = json.loads((compressed / "report.json").read_text("utf-8"))
    compression = report["compression"]
    assert [network["name"] for network in compression["networks"]] == ["full", "2x faster"]
    assert compression["chosen"] == "2x faster"
    full, two = compression["networks"]
    assert two["bytes"] < full["bytes"]
    assert two["channels"][-1] == 16
    assert two["validation"]["correct"] == report["accuracy"]["validation"]["int8"]["correct"]
    test = compression["test"]
    assert test["correct"] == report["accuracy"]["test"]["int8"]["correct"]
    assert test["full_correct"] - test["only_full"] + test["only_shipped"] == test["correct"]


def test_the_compressed_model_passes_its_golden_check_and_is_smaller(compressed: Path, built: Path) -> None:
    classifier = load_classifier(compressed, threads=1)  # checks SHA-256 and the golden input
    assert classifier.labels == ("day", "night")
    assert (compressed / "model.onnx").stat().st_size < (built / "model.onnx").stat().st_size
    assert Manifest.from_file(compressed / "manifest.json").model_version != (
        Manifest.from_file(built / "manifest.json").model_version
    )


def test_the_same_settings_give_the_same_compressed_model_without_the_cache(
    compressed: Path, small: BuildConfig, tmp_path: Path
) -> None:
    from model_build.build import build

    again = build(replace(small, out=tmp_path / "model", cache=tmp_path / "cache"), load_narrow)
    assert (again / "model.onnx").read_bytes() == (compressed / "model.onnx").read_bytes()


@pytest.mark.parametrize("asked", ["1", "0", "-2", "nan", "inf", "fast", "21"])
def test_an_invalid_compression_is_refused(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--compress", asked])
    assert "is not none, auto or a number" in capsys.readouterr().err
