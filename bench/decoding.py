"""The time that decoding large JPEGs at reduced size saves, and the labels that it changes.

    python -m bench.decoding

Each photograph is enlarged to a camera's JPEG of 12 megapixels and decoded twice, in turn: as in production (libjpeg
reduces it to at least 1.9 times the network's side) and in full. The network runs on both.
"""

import argparse
import io
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.photographs import enlarged, photographs
from bench.sources import Sources, run_part
from bench.timing import ratio, spread, turns
from labeller.classifier import Classifier, load_classifier
from labeller.colours import shrink
from labeller.images import decode
from labeller.results import Prediction, Status

MEGAPIXELS = 12
PHOTOGRAPHS = 60


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `decoding` of bench.json. Raises ModelError."""
    pictures = photographs(sources.photographs, 4 if sources.quick else PHOTOGRAPHS)
    classifier = load_classifier(sources.model, threads=sources.threads)
    return compare(classifier, (enlarged(data, MEGAPIXELS) for data in pictures))


def compare(classifier: Classifier, files: Iterable[bytes]) -> dict[str, Any]:
    """Both ways to decode at least two JPEGs; the first one warms up and is not timed."""
    files = list(files)
    decoders = {"reduced": reduced, "in_full": in_full}
    milliseconds: dict[str, list[float]] = {name: [] for name in decoders}
    differences, likeliest_changed, answers_changed = [], 0, 0
    for data, order in zip(files, turns(list(decoders), len(files)), strict=True):
        pixels: dict[str, NDArray[np.uint8]] = {}
        for name in order:
            start = time.process_time()
            pixels[name] = decoders[name](data, classifier.input_size)
            milliseconds[name].append(1000 * (time.process_time() - start))
        one, other = classifier.predict(np.stack([pixels[name] for name in decoders]))
        differences.append(max(abs(one.scores[label] - other.scores[label]) for label in classifier.labels))
        likeliest_changed += one.label != other.label
        answers_changed += _answer(classifier, one) != _answer(classifier, other)
    milliseconds = {name: values[1:] for name, values in milliseconds.items()}
    return {
        "photographs": len(files),
        "side": classifier.input_size[0],
        "likeliest_changed": likeliest_changed,
        "answers_changed": answers_changed,
        "mean_difference": round(float(np.mean(differences)), 5),
        "largest_difference": round(float(np.max(differences)), 5),
        "cpu_milliseconds": {name: spread(values) for name, values in milliseconds.items()},
        "times_reduced": ratio(milliseconds["in_full"], milliseconds["reduced"]),
    }


def reduced(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture as production decodes it."""
    return decode(data, size, 10**9).pixels


def in_full(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture with every pixel decoded."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(shrink(image, "JPEG", size[::-1]))


def _answer(classifier: Classifier, prediction: Prediction) -> str | None:
    """The label that the object gets, None for UNSURE and UNKNOWN."""
    return prediction.label if classifier.thresholds.status(prediction) is Status.LABELLED else None


if __name__ == "__main__":
    sys.exit(run_part("decoding", measure))
