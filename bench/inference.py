"""One network in many runtimes: the time of each, and how many of the same photographs it labels correctly.

    python -m bench.inference

Weights, head, pixels and threads are the same. Each runtime has a process of its own that sleeps while another works;
all take turns in every round, so that ratios hold on a machine that is not idle.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.sources import OUT, BenchError, Sources, run_part
from bench.timing import SPINNING, ratio, spread, take_turns
from bench.worker import Worker, WorkerError
from evaluation.metrics import wilson_interval
from labeller.classifier import softmax
from layers import ROOT
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset, Example
from model_build.data.reader import PictureReader
from model_build.progress import quiet_start

OURS = "this project"
REFERENCE = "Keras predict"
CONTENDERS = {  # name: the module that runs it
    REFERENCE: "contender_keras",
    "tf.function": "contender_keras",
    "onnxruntime FP32": "contender_onnxruntime",
    "OpenVINO FP32": "contender_openvino",
    "OpenVINO INT8": "contender_openvino",
    OURS: "contender_onnxruntime",
}
CALLS = {1: 4, 8: 1}
"""Calls per turn by batch size: tenths of a second, long against the clock and short against other work's changes."""

PHOTOGRAPHS = 200


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `inference` of bench.json. Raises BenchError, WorkerError, DataError."""
    if sources.weights is None:
        raise BenchError(
            "the FP32 network needs the model's base weights; name them with --weights (make: WEIGHTS=), or run "
            "`make demo`, which finds them"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    pixels, calibration = OUT / "test.npy", OUT / "calibration.npy"
    labels = _decode(sources, 24 if sources.quick else PHOTOGRAPHS, pixels, calibration)
    arguments = {
        "model": str(sources.model.resolve()),
        "weights": sources.weights,
        "threads": sources.threads,
        "onnx": str(OUT / "fp32.onnx"),
        "pixels": str(pixels),
        "calibration": str(calibration),
    }
    facts: dict[str, Any] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for module in dict.fromkeys(CONTENDERS.values()):  # Keras first: it writes the file that the others read
            environment = ROOT / (".venv-bench" if module == "contender_openvino" else ".venv")
            worker = Worker(environment, f"bench.{module}", arguments, OUT / f"{module}.log")
            workers[module] = stack.enter_context(worker)
            facts[module] = worker.ask("facts")
        by_name = {name: workers[module] for name, module in CONTENDERS.items()}
        logits = {name: by_name[name].ask("logits", contender=name, batch=max(CALLS)) for name in CONTENDERS}
        timings = {
            batch: take_turns(
                {name: partial(_time, by_name[name], name, batch) for name in CONTENDERS}, sources.round_count(10)
            )
            for batch in CALLS
        }
    return {
        "threads": sources.threads,
        "side": sources.side,
        "weights": Path(sources.weights).name,
        "photographs": len(logits[OURS]),
        "drawn": sources.drawn,
        "versions": {name: version for module in facts.values() for name, version in module["versions"].items()},
        "nncf_seconds": round(facts["contender_openvino"]["quantisation_seconds"], 1),
        "contenders": {
            name: {
                **{f"batch_{batch}": figures(timings[batch], name) for batch in CALLS},
                **agreement(logits[name], logits[REFERENCE], labels),
            }
            for name in CONTENDERS
        },
    }


def figures(timings: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> dict[str, Any]:
    """Time per image, wall and processor, and its ratio to this project's."""
    result: dict[str, Any] = {}
    for clock, times in (("milliseconds", "times_ours"), ("cpu_milliseconds", "cpu_times_ours")):
        own, ours = ([timing[clock] for timing in timings[contender]] for contender in (name, OURS))
        result |= {clock: spread(own), times: ratio(own, ours)}
    return result


def agreement(logits: np.ndarray, reference: np.ndarray, labels: Sequence[int] | None) -> dict[str, Any]:
    """The numbers of correct pictures (if `labels` are known) and of those labelled differently than by the FP32
    reference, and the largest difference of a probability from it."""
    result: dict[str, Any] = {
        "labelled_otherwise": int((logits.argmax(1) != reference.argmax(1)).sum()),
        "largest_difference": round(float(np.abs(softmax(logits, 1.0) - softmax(reference, 1.0)).max()), 6),
    }
    if labels is not None:
        correct = int((logits.argmax(1) == np.array(labels)).sum())
        interval = wilson_interval(correct, len(labels))
        result |= {"correct": correct, "interval": [round(interval.low, 4), round(interval.high, 4)]}
    return result


def _decode(sources: Sources, count: int, pixels: Path, calibration: Path) -> list[int] | None:
    """Write both files of pixels for the workers, uint8 [N, S, S, 3]; returns the labels of the `count` test pictures,
    None if their classes are not the model's."""
    data = dataset.scan(sources.data)
    kept = _save(dataset.spread(data.splits["test"], count), sources.side, pixels)
    _save(_calibration_examples(sources, data), sources.side, calibration)
    return [example.label for example in kept] if data.labels == sources.manifest.labels else None


def _calibration_examples(sources: Sources, data: Dataset) -> list[Example]:
    """The training pictures of this project's quantisation."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build.quantize import calibration_examples  # imports TensorFlow

    report = json.loads((sources.model / "report.json").read_text("utf-8"))["quantisation"]
    (images,) = (choice["images"] for choice in report["candidates"] if choice["name"] == report["chosen"])
    return calibration_examples(data, BuildConfig(sources.data))[:images]


def _save(examples: Sequence[Example], side: int, path: Path) -> list[Example]:
    kept, pixels = PictureReader(examples, side).all(16)
    np.save(path, pixels)
    return kept


def _time(worker: Worker, contender: str, batch: int) -> dict[str, float]:
    timing: dict[str, float] = worker.ask("time", contender=contender, batch=batch, calls=CALLS[batch])
    time.sleep(SPINNING)  # the next contender has the processors to itself
    return timing


if __name__ == "__main__":
    sys.exit(run_part("inference", measure, WorkerError, DataError))
