"""The time of the build against the article's way: VGG16 frozen inside the model, all epochs through the base.

    python -m bench.build

The article's way is measured in Keras for some steps of an epoch, without decoding, and scaled to 30 epochs of all
training and validation pictures. The build's seconds are those of report.json, from when the model was built; they are
compared with the article's only if the build cache was empty. The time per picture is measured here for both, in turn.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.sources import BenchError, Sources, run_part
from bench.timing import SPINNING, ratio, spread, take_turns, timed
from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME
from model_build.config import BuildConfig
from model_build.progress import quiet_start

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_start():
    import keras
    import tensorflow as tf

    from model_build import base

EPOCHS = 30
"""Of the article."""

BATCH = 32
"""Keras' default. It matters little: nearly all time is the base's, picture by picture."""


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `build` of bench.json. Raises BenchError, WeightsError."""
    if sources.weights is None:
        raise BenchError("the article's way needs the base weights; name them with --weights (make: WEIGHTS=)")
    report = json.loads((sources.model / "report.json").read_text("utf-8"))
    counts = {split: sum(labels.values()) for split, labels in report["images"].items()}
    rounds = sources.round_count(5, quick=1)
    tf.config.threading.set_intra_op_parallelism_threads(sources.threads)
    pixels = np.random.default_rng(7).integers(0, 256, (BATCH, sources.side, sources.side, 3), np.uint8)
    labels = np.arange(BATCH) % len(sources.manifest.labels)
    article = article_model(sources.weights, sources.side, len(sources.manifest.labels))
    path = sources.model / MODEL_FILE
    ours = open_session(path.read_bytes(), path, sources.threads)
    work = {
        "training": lambda: article.train_on_batch(pixels, labels),
        "validation": lambda: article.test_on_batch(pixels, labels),
        "ours": lambda: ours.run([OUTPUT_NAME], {INPUT_NAME: pixels}),
    }
    timings = take_turns({name: partial(timed, step, SPINNING) for name, step in work.items()}, rounds)
    seconds = {name: [timing.seconds / BATCH for timing in timings[name]] for name in work}  # per picture
    totals = [article_total(*pair, counts) for pair in zip(seconds["training"], seconds["validation"], strict=True)]
    milliseconds = {name: spread([1000 * value for value in seconds[name]]) for name in work}
    return {
        "pictures": counts,
        **build_seconds(report),
        "article": {
            "epochs": EPOCHS,
            "scaled_from_pictures": BATCH * rounds,
            "training_ms": milliseconds["training"],
            "validation_ms": milliseconds["validation"],
            "seconds": spread(totals),
            **times_ours(totals, report),
        },
        "picture": {
            "int8_ms": milliseconds["ours"],
            "epoch_times_ours": ratio(seconds["training"], seconds["ours"]),
        },
    }


def article_model(weights: str, side: int, labels: int) -> keras.Model:
    """The base, frozen, under the article's head: Flatten, Dense 256, Dropout 0.5, output. Raises WeightsError."""
    frozen = base.load(weights, side, BuildConfig(Path()).seed).network
    frozen.trainable = False
    model = keras.Sequential(
        [
            keras.Input((side, side, 3), dtype="uint8"),
            frozen,
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(labels),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def build_seconds(report: Mapping[str, Any]) -> dict[str, Any]:
    """The build's seconds, and the number of results from its cache: None if an old report.json lacks it."""
    return {"seconds": report["seconds"], "built_on": report["machine"], "reused": report.get("reused")}


def times_ours(article_seconds: Sequence[float], report: Mapping[str, Any]) -> dict[str, Any]:
    """The article's way against the whole build; empty if the build used a cache, or that is unknown."""
    if report.get("reused") != 0:
        return {}
    return {"times_ours": spread([value / report["seconds"]["total"] for value in article_seconds])}


def article_total(training: float, validation: float, pictures: Mapping[str, int], epochs: int = EPOCHS) -> float:
    """Seconds of all epochs, from those of one picture."""
    return epochs * (training * pictures["train"] + validation * pictures["validation"])


if __name__ == "__main__":
    sys.exit(run_part("build", measure, base.WeightsError))
