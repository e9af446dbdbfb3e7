"""The curve of accuracy against arithmetic, and what is taken from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeller.model import Manifest, load_classifier
from model_build.__main__ import main
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.head import Trained
from model_build.selection import Contender, Scored
from model_build.tradeoff import Network, choose
from tests.model_build import quick
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow


def network(name: str, multiplications: int, correct: int) -> Network:
    trained = Trained(None, {}, 1)  # type: ignore[arg-type]
    head = Contender(HeadCandidate("a", Pooling.AVERAGE), trained, Scored(correct, 1000, 0.1), np.empty(0), 0.0)
    return Network(name, 64, (8,), multiplications, Path("a"), Path("b"), head)


NETWORKS = [network("full", 100, 950), network("2", 50, 948), network("3", 33, 947), network("4", 25, 946)]


def test_the_fewest_multiplications_within_the_loss_are_taken() -> None:
    assert choose(NETWORKS, 0.003, None).name == "3"
    assert choose(NETWORKS, 0.0, None).name == "full"
    assert choose([*NETWORKS, network("5", 20, 951)], 0.0, None).name == "5"


def test_a_number_takes_that_network_whatever_it_costs() -> None:
    assert choose(NETWORKS, 0.0, "4").name == "4"


@pytest.fixture(scope="module")
def small(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    return replace(
        config,
        out=tmp_path_factory.mktemp("small") / "model",
        quantisations=quick.QUANTISATIONS[:1],
        heads=(replace(quick.HEADS[0], epochs=15),),
        compress="2",
        compress_times=(3.0,),
        compress_sizes=(0.75,),
        compress_step=4,
        compress_megapixels=0.13,
    )


@pytest.fixture(scope="module")
def thinned(small: BuildConfig) -> Path:
    from model_build.build import build

    return build(small, load_narrow)


@pytest.fixture(scope="module")
def report(thinned: Path) -> dict:
    return json.loads((thinned / "report.json").read_text("utf-8"))


def test_the_report_has_the_curve_and_names_what_is_shipped(report: dict, thinned: Path) -> None:
    found = report["compression"]
    assert [each["name"] for each in found["networks"]] == ["full", "2 times fewer", "3 times fewer", "48 pixels"]
    assert found["chosen"] == "2 times fewer"
    full, two, three, smaller = found["networks"]
    assert full["multiplications"] >= 2 * two["multiplications"] >= 2 * three["multiplications"]
    assert smaller["multiplications"] == full["multiplications"] * 9 // 16
    assert two["bytes"] < full["bytes"]
    assert two["channels"][-1] == 16
    assert len(found["redundancy"]) == 12
    assert two["validation"]["correct"] == report["accuracy"]["validation"]["int8"]["correct"]
    assert found["test"]["correct"] == report["accuracy"]["test"]["int8"]["correct"]
    assert (
        found["test"]["full_correct"] - found["test"]["only_full"] + found["test"]["only_shipped"]
        == (found["test"]["correct"])
    )
    with Image.open(thinned / "figures/tradeoff.png") as drawn:
        assert drawn.size == (1200, 720)
    card = (thinned / "index.html").read_text("utf-8")
    assert "Fewer multiplications" in card
    assert "2 times fewer" in card


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
