"""What a glance saves: both networks together against the thorough network alone and the full VGG16 at 224 pixels.

    python -m bench.glance

The networks take turns on all test photographs, one at a time on one thread. VGG16 is measured if its weights are
named: in INT8 like the others, calibrated as in a build.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.photographs import photographs
from bench.sources import OUT, BenchError, Sources, run_part
from bench.timing import Timing, ratio, spread, take_turns, timed
from labeller.classifier import Classifier, load_classifier, open_session, softmax
from labeller.decoder_process import decode
from labeller.manifest import INPUT_NAME
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import DataError
from model_build.progress import quiet_start

PHOTOGRAPHS = 1000
FULL = 224
"""Pixels of the full VGG16's pictures: those it was trained with."""


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `glance` of bench.json. Raises ModelError, BenchError, DataError."""
    classifier = load_classifier(sources.model, threads=1)
    if classifier.glance is None:
        raise BenchError(f"the model {classifier.version} has no glance network")
    pictures = photographs(sources.photographs, 12 if sources.quick else PHOTOGRAPHS)
    pixels = _pixels(pictures, classifier.input_size)
    full: list[Callable[[], object]] = []
    if sources.weights is not None:
        OUT.mkdir(parents=True, exist_ok=True)
        path = full_network(sources, sources.weights)
        session = open_session(path.read_bytes(), path, threads=1)
        full = [partial(session.run, None, {INPUT_NAME: one}) for one in _pixels(pictures, (FULL, FULL))]
    return compare(classifier, pixels, sources.round_count(3), full)


def full_network(sources: Sources, weights: str) -> Path:
    """Write VGG16 for FULL pixels in INT8, uint8 [N, S, S, 3] -> features. Raises BenchError, DataError."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build import base, frozen  # import TensorFlow
    config = BuildConfig(sources.data, weights, FULL, speedup=1.0)
    data = dataset.scan(sources.data)
    fp32, int8 = OUT / "full.onnx", OUT / "full.int8.onnx"
    try:
        frozen.load_frozen(config, data, base.load, fp32)
    except base.WeightsError as error:
        raise BenchError(str(error)) from error
    frozen.quantise_quickly(fp32, int8, data, config)
    return int8


def _pixels(pictures: Sequence[bytes], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    return [decode(data, size, 10**9).pixels[np.newaxis] for data in pictures]


def compare(
    classifier: Classifier,
    pixels: Sequence[NDArray[np.uint8]],
    rounds: int,
    full: Sequence[Callable[[], object]] = (),
) -> dict[str, Any]:
    """All ways on the pictures, each uint8 [1, S, S, 3], in that many rounds; `full` runs VGG16 on each of them."""
    ways = {"thorough": classifier.thorough.outputs, "both": classifier.outputs, "glance": classifier.glance_outputs}
    answers = {name: [outputs(one) for one in pixels] for name, outputs in ways.items()}
    runs: dict[str, Sequence[Callable[[], object]]] = {
        name: [partial(outputs, one) for one in pixels] for name, outputs in ways.items()
    }
    if full:
        runs["full"] = full

    def run(name: str) -> Timing:
        return timed(lambda: [one() for one in runs[name]])

    clocks = take_turns({name: partial(run, name) for name in runs}, rounds, warm_up=0)
    milliseconds = {name: [1000 * timing.seconds / len(pixels) for timing in clocks[name]] for name in runs}
    temperature = classifier.thorough.temperature
    likeliest, alone = (
        np.concatenate([softmax(one.logits, temperature) for one in answers[name]]).argmax(axis=1)
        for name in ("both", "thorough")
    )
    return {
        "photographs": len(pixels),
        "side": classifier.input_size[0],
        "answered_at_a_glance": float(
            np.mean([one.glance is not None and one.glance.all() for one in answers["both"]])
        ),
        "likeliest_changed": int((likeliest != alone).sum()),
        "milliseconds": {name: spread(values) for name, values in milliseconds.items()},
        **{
            f"times_{name}": ratio(milliseconds["both"], milliseconds[name])
            for name in ("thorough", "full")
            if name in runs
        },
    }


if __name__ == "__main__":
    sys.exit(run_part("glance", measure, DataError))
