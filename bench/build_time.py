"""How long the build takes, against the article's way: VGG16 frozen inside the model, every epoch through the base.

    python -m bench.build_time [--weights PATH] [--quick] [--json FILE]

The article's way is measured in Keras for some steps of an epoch, decoding not counted, and scaled: 30 epochs of all
training and validation pictures. The build's own seconds are those of report.json, measured when the model was made,
and are held against the article's only if no earlier build had left anything in the cache; what both ways take for one
picture is measured here, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.sources import BenchError, Sources, add_options, read
from bench.spread import ratio, spread, turns
from bench.table import build_table
from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME, ModelError
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
"""Keras's default. It matters little: nearly all time is the base's, picture by picture."""


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


def measure(sources: Sources, threads: int, rounds: int) -> dict[str, Any]:
    """The part `build` of bench.json. Raises BenchError, WeightsError."""
    if sources.weights is None:
        raise BenchError("the article's way needs the base weights; name them with --weights (make: WEIGHTS=)")
    report = json.loads((sources.model / "report.json").read_text("utf-8"))
    counts = {split: sum(labels.values()) for split, labels in report["images"].items()}
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    pixels = np.random.default_rng(7).integers(0, 256, (BATCH, sources.side, sources.side, 3), np.uint8)
    labels = np.arange(BATCH) % len(sources.manifest.labels)
    article = article_model(sources.weights, sources.side, len(sources.manifest.labels))
    path = sources.model / MODEL_FILE
    ours = open_session(path.read_bytes(), path, threads)
    work = {
        "training": lambda: article.train_on_batch(pixels, labels),
        "validation": lambda: article.test_on_batch(pixels, labels),
        "ours": lambda: ours.run([OUTPUT_NAME], {INPUT_NAME: pixels}),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for order in turns(list(work), rounds + 1):
        for name in order:
            start = time.perf_counter()
            work[name]()
            taken[name].append((time.perf_counter() - start) / BATCH)
            time.sleep(0.03)
    taken = {name: values[1:] for name, values in taken.items()}
    article_seconds = [
        article_total(*pair, counts) for pair in zip(taken["training"], taken["validation"], strict=True)
    ]
    return {
        "pictures": counts,
        **built(report),
        "article": {
            "epochs": EPOCHS,
            "scaled_from_pictures": BATCH * rounds,
            "training_ms": spread([1000 * value for value in taken["training"]]).to_json(),
            "validation_ms": spread([1000 * value for value in taken["validation"]]).to_json(),
            "seconds": spread(article_seconds).to_json(),
            **times_ours(article_seconds, report),
        },
        "picture": {
            "int8_ms": spread([1000 * value for value in taken["ours"]]).to_json(),
            "epoch_times_ours": ratio(taken["training"], taken["ours"]).to_json(),
        },
    }


def built(report: Mapping[str, Any]) -> dict[str, Any]:
    """How long the build took, and how much of it an earlier one had done: None if an old report.json does not say."""
    return {"seconds": report["seconds"], "built_on": report["machine"], "reused": report.get("reused")}


def times_ours(article_seconds: Sequence[float], report: Mapping[str, Any]) -> dict[str, Any]:
    """The article's way against the whole build; nothing if the build was not a whole one, or nobody knows."""
    if report.get("reused") != 0:
        return {}
    return {"times_ours": spread([value / report["seconds"]["total"] for value in article_seconds]).to_json()}


def article_total(training: float, validation: float, pictures: Mapping[str, int], epochs: int = EPOCHS) -> float:
    """Seconds of all epochs, from those of one picture."""
    return epochs * (training * pictures["train"] + validation * pictures["validation"])


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.build_time", description=__doc__.split("\n")[0])
    add_options(parser)
    chosen = parser.parse_args()
    try:
        found = measure(read(chosen), chosen.threads, 1 if chosen.quick else 5)
    except (BenchError, ModelError, base.WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(build_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
