"""The part `strangers` with a small network: what gets a label, with and without familiarity."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from bench import strangers
from bench.sources import BenchError, Sources
from bench.strangers import Answers, figures, measure, pictures, splits, words
from bench.synthetic import KINDS, draw
from bench.table import table
from labeller.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from model_build.data.dataset import Dataset, Example
from model_build.features import Features
from tests.support import plain, write_familiar_model, write_model


def answers(shares: list[float], confidence: list[float], right: list[bool] | None = None) -> Answers:
    count = len(shares)
    features = Features(
        tuple(Example(Path(f"{row}.jpg"), 0, "") for row in range(count)), np.zeros((count, 2, 3)), np.zeros(count)
    )
    sure = np.array(confidence) >= 0.9
    return Answers(features, np.array(confidence), sure, np.array(right or [True] * count), np.array(shares))


def test_labels_are_counted_with_and_without_familiarity() -> None:
    own = answers([0.9, 0.5, 0.01, 0.8, 0.7], [0.99, 0.95, 0.99, 0.5, 0.92], [True, False, True, False, True])
    strange = answers([0.5, 0.0, 0.01, 0.4], [0.95, 0.99, 0.99, 0.2])
    near = np.array([True, False, False, True])

    assert figures(own, strange, near, 0.0, own.sure) == {
        "strangers_labelled": 0.75,
        "near_misses_labelled": 0.5,
        "others_labelled": 1.0,
        "labels_kept": 1.0,
        "labelled": 4,
        "wrong": 1,
    }
    assert figures(own, strange, near, 0.03, own.sure) == {
        "strangers_labelled": 0.25,
        "near_misses_labelled": 0.5,
        "others_labelled": 0.0,
        "labels_kept": 0.75,
        "labelled": 3,
        "wrong": 1,
    }


def test_examples_and_judged_strangers_have_no_kind_in_common() -> None:
    kinds = np.array(["fox"] * 4 + ["crab"] * 3 + [f"kind {number}" for number in range(13)])

    masks = list(splits(kinds, 8))

    assert len(masks) == strangers.SPLITS
    assert all(5 <= mask.sum() <= 8 for mask in masks)
    assert not any(set(kinds[mask]) & set(kinds[~mask]) for mask in masks)
    assert len({mask.tobytes() for mask in masks}) > 1


def test_the_kind_is_the_last_word_of_a_files_name_without_numbers() -> None:
    assert words(Path("x/red_fox.jpg"))[-1] == words(Path("kit fox 2.jpg"))[-1] == "fox"
    assert words(Path("one colour 11.png")) == ["one", "colour"]
    assert words(Path("42.jpg")) == ["42"]


def test_drawn_pictures_are_always_the_same_and_differ(tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in draw(tmp_path / "one", 2).iterdir()}

    assert len(files) == 2 * len(KINDS)
    assert files == {path.name: path.read_bytes() for path in draw(tmp_path / "two", 2).iterdir()}
    changing = [kind for kind in KINDS if kind not in ("black", "white", "blank")]
    assert all(files[f"{kind} 0.png"] != files[f"{kind} 1.png"] for kind in changing)


def test_a_folder_without_pictures_is_an_error_that_says_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(BenchError, match="STRANGERS="):
        pictures(tmp_path, Dataset(tmp_path, ("a", "b"), {}))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Reds and blues; a model of the mean colour, to which green is unfamiliar: 1 - green / 255, at least 0.25."""
    root, random = tmp_path_factory.mktemp("strangers"), np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 10), ("test", 10)):
        for label, channel in (("crimson", 0), ("navy", 2)):
            for number in range(count):
                colour = random.integers(0, 40, 3)
                colour[channel] = 200 + number
                save(root / "data" / split / label / f"{number}.png", colour)
    for number in range(30):  # half of them yellow, so surely red, and half green, of which the model is not sure
        name = "tree frog" if number < 10 else f"thing {chr(97 + number)}"
        save(root / "others" / f"{name} {number}.png", np.array([200 * (number % 2), 200 + number, 0]))
    save(root / "others" / "red_fox.png", np.array([220, 30, 0]))
    model = write_familiar_model(root / "model", labels=("crimson", "navy"))
    network = onnx.load(model / MODEL_FILE)
    for (
        node
    ) in network.graph.node:  # a finished model's feature maps have this name; these have the size of the picture
        for names in (node.input, node.output):
            names[:] = ["features" if name == "floats" else name for name in names]
    content = network.SerializeToString()
    (model / MODEL_FILE).write_bytes(content)
    manifest = dataclasses.replace(
        Manifest.from_file(model / MANIFEST_FILE), model_sha256=hashlib.sha256(content).hexdigest()
    )
    (model / MANIFEST_FILE).write_text(manifest.to_json(), "utf-8")
    return Sources(model, manifest, root / "data", False, None, 1, False, None)


def save(path: Path, colour: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    red, green, blue = colour.tolist()
    plain((red, green, blue)).save(path)


@pytest.fixture
def in_folder(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = sources.data.parent
    monkeypatch.setattr(strangers, "OUT", root / "out")
    monkeypatch.setattr(strangers, "ROOT", root)
    monkeypatch.setattr(strangers, "EXAMPLES", (12, 400))
    monkeypatch.setattr(strangers, "DRAWN", 1)
    monkeypatch.setattr(strangers, "SPLITS", 2)
    return root


def test_what_the_model_says_of_strangers_is_measured_and_printed(sources: Sources, in_folder: Path) -> None:
    results = measure(sources, argparse.Namespace(strangers=in_folder / "others"))

    assert (results["test"], results["strangers"], results["near_misses"], results["threshold"]) == (20, 31, 1, 0.25)
    assert results["without"]["strangers_labelled"] == round(16 / 31, 4)  # 15 yellow ones and the fox
    assert results["with_familiarity"]["strangers_labelled"] == round(1 / 31, 4)
    assert results["with_familiarity"]["near_misses_labelled"] == 1
    assert results["labelled_kinds"] == ["fox"]
    for row in (results["without"], results["with_familiarity"]):
        assert (row["labels_kept"], row["labelled"], row["wrong"]) == (1, 20, 0)
    # The fox's familiarity, 1 - 30 / 255, is below that of most test pictures, whose green is 0 to 39.
    assert 0.97 < results["auroc"] < 1
    assert [row["kind"] for row in results["drawn"]] == sorted(KINDS)
    assert {row["pictures"] for row in results["drawn"]} == {1}
    black = next(row for row in results["drawn"] if row["kind"] == "black")
    assert (black["without"], black["with_familiarity"]) == (0, 0)
    (row,) = results["examples"]  # there are not 400
    assert (row["examples"], row["splits"]) == (12, 2)
    assert row["strangers_labelled"] < 0.2
    assert row["labels_kept"] > 0.9

    printed = table("strangers", results)
    assert "31 photographs of something else (1 near misses) and 20 test pictures" in printed
    assert "labelled all the same: fox" in printed
    assert "with  12 examples of other kinds" in printed


def test_a_model_with_other_labels_than_the_data_is_refused(sources: Sources, in_folder: Path, tmp_path: Path) -> None:
    model = write_familiar_model(tmp_path / "model")
    with pytest.raises(BenchError, match="labels"):
        measure(dataclasses.replace(sources, model=model), argparse.Namespace(strangers=in_folder / "others"))


def test_a_model_without_familiarity_is_refused(sources: Sources, in_folder: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    with pytest.raises(BenchError, match="no threshold of familiarity"):
        measure(dataclasses.replace(sources, model=model), argparse.Namespace(strangers=in_folder / "others"))
