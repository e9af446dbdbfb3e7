"""bench.json as text, and how its figures are computed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cold_start
from bench.__main__ import compose, image
from bench.inference import OURS, REFERENCE, agreement, figures
from bench.sources import BenchError
from bench.table import table
from ops.capacity.workload import Image
from tests.support import write_model


def clocked(*rounds: tuple[float, float]) -> list[dict[str, float]]:
    return [{"milliseconds": wall, "cpu_milliseconds": cpu} for wall, cpu in rounds]


def test_times_ours_are_taken_round_by_round():
    timings = {OURS: clocked((10, 20), (40, 20), (10, 20)), "other": clocked((35, 80), (140, 80), (35, 80))}
    results = figures(timings, "other")
    assert results["times_ours"] == {"median": 3.5, "low": 3.5, "high": 3.5, "rounds": 3}
    assert results["cpu_times_ours"]["median"] == 4.0
    assert results["milliseconds"] == {"median": 35.0, "low": 35.0, "high": 87.5, "rounds": 3}
    assert figures(timings, OURS)["times_ours"]["median"] == 1.0


def test_answers_are_compared_with_labels_and_with_fp32():
    reference = np.array([[2.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    other = np.array([[2.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    results = agreement(other, reference, labels=[0, 1, 1, 1])
    assert results["labelled_otherwise"] == 1
    assert results["correct"] == 2
    assert results["largest_difference"] == 0.761594  # of e^2 / (1 + e^2) and 1 / (1 + e^2): tanh 1
    low, high = results["interval"]
    assert (low, high) == (0.15, 0.85)  # Wilson, 2 of 4


def test_pictures_of_other_classes_have_no_correct_answers():
    answers = np.array([[1.0, 0.0]])
    assert agreement(answers, answers, labels=None) == {"labelled_otherwise": 0, "largest_difference": 0.0}


def inference(**changes: Any) -> dict[str, Any]:
    timings = {OURS: clocked((10, 18)), REFERENCE: clocked((85, 90))}
    return {
        "side": 224,
        "weights": "imagenet",
        "threads": 2,
        "photographs": 200,
        "drawn": False,
        "contenders": {
            name: {"batch_1": figures(timings, name), "batch_8": figures(timings, name), "labelled_otherwise": 3}
            for name in timings
        },
        **changes,
    }


def test_accuracy_stands_beside_the_time():
    results = inference()
    results["contenders"][OURS]["correct"] = 197
    (batch_1, _) = (line for line in table("inference", results).splitlines() if OURS in line)
    assert " ".join(batch_1.split()) == (
        "this project 10.0 (10.0-10.0) 1.00 (1.00-1.00) 18.0 (18.0-18.0) 1.00 (1.00-1.00) 197 3"
    )


def test_drawn_pictures_are_marked():
    assert "drawn pictures, because there are no photographs" in table("inference", inference(drawn=True))
    assert "drawn" not in table("inference", inference())


def test_a_failed_part_says_why_and_the_others_are_shown():
    machine = {
        "processor": "AMD EPYC",
        "vnni": False,
        "cores": 2,
        "python": "3.13.1",
        "versions": {"numpy": "2.4.6"},
        "load_before": 0.1,
        "load_after": 2.0,
    }
    whole = {"machine": machine, "quick": True, "inference": inference(), "nightly": {"error": "no test set"}}
    text = compose(whole)
    assert text.startswith("AMD EPYC, without VNNI, 2 cores, load 0.1 before and 2.0 after; Python 3.13.1, numpy 2.4.6")
    assert "nightly: not measured: no test set" in text
    assert "Keras predict" in text
    assert "QUICK" in text
    assert "QUICK" not in compose(whole | {"quick": False})


def test_the_cold_start_of_another_model_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cold_start, "MODEL_LAYER", tmp_path)
    with pytest.raises(BenchError, match="there are no layers: make layer build"):
        cold_start.require_model("colour-1")
    write_model(tmp_path / "model")
    cold_start.require_model("colour-1")
    with pytest.raises(BenchError, match="holds model colour-1, the other parts measure colour-2"):
        cold_start.require_model("colour-2")


def test_capacity_uses_the_handlers_processor_time():
    def row(photographs: int, megapixels: int | None) -> dict[str, Any]:
        return {
            "photographs": photographs,
            "megapixels": megapixels,
            "side": 224,
            "bare": {"cpu_milliseconds": {"median": 76.0}},
            "handler": {"cpu_milliseconds": {"median": 89.0}},
            "decode_cpu_ms": 1.5,
        }

    failed = {"error": "no model", "megapixels": None}
    assert image({"handler": [failed, row(10, 12), row(10, None)]}) == {
        "side": 224,
        "inference_vcpu_ms": 76.0,
        "decode_vcpu_ms": 1.5,
        "overhead_vcpu_ms": 11.5,
    }
    assert image({"handler": [row(1, None)]}) == image({}) == {}
    assert set(image({"handler": [row(10, None)]})) <= {field.name for field in fields(Image)}
