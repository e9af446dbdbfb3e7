"""Whether decoding large JPEGs at reduced size changes labels.

    python -m tests.bench.draft [--model build/model] [--photographs folder] [--number 100] [--megapixels 12]

Each photograph is enlarged to a camera's JPEG and decoded twice, as it is served (libjpeg reduces it to no less than
twice the network's side) and in full; the network is asked about both.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeller.colours import shrink
from labeller.images import decode
from labeller.model import Classifier, load_classifier
from local import ROOT
from tests.bench.throughput import enlarged, photographs


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.draft", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "model")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--megapixels", type=float, default=12)
    chosen = parser.parse_args()
    height = round((chosen.megapixels * 1e6 * 3 / 4) ** 0.5)
    files = (enlarged(data, height * 4 // 3, height) for data in photographs(chosen.photographs, chosen.number))
    print(compare(load_classifier(chosen.model, threads=1), files))
    return 0


def compare(classifier: Classifier, files: Iterable[bytes]) -> str:
    """Reduced against full size; the lines to print."""
    seconds, differences, pixels, changed = [0.0, 0.0], [], [], 0
    for data in files:
        seen = []
        for way, decoder in enumerate((reduced, in_full)):
            start = time.process_time()
            seen.append(decoder(data, classifier.input_size))
            seconds[way] += time.process_time() - start
        one, other = classifier.predict(np.stack(seen))
        pixels.append(np.abs(seen[0].astype(int) - seen[1]).mean())
        differences.append(max(abs(one.scores[label] - other.scores[label]) for label in classifier.labels))
        changed += one.label != other.label
    number = len(differences)
    return (
        f"{number} JPEGs: {changed} labels changed; probabilities differ by {np.mean(differences):.4f} on average, "
        f"by {np.max(differences):.4f} at most; pixels by {np.mean(pixels):.2f} of 255\n"
        f"processor time to decode one: {seconds[0] / number * 1000:.0f} ms reduced, "
        f"{seconds[1] / number * 1000:.0f} ms in full"
    )


def reduced(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture as it is served."""
    return decode(data, size, 10**9).pixels


def in_full(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture with every pixel decoded."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(shrink(image, "JPEG", size[::-1]))


if __name__ == "__main__":
    sys.exit(main())
