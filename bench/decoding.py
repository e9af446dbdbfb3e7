"""What decoding large JPEGs at reduced size saves, and whether it changes labels.

    python -m bench.decoding [--model build/model] [--data DIR] [--quick] [--json FILE]

Each photograph is enlarged to a camera's JPEG of 12 megapixels and decoded twice, as it is served (libjpeg reduces it
to no less than twice the network's side) and in full, in turn; the network is asked about both.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.sources import BenchError, add_options, read
from bench.spread import ratio, spread, turns
from bench.table import decoding_table
from bench.throughput import enlarged, photographs
from labeller.classifier import Classifier, load_classifier
from labeller.colours import shrink
from labeller.images import decode
from labeller.manifest import ModelError
from labeller.results import Prediction

MEGAPIXELS = 12
PHOTOGRAPHS = 60


def compare(classifier: Classifier, files: Iterable[bytes]) -> dict[str, Any]:
    """The part `decoding` of bench.json, of at least two JPEGs; the first one warms up and is not timed."""
    files = list(files)
    decoders = {"reduced": reduced, "in_full": in_full}
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    differences, changed, served = [], 0, 0
    for data, order in zip(files, turns(list(decoders), len(files)), strict=True):
        seen = {}
        for name in order:
            start = time.process_time()
            seen[name] = decoders[name](data, classifier.input_size)
            seconds[name].append(1000 * (time.process_time() - start))
        one, other = classifier.predict(np.stack([seen[name] for name in decoders]))
        differences.append(max(abs(one.scores[label] - other.scores[label]) for label in classifier.labels))
        changed += one.label != other.label
        served += _served(classifier, one) != _served(classifier, other)
    timed = {name: values[1:] for name, values in seconds.items()}
    return {
        "photographs": len(files),
        "side": classifier.input_size[0],
        "likeliest_changed": changed,
        "answers_changed": served,
        "mean_difference": round(float(np.mean(differences)), 5),
        "largest_difference": round(float(np.max(differences)), 5),
        "cpu_milliseconds": {name: spread(values).to_json() for name, values in timed.items()},
        "times_reduced": ratio(timed["in_full"], timed["reduced"]).to_json(),
    }


def _served(classifier: Classifier, prediction: Prediction) -> str | None:
    """The label that the object gets, None for UNSURE."""
    return prediction.label if prediction.confidence >= classifier.confidence_threshold else None


def reduced(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture as it is served."""
    return decode(data, size, 10**9).pixels


def in_full(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture with every pixel decoded."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(shrink(image, "JPEG", size[::-1]))


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.decoding", description=__doc__.split("\n")[0])
    add_options(parser)
    chosen = parser.parse_args()
    height = round((MEGAPIXELS * 1e6 * 3 / 4) ** 0.5)
    try:
        sources = read(chosen)
        pictures = photographs(sources.photographs, 4 if chosen.quick else PHOTOGRAPHS)
        files = (enlarged(data, height * 4 // 3, height) for data in pictures)
        found = compare(load_classifier(sources.model, threads=chosen.threads), files)
    except (BenchError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(decoding_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
