"""The FP32 network of the comparison is the one that was quantised, under the head that is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bench.table import table
from bench.worker import Infer
from evaluation.metrics import accuracy_score
from labeller.manifest import Manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(built: Path, drawn_data: Path) -> np.ndarray:
    from model_build.data.dataset import scan
    from model_build.data.reader import PictureReader

    side = Manifest.from_file(built / "manifest.json").input_size[0]
    return np.concatenate([batch for _, batch in PictureReader(scan(drawn_data).splits["test"], side).batches(16)])


@pytest.fixture(scope="module")
def int8(built: Path) -> Infer:
    from bench.contender_onnxruntime import infer_with

    return infer_with(built / "model.onnx", threads=1)


def test_it_differs_from_the_finished_model_by_quantisation_only(
    built: Path, pictures: np.ndarray, int8: Infer, tmp_path: Path
):
    import onnxruntime

    from bench.contender_keras import fp32_network
    from model_build.export import FEATURES
    from tests.model_build.narrow import load_narrow

    network = fp32_network(built, Manifest.from_file(built / "manifest.json"), "random", load_narrow)

    onnx.utils.extract_model(built / "model.onnx", tmp_path / "base.onnx", ["image"], [FEATURES], check_model=False)
    (features,) = onnxruntime.InferenceSession(tmp_path / "base.onnx").run([FEATURES], {"image": pictures})
    shipped = int8(pictures)
    assert np.allclose(network.layers[-1](features), shipped, atol=1e-4)  # the head: the same weights
    logits = network.predict(pictures, verbose=0)
    assert logits.shape == shipped.shape
    assert accuracy_score(logits.argmax(1), shipped.argmax(1)) >= 0.9
    assert not np.allclose(logits, shipped, atol=1e-4)


def test_other_weights_than_the_models_are_refused(built: Path):
    from dataclasses import replace

    from bench.contender_keras import OtherWeights, fp32_network
    from tests.model_build.narrow import load_narrow

    manifest = Manifest.from_file(built / "manifest.json")
    other = replace(manifest, build={**manifest.build, "weights_sha256": "0" * 64})
    with pytest.raises(OtherWeights, match="other values"):
        fp32_network(built, other, "random", load_narrow)


def test_the_articles_time_is_of_all_epochs_and_pictures():
    from bench.build import article_total

    pictures = {"train": 2000, "validation": 1000, "test": 1000}
    assert article_total(0.3, 0.2, pictures) == pytest.approx(30 * (600 + 200))


def build(**changes: Any) -> dict[str, Any]:
    from bench.build import build_seconds, times_ours

    figure = {"median": 90.0, "low": 80.0, "high": 100.0, "rounds": 5}
    report = {"seconds": {"data": 1.0, "head": 19.0, "total": 20.0}, "machine": {"cores": 2}, **changes}
    return {
        "pictures": {"train": 2000, "validation": 1000, "test": 1000},
        **build_seconds(report),
        "article": {
            "epochs": 30,
            "scaled_from_pictures": 160,
            "training_ms": figure,
            "seconds": figure,
            **times_ours([80.0, 100.0, 120.0], report),
        },
        "picture": {"int8_ms": figure, "epoch_times_ours": figure},
    }


def test_a_build_from_an_empty_cache_is_compared_with_the_articles_way():
    text = table("build", build(reused=0))
    assert "20 s when the model was built, from an empty cache, on 2 cores (data 1, head 19)" in text
    assert "5.0 times the whole build" in text  # 100 of 20 seconds


@pytest.mark.parametrize(
    ("reused", "text"),
    [({"reused": 3005}, "3005 results from the cache"), ({}, "from a cache in unknown state")],
)
def test_a_build_that_used_the_cache_is_not_compared(reused: dict[str, int], text: str):
    results = build(**reused)
    assert "times_ours" not in results["article"]
    assert text in table("build", results)
    assert "times the whole build" not in table("build", results)


def test_all_ways_to_use_the_processors_are_measured(built: Path):
    from bench.scaling import REFERENCE, measure

    results = measure(built, side=64, threads=2, rounds=2)
    assert len(results["ways"]) == 6
    assert results["ways"][REFERENCE]["rate"] == {"median": 1.0, "low": 1.0, "high": 1.0, "rounds": 2}
    assert json.dumps(results)
    assert table("scaling", results).count("\n") == 6
