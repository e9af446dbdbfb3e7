"""A second build reuses the results of the first."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labeller.manifest import MODEL_FILE
from local.demo.drawn import draw_dataset
from model_build import export, quantize
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data import reader
from model_build.data.dataset import Example
from model_build.report.card import STRANGEST_SHOWN, SUSPECTS_SHOWN
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """The decoded examples."""
    seen: list[Example] = []
    decode = reader.read

    def noted(example: Example, *options: Any) -> object:
        seen.append(example)
        return decode(example, *options)

    monkeypatch.setattr(reader, "read", noted)
    return seen


def test_another_head_on_moved_data_exports_quantises_and_extracts_nothing(
    config: BuildConfig, built: Path, drawn_data: Path, tmp_path: Path, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_build.build import build

    def never(*_: object) -> None:
        raise AssertionError("quantised again")

    exported: list[str] = []
    really = export.export
    monkeypatch.setattr(export, "export", lambda *a: exported.append(a[1]) or really(*a))
    monkeypatch.setattr(quantize, "compare", never)
    moved = Path(shutil.copytree(drawn_data, tmp_path / "moved"))
    heads = (HeadCandidate("square root", Pooling.ROOT),)
    out = build(replace(config, data=moved, out=tmp_path / "model", heads=heads), load_narrow)
    assert exported == [export.FEATURES]  # the head
    # Model and base read pixels: all of test, and the other images on which they are compared with Keras. The card
    # shows some images. At least 43 of the 120 are not read.
    seldom = 32 + 9 + STRANGEST_SHOWN + SUSPECTS_SHOWN
    assert len({example for example in read if not example.path.is_relative_to(moved / "test")}) <= seldom
    assert (out / MODEL_FILE).read_bytes() != (built / MODEL_FILE).read_bytes()
    first, second = (json.loads((model / "report.json").read_text("utf-8")) for model in (built, out))
    unjudged = [
        [
            {name: value for name, value in candidate.items() if name != "correct"}
            for candidate in one["quantisation"]["candidates"]
        ]
        for one in (first, second)
    ]
    assert unjudged[0] == unjudged[1]
    # The base, the INT8 base with its two tables, and features: FP32 for the comparisons with Keras and INT8, INT8 for
    # train, validation, its changed and its destroyed copies; then both for the samples of the verification, which are
    # all images.
    feature_rows = 2 * 9 + (80 + 40 + 40 + 40) + 2 * (80 + 40 + 40)
    assert (first["reused"], second["reused"]) == (0, 4 + feature_rows)


def test_a_changed_picture_is_the_only_one_whose_features_are_computed(
    config: BuildConfig, drawn_data: Path, tmp_path: Path, read, built: Path
) -> None:
    from model_build.data.dataset import scan
    from model_build.features import extract

    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    draw_dataset(tmp_path / "others", {"train": 1}, seed=4711)  # no other test has computed it
    changed = data / "train" / "day" / "003.jpg"
    shutil.copy(tmp_path / "others" / "train" / "day" / "000.jpg", changed)
    graph = tmp_path / "base.onnx"
    shutil.copy(next(config.cache.glob("*base.int8.onnx")), graph)
    graph.write_bytes(graph.read_bytes()[32:])  # without its checksum
    features = extract(graph, scan(data).splits["train"], config)
    assert [example.path for example in read] == [changed]
    assert len(features.examples) == 80
