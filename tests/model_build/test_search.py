"""The picture's size and the network are chosen together, by racing on growing samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeller.classifier import load_classifier, open_session
from labeller.manifest import Manifest
from model_build import export
from model_build.compression.network import Shape
from model_build.config import BuildConfig
from model_build.data.dataset import Example
from model_build.search import SIGNIFICANCE, Network, Race, SearchResult, run_race, split_guides, time_graphs
from model_build.selection import EvaluatedHead, paired_difference
from tests.model_build import quick
from tests.model_build.examples import report_schema
from tests.model_build.narrow import load_narrow
from tests.model_build.test_selection import evaluated

IMAGES = 1000
SAMPLES = (100, 400, IMAGES)
DIFFERENCES = np.tile([0.1, -0.1], IMAGES // 2)  # 0.1 over the root of 1,000: one standard error is 0.00316


def network(size: int, speedup: float) -> Network:
    """Costs as much as its positions, divided by the speed-up."""
    width = round(6000 / speedup)
    return Network(size, speedup, Shape((width,), (None,), (False,)), Path("a"), Path("b"))


def families(sizes: tuple[int, ...], speedups: tuple[float, ...]) -> list[dict[int, Network]]:
    return [{size: network(size, speedup) for size in sizes} for speedup in speedups]


def paired(losses: Mapping[str, float]) -> Race:
    """Networks whose log losses are above the best one's by these means, with a deviation of 0.1."""

    def judge(one: Network, images: int) -> EvaluatedHead:
        mean = losses[one.name]
        return evaluated(one.name, 0.5 + mean + (DIFFERENCES[:images] if mean else np.zeros(images)))

    return Race(judge)


def test_the_fastest_network_without_a_measurable_loss_wins() -> None:
    # On 1,000 images 1.645 standard errors are 0.0052.
    raced = paired({"64 px, full": 0.0, "64 px, 2x faster": 0.0045, "64 px, 3x faster": 0.0060})
    assert run_race(raced, families((64,), (1.0, 2.0, 3.0)), SAMPLES).name == "64 px, 2x faster"
    raced = paired({"64 px, full": 0.0, "64 px, 2x faster": 0.0045, "64 px, 3x faster": 0.0045})
    assert run_race(raced, families((64,), (1.0, 2.0, 3.0)), SAMPLES).name == "64 px, 3x faster"


def test_a_large_picture_through_a_thin_network_may_beat_a_small_one_through_the_full_network() -> None:
    raced = paired({"64 px, full": 0.05, "128 px, full": 0.0, "64 px, 8x faster": 0.5, "128 px, 8x faster": 0.001})
    assert run_race(raced, families((64, 128), (1.0, 8.0)), SAMPLES).name == "128 px, 8x faster"


def test_only_networks_that_may_win_are_judged_on_more_pictures() -> None:
    raced = paired(
        {
            "64 px, full": 0.2,
            "128 px, full": 0.0,
            "192 px, full": 0.001,  # slower than the best, but not measurably worse
            "128 px, 2x faster": 0.1,
            "192 px, 2x faster": 0.001,
            "128 px, 4x faster": 0.9,
            "192 px, 4x faster": 0.9,
        }
    )
    assert run_race(raced, families((64, 128, 192), (1.0, 2.0, 4.0)), SAMPLES).name == "128 px, full"
    assert {one.name for one in raced.results[100]} == {"64 px, full", "128 px, full", "192 px, full"}
    sizes_that_may_win = {"128 px", "192 px"}
    assert {one.name.split(",")[0] for one in raced.results[400]} == sizes_that_may_win
    assert len(raced.results[400]) == 6
    assert {one.name for one in raced.results[IMAGES]} == {"128 px, full"}


def test_the_last_sample_is_judged_from_the_fastest_network_on_against_ever_slower_ones_of_its_size() -> None:
    means = {"64 px, full": 0.001, "64 px, 2x faster": 0.0, "64 px, 4x faster": 0.0055, "64 px, 8x faster": 0.0055}

    def judge(one: Network, images: int) -> EvaluatedHead:
        # On 1,000 images 1.645 standard errors are 0.0052; on the samples before, nothing is measurable.
        noise = DIFFERENCES[:images] * (1 if images == IMAGES else 9) if one.speedup > 2 else np.zeros(images)
        return evaluated(one.name, 2.0 + means[one.name] + noise)

    raced = Race(judge)
    assert run_race(raced, families((64,), (1.0, 2.0, 4.0, 8.0)), SAMPLES).name == "64 px, 2x faster"
    order = ["64 px, full", "64 px, 8x faster", "64 px, 4x faster", "64 px, 2x faster"]
    # 8x alone is within 1.645 standard errors of the full network, but not of the one that is twice as fast.
    assert [one.name for one in raced.results[IMAGES]] == order


def test_a_network_that_is_better_on_few_pictures_drops_no_slower_one() -> None:
    def judge(one: Network, images: int) -> EvaluatedHead:
        better = -0.1 if images < IMAGES else 0.1
        return evaluated(one.name, 1.0 + (better + DIFFERENCES[:images] if one.speedup > 1 else np.zeros(images)))

    raced = Race(judge)
    assert run_race(raced, families((64,), (1.0, 2.0)), SAMPLES).name == "64 px, full"
    assert raced.best(400).name == "64 px, 2x faster"


def test_a_faster_network_with_a_lower_loss_is_shipped_even_if_its_small_excess_is_measurable() -> None:
    # Networks of one size differ little from picture to picture, so that on many a small excess is measurable.
    means = {"64 px, full": 0.0, "64 px, 2x faster": 0.002, "80 px, full": 0.004, "80 px, 2x faster": 0.004}

    def judge(one: Network, images: int) -> EvaluatedHead:
        noise = DIFFERENCES[:images] * (0.1 if one.image_size == 64 and images == IMAGES else 5)
        return evaluated(one.name, 2.0 + means[one.name] + (noise if means[one.name] else np.zeros(images)))

    raced = Race(judge)
    assert run_race(raced, families((64, 80), (1.0, 2.0)), SAMPLES).name == "64 px, 2x faster"
    assert not raced.may_win(network(64, 2.0), IMAGES)
    assert raced.may_win(network(80, 2.0), IMAGES)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 0.02), min_size=6, max_size=6))
def test_every_network_faster_than_the_winner_is_measurably_worse_than_one_that_is_as_slow_or_slower(
    means: list[float],
) -> None:
    plane = families((64, 128), (1.0, 2.0, 4.0))
    names = [one.name for family in plane for one in family.values()]
    raced = paired(dict(zip(names, means, strict=True)))
    winner = run_race(raced, plane, SAMPLES)
    for one, images in raced.last().items():
        if one.cost < winner.cost:
            slower = [other for other in raced.results[images] if other.cost >= one.cost]
            differences = [paired_difference(raced.results[images][one].losses, raced.results[images][other].losses)
                           for other in slower]  # fmt: skip
            assert any(excess > SIGNIFICANCE * error for excess, error in differences) or not raced.may_win(one, images)
    results = raced.results[IMAGES]
    allowed = [results[one].losses.mean() for one in results if raced.may_win(one, IMAGES)]
    assert results[winner].losses.mean() <= max(allowed)


def test_every_network_is_reported_on_the_largest_sample_it_was_judged_on() -> None:
    raced = paired({"64 px, full": 0.0, "64 px, 2x faster": 0.3})
    full, fast = network(64, 1.0), network(64, 2.0)
    for one, images in ((full, 100), (fast, 100), (full, 400)):
        raced.measure(one, images)
    assert raced.last() == {full: 400, fast: 100}
    mean, error = raced.excess(fast, 100)
    assert (mean, error) == (pytest.approx(0.3), pytest.approx(0.01))
    assert SearchResult(fast, raced, {}, []).measurably_worse
    assert not SearchResult(full, raced, {}, []).measurably_worse


@given(st.lists(st.integers(0, 3), min_size=12, max_size=40), st.integers(1, 40))
def test_no_picture_that_guides_a_smaller_network_judges_it(labels: list[int], count: int) -> None:
    examples = [Example(Path(str(index)), label, f"{index:064x}") for index, label in enumerate(labels)]
    guides, judges = split_guides(examples, count)
    assert not set(guides) & set(judges)
    assert sorted(guides + judges, key=examples.index) == examples
    assert len(guides) == min(count, len(examples) // 3)


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
        speedup=2.0,
        guide_images=40,
        check_images=40,
        search_images=(40, 60),
        compress_step=4,
        compress_megapixels=0.13,
    )


@pytest.fixture(scope="module")
def compressed(small: BuildConfig) -> Path:
    from model_build.build import build

    return build(small, load_narrow)


@pytest.fixture(scope="module")
def searched(small: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    from model_build.build import build

    axes = {"auto_size": True, "auto_speedup": True, "sizes": (32, 64), "speedups": (2.0,)}
    settings = replace(small, out=tmp_path_factory.mktemp("searched") / "model", speedup=1.0, **axes)
    build(settings, load_narrow)
    return settings


@pytest.mark.slow
def test_the_report_has_every_network_and_names_the_shipped_one(searched: BuildConfig) -> None:
    report = json.loads((searched.out / "report.json").read_text("utf-8"))
    report_schema().validate(report)
    networks = {one["name"]: one for one in report["search"]["networks"]}
    assert (
        {"32 px, full", "64 px, full"}
        <= set(networks)
        <= {
            "32 px, full",
            "64 px, full",
            "32 px, 2x faster",
            "64 px, 2x faster",
        }
    )
    assert networks["64 px, full"]["multiplications"] == 4 * networks["32 px, full"]["multiplications"]
    chosen = networks[report["search"]["chosen"]]
    assert Manifest.from_file(searched.out / "manifest.json").input_size == (chosen["image_size"],) * 2
    assert chosen["validation"]["images"] == 80  # of 120, of which 40 guide
    assert len(report["search"]["redundancy"]) == 13
    first, *_, last = report["search"]["redundancy"]
    assert first["half"] <= first["half_by_lasso"] * 1.05  # elimination accounts for the weights being solved again
    assert (last["half"], last["half_by_lasso"]) == (None, None)
    assert 0 <= last["rank_2"] <= last["rank_4"]
    assert "(shipped)" in (searched.out / "figures/tradeoff.svg").read_text("utf-8")
    card = (searched.out / "index.html").read_text("utf-8")
    assert "Size and network: log loss against time" in card
    assert "IMAGE_SIZE=auto COMPRESS=auto" in card


@pytest.mark.slow
def test_a_search_from_the_cache_finds_the_same(searched: BuildConfig, tmp_path: Path) -> None:
    from model_build.build import build

    again = build(replace(searched, out=tmp_path / "again"), load_narrow)
    first, second = (json.loads((folder / "report.json").read_text("utf-8")) for folder in (searched.out, again))
    for one, other in zip(first["search"]["networks"], second["search"]["networks"], strict=True):
        times = {"milliseconds": 0, "milliseconds_all_cores": 0}
        assert one | times == other | times
    assert (again / "model.onnx").read_bytes() == (searched.out / "model.onnx").read_bytes()


@pytest.mark.slow
def test_a_number_builds_that_network_and_compares_it_with_the_full_one(compressed: Path) -> None:
    report = json.loads((compressed / "report.json").read_text("utf-8"))
    assert report["search"]["chosen"] == "64 px, 2x faster"
    fast, full = report["search"]["networks"]  # the fastest first
    assert (fast["name"], full["name"]) == ("64 px, 2x faster", "64 px, full")
    assert fast["validation"]["images"] == full["validation"]["images"] == 40
    assert fast["bytes"] < full["bytes"]
    assert fast["channels"][-1] == full["channels"][-1] == 16  # the features stay
    assert fast["multiplications"] < full["multiplications"]


@pytest.mark.slow
def test_the_compressed_model_passes_its_golden_check_and_is_smaller(compressed: Path, built: Path) -> None:
    classifier = load_classifier(compressed, threads=1)  # checks SHA-256 and the golden input
    assert classifier.labels == ("day", "night")
    assert (compressed / "model.onnx").stat().st_size < (built / "model.onnx").stat().st_size
    versions = {Manifest.from_file(folder / "manifest.json").model_version for folder in (compressed, built)}
    assert len(versions) == 2


@pytest.mark.slow
def test_the_same_settings_give_the_same_compressed_model_without_the_cache(
    compressed: Path, small: BuildConfig, tmp_path: Path
) -> None:
    from model_build.build import build

    again = build(replace(small, out=tmp_path / "model", cache=tmp_path / "cache"), load_narrow)
    assert (again / "model.onnx").read_bytes() == (compressed / "model.onnx").read_bytes()


@pytest.mark.slow
def test_a_resized_graph_computes_what_an_export_for_that_size_does(tmp_path: Path) -> None:
    base_64, base_96 = (load_narrow("random", size, 7).network for size in (64, 96))
    export.export(base_64, export.IMAGE, export.FEATURES, tmp_path / "64.onnx")
    export.export(base_96, export.IMAGE, export.FEATURES, tmp_path / "96.onnx")
    export.resize(tmp_path / "64.onnx", 96, tmp_path / "resized.onnx")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 96, 96, 3), np.uint8)
    resized, exported = (
        open_session(path.read_bytes(), path, 1).run(None, {export.IMAGE: pixels})[0]
        for path in (tmp_path / "resized.onnx", tmp_path / "96.onnx")
    )
    assert exported.shape == (2, 3, 3, 16)
    np.testing.assert_allclose(resized, exported, rtol=1e-5, atol=1e-6)
    one = Network(96, 1.0, Shape((16,), (None,), (False,)), tmp_path / "resized.onnx", tmp_path / "resized.onnx")
    assert min(time_graphs([one])[one]) > 0
