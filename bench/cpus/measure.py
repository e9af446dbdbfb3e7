"""The program that runs on each CPU: `python -m bench.cpus.measure MODEL PROBE PHOTOGRAPH...`.

Prints a line of JSON about the CPU and one per photograph, with its path, its SHA-256, the probabilities of all
labels and the familiarity, by labeller.images and labeller.classifier as in Lambda. Imports only what a layer holds.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from labeller.classifier import Classifier, open_classifier, open_session
from labeller.images import decode
from labeller.manifest import ModelError
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS

PROBE_PRODUCTS = 64
"""Products of 255 and 127 that the probe adds up: exactly 2,072,640; where pairs saturate 16 bits, 32 x 32,767."""


def main(model: Path, probe: Path, photographs: Sequence[str]) -> None:
    """Measure on this CPU."""
    classifier = open_classifier(model, threads=1)
    _print(
        architecture=platform.machine(),
        python=platform.python_version(),
        onnxruntime=onnxruntime.__version__,
        sum_of_products=sum_of_products(probe),
        self_check=_self_check(classifier),
    )
    for path in photographs:
        content = Path(path).read_bytes()
        pixels = decode(content, classifier.input_size, DEFAULT_MAX_IMAGE_PIXELS).pixels
        (prediction,) = classifier.predict(pixels[np.newaxis])
        _print(
            photograph=path,
            sha256=hashlib.sha256(content).hexdigest(),
            scores=dict(prediction.scores),
            familiarity=prediction.familiarity,
        )


def sum_of_products(probe: Path) -> int:
    """The sum of 64 products of 255 and 127 by this CPU's U8S8 kernel; see `plain.write_probe`."""
    session = open_session(probe.read_bytes(), probe, threads=1)
    row = np.full((1, PROBE_PRODUCTS), 255, np.uint8)
    return int(session.run(None, {"row": row})[0].ravel()[0])


def _self_check(classifier: Classifier) -> str:
    try:
        classifier.check_itself()
    except ModelError:
        return "refuses"
    return "passes"


def _print(**record: object) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
