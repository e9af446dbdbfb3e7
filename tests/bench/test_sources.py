"""The model, data and weights of the benchmarks, and their defaults."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from bench import sources
from bench.sources import BenchError, add_options, read
from tests.support import write_model


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DEMO_INPUTS", tmp_path / "inputs.json")
    monkeypatch.setattr(sources, "OUT", tmp_path / "bench")


def options(model: Path, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--model", str(model), *arguments])


def remember(tmp_path: Path, data: Path, weights: str) -> None:
    (tmp_path / "inputs.json").write_text(json.dumps({"inputs": {"data": str(data), "weights": weights}}))


def test_the_demos_inputs_is_the_default(tmp_path: Path):
    remember(tmp_path, tmp_path, "/weights.h5")
    result = read(options(write_model(tmp_path / "model", build={"weights": "file"})))
    assert (result.data, result.drawn, result.weights, result.side) == (tmp_path, False, "/weights.h5", 8)


def test_options_override_the_demos_inputs(tmp_path: Path):
    remember(tmp_path, tmp_path / "gone", "/weights.h5")
    model = write_model(tmp_path / "model", build={"weights": "file"})
    result = read(options(model, "--data", str(tmp_path), "--weights", "/other.h5"))
    assert (result.data, result.weights) == (tmp_path, "/other.h5")


def test_weights_with_imagenet_s_values_come_from_the_demo_s_file(tmp_path: Path):
    remember(tmp_path, tmp_path, "/weights.h5")
    assert read(options(write_model(tmp_path / "model", build={"weights": "imagenet"}))).weights == "/weights.h5"


@pytest.mark.parametrize("origin", ["imagenet", "random"])
def test_a_model_of_named_weights_needs_no_demo(tmp_path: Path, origin: str):
    assert read(options(write_model(tmp_path / "model", build={"weights": origin}))).weights == origin


def test_without_photographs_pictures_are_drawn_and_marked_so(tmp_path: Path):
    result = read(options(write_model(tmp_path / "model")))
    assert result.drawn
    assert {path.name for path in result.data.iterdir()} == {"train", "validation", "test"}
    assert result.weights is None


def test_a_data_set_without_splits_is_used_whole(tmp_path: Path):
    model = write_model(tmp_path / "model")
    (tmp_path / "heap" / "cats").mkdir(parents=True)
    (tmp_path / "split" / "test").mkdir(parents=True)
    results = [read(options(model, "--data", str(tmp_path / name))).photographs for name in ("heap", "split")]
    assert results == [tmp_path / "heap", tmp_path / "split" / "test"]


def test_an_incomplete_drawn_data_set_is_drawn_again(tmp_path: Path):
    for half in ("drawn.partial/train", "drawn/test"):
        (tmp_path / "bench" / half / "day").mkdir(parents=True)
    result = read(options(write_model(tmp_path / "model")))
    assert all(len(list((result.data / split).glob("*/*"))) > 1 for split in ("train", "validation", "test"))
    assert [path.name for path in (tmp_path / "bench").iterdir()] == ["drawn"]


def test_without_a_model_the_error_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(BenchError, match=rf"no model in {tmp_path}/none: make one first \(`make model`"):
        read(options(tmp_path / "none"))


def test_a_named_data_set_must_exist(tmp_path: Path):
    with pytest.raises(BenchError, match="there is no folder"):
        read(options(write_model(tmp_path / "model"), "--data", str(tmp_path / "gone")))


def test_the_number_of_rounds_is_as_named_or_the_parts_own(tmp_path: Path):
    model = write_model(tmp_path / "model")
    (tmp_path / "data").mkdir()
    read_with = lambda *arguments: read(options(model, "--data", str(tmp_path / "data"), *arguments))  # noqa: E731
    assert read_with().round_count(9) == 9
    assert read_with("--quick").round_count(9) == 2
    assert read_with("--quick", "--rounds", "5").round_count(9) == 5
