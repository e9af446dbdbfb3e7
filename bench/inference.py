"""One network, many runtimes: time of each and, beside it, how many of the same photographs it gets right.

    python -m bench.inference [--weights PATH] [--quick] [--json FILE]

Same weights, same head, same pixels, same threads. Each runtime has a process of its own that sleeps while another
one works; in each round all have one turn, in changing order, so that ratios hold on a machine that is not idle.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.sources import OUT, BenchError, Sources, add_options, read
from bench.spread import ratio, spread, turns
from bench.table import inference_table
from bench.worker import Worker, WorkerError
from evaluation.metrics import wilson_interval
from labeller.classifier import softmax
from labeller.manifest import ModelError
from local import ROOT
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset, Example
from model_build.data.reader import PictureReader
from model_build.progress import quiet_start

OURS = "this project"
REFERENCE = "Keras predict"
CONTENDERS = {  # name: the module whose process it runs in
    REFERENCE: "contender_keras",
    "tf.function": "contender_keras",
    "onnxruntime FP32": "contender_onnxruntime",
    "OpenVINO FP32": "contender_openvino",
    "OpenVINO INT8": "contender_openvino",
    OURS: "contender_onnxruntime",
}
CALLS = {1: 4, 8: 1}
"""Calls a turn, by batch: some tenths of a second, long against the clock and short against what else goes on."""

PAUSE = 0.03
"""Seconds between turns: onnxruntime's threads spin for a while after their last call."""

PHOTOGRAPHS = 200


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files of pixels, uint8 [N, S, S, 3], for the workers; `labels` of the first, in the model's order, or None if
    the pictures show something else than what the model was trained on."""

    test: Path
    calibration: Path
    labels: tuple[int, ...] | None


def measure(sources: Sources, threads: int, rounds: int, photographs: int) -> dict[str, Any]:
    """The part `inference` of bench.json. Raises BenchError, WorkerError, DataError."""
    if sources.weights is None:
        raise BenchError(
            "the FP32 network needs the base weights that the model was made from; name them with --weights "
            "(make: WEIGHTS=), or let `make demo` find them"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    pictures = _decode(sources, photographs)
    given = {
        "model": str(sources.model.resolve()),
        "weights": sources.weights,
        "threads": threads,
        "onnx": str(OUT / "fp32.onnx"),
        "pixels": str(pictures.test),
        "calibration": str(pictures.calibration),
    }
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        versions: dict[str, str] = {}
        for module in dict.fromkeys(CONTENDERS.values()):  # Keras first: it writes the file that the others read
            environment = ROOT / (".venv-bench" if module == "contender_openvino" else ".venv")
            worker = Worker(environment, f"bench.{module}", [json.dumps(given)], OUT / f"{module}.log")
            workers[module] = stack.enter_context(worker)
            versions |= worker.ask("versions")
        by_name = {name: workers[module] for name, module in CONTENDERS.items()}
        answers = {name: _answers(name, worker) for name, worker in by_name.items()}
        timings = {batch: _time(by_name, batch, calls, rounds) for batch, calls in CALLS.items()}
        quantisation = workers["contender_openvino"].ask("quantisation_seconds")
    return {
        "threads": threads,
        "side": sources.side,
        "weights": Path(sources.weights).name,
        "photographs": len(answers[OURS]),
        "versions": versions,
        "nncf_seconds": round(quantisation, 1),
        "contenders": {
            name: {
                **{f"batch_{batch}": figures(timings[batch], name) for batch in CALLS},
                **agreement(answers[name], answers[REFERENCE], pictures.labels),
            }
            for name in CONTENDERS
        },
    }


def figures(timings: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> dict[str, Any]:
    """Time of an image, wall and processor, and how many times as long as with this project's model it is."""
    found: dict[str, Any] = {}
    for clock, times in (("milliseconds", "times_ours"), ("cpu_milliseconds", "cpu_times_ours")):
        taken, ours = ([each[clock] for each in timings[who]] for who in (name, OURS))
        found |= {clock: spread(taken).to_json(), times: ratio(taken, ours).to_json()}
    return found


def agreement(logits: np.ndarray, reference: np.ndarray, labels: Sequence[int] | None) -> dict[str, Any]:
    """How many pictures are right (if their labels are known), how many are labelled otherwise than by FP32 Keras, and
    how far a probability is from its."""
    found: dict[str, Any] = {
        "labelled_otherwise": int((logits.argmax(1) != reference.argmax(1)).sum()),
        "largest_difference": round(float(np.abs(softmax(logits, 1.0) - softmax(reference, 1.0)).max()), 6),
    }
    if labels is not None:
        correct = int((logits.argmax(1) == np.array(labels)).sum())
        interval = wilson_interval(correct, len(labels))
        found |= {"correct": correct, "interval": [round(interval.low, 4), round(interval.high, 4)]}
    return found


def _decode(sources: Sources, photographs: int) -> Pictures:
    data = dataset.scan(sources.data)
    test, calibration = OUT / "test.npy", OUT / "calibration.npy"
    kept = _save(dataset.spread(data.splits["test"], photographs), sources.side, test)
    _save(_calibrated_on(sources, data), sources.side, calibration)
    labels = tuple(each.label for each in kept) if data.labels == sources.manifest.labels else None
    return Pictures(test, calibration, labels)


def _calibrated_on(sources: Sources, data: Dataset) -> list[Example]:
    """The training pictures that this project's quantisation saw."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build.quantize import calibration_examples  # brings TensorFlow along

    found = json.loads((sources.model / "report.json").read_text("utf-8"))["quantisation"]
    (images,) = (each["images"] for each in found["candidates"] if each["name"] == found["chosen"])
    return calibration_examples(data, BuildConfig(sources.data))[:images]


def _save(examples: Sequence[Example], side: int, path: Path) -> list[Example]:
    kept, pixels = PictureReader(examples, side).all(16)
    np.save(path, pixels)
    return kept


def _answers(name: str, worker: Worker) -> np.ndarray:
    path = OUT / f"{name.replace(' ', '_')}.npy"
    worker.ask("answer", contender=name, path=str(path), batch=max(CALLS))
    return np.asarray(np.load(path))


def _time(workers: Mapping[str, Worker], batch: int, calls: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each contender takes, by round; the first round warms up and does not count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for order in turns(list(workers), rounds + 1):
        for name in order:
            found[name].append(workers[name].ask("time", contender=name, batch=batch, calls=calls))
            time.sleep(PAUSE)
    return {name: timings[1:] for name, timings in found.items()}


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.inference", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, help="(default: 10, --quick 2)")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (2 if chosen.quick else 10)
    try:
        sources = read(chosen)
        found = measure(sources, chosen.threads, rounds, 24 if chosen.quick else PHOTOGRAPHS)
    except (BenchError, WorkerError, ModelError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found["drawn"] = sources.drawn
    print(inference_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
