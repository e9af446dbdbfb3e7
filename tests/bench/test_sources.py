"""What the benchmarks run on, where nobody says."""

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


def test_the_demos_choice_is_taken(tmp_path: Path):
    remember(tmp_path, tmp_path, "/weights.h5")
    found = read(options(write_model(tmp_path / "model", build={"weights": "file"})))
    assert (found.data, found.drawn, found.weights, found.side) == (tmp_path, False, "/weights.h5", 8)


def test_what_is_named_goes_before_the_demos_choice(tmp_path: Path):
    remember(tmp_path, tmp_path / "gone", "/weights.h5")
    model = write_model(tmp_path / "model", build={"weights": "file"})
    found = read(options(model, "--data", str(tmp_path), "--weights", "/other.h5"))
    assert (found.data, found.weights) == (tmp_path, "/other.h5")


@pytest.mark.parametrize("origin", ["imagenet", "random"])
def test_a_model_of_weights_that_have_a_name_needs_no_choice(tmp_path: Path, origin: str):
    assert read(options(write_model(tmp_path / "model", build={"weights": origin}))).weights == origin


def test_without_photographs_pictures_are_drawn_and_it_is_known(tmp_path: Path):
    found = read(options(write_model(tmp_path / "model")))
    assert found.drawn
    assert {path.name for path in found.data.iterdir()} == {"train", "validation", "test"}
    assert found.weights is None


def test_a_data_set_without_splits_is_taken_whole(tmp_path: Path):
    model = write_model(tmp_path / "model")
    (tmp_path / "heap" / "cats").mkdir(parents=True)
    (tmp_path / "split" / "test").mkdir(parents=True)
    found = [read(options(model, "--data", str(tmp_path / name))).photographs for name in ("heap", "split")]
    assert found == [tmp_path / "heap", tmp_path / "split" / "test"]


def test_pictures_half_drawn_are_drawn_again(tmp_path: Path):
    for half in ("drawn.partial/train", "drawn/test"):
        (tmp_path / "bench" / half / "day").mkdir(parents=True)
    found = read(options(write_model(tmp_path / "model")))
    assert all(len(list((found.data / split).glob("*/*"))) > 1 for split in ("train", "validation", "test"))
    assert [path.name for path in (tmp_path / "bench").iterdir()] == ["drawn"]


def test_without_a_model_it_is_said_how_to_make_one(tmp_path: Path):
    with pytest.raises(BenchError, match=rf"no model in {tmp_path}/none: make one first \(`make model`"):
        read(options(tmp_path / "none"))


def test_a_data_set_that_was_named_must_be_there(tmp_path: Path):
    with pytest.raises(BenchError, match="there is no folder"):
        read(options(write_model(tmp_path / "model"), "--data", str(tmp_path / "gone")))
