"""What becomes of damaged JPEGs: how many get a label, and how many a wrong one because of the damage.

    python -m bench.damage

Each photograph is damaged in every way. A label counts as wrong if it is not the likeliest one of the whole
photograph.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench.photographs import photographs
from bench.sources import Sources, run_part
from labeller.classifier import Classifier, load_classifier
from labeller.images import Unreadable, decode
from labeller.results import Status

PHOTOGRAPHS = 125
_END = b"\xff\xd9"


def _replaced(first: float, last: float, fill: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    """A damage: other bytes at these shares of the file. The end marker remains."""

    def damage(data: bytes) -> bytes:
        begin, end = int(first * len(data)), min(int(last * len(data)), len(data) - 2)
        return data[:begin] + fill(end - begin) + data[end:]

    return damage


def _random(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def _exchanged(data: bytes) -> bytes:
    a, b, c, d = (int(share * len(data)) for share in (0.3, 0.45, 0.6, 0.75))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first 20 % and an end marker": lambda data: data[: len(data) // 5] + _END,
    "first 97 % and an end marker": lambda data: data[: len(data) * 97 // 100] + _END,
    "zeros from 30 %": _replaced(0.3, 1, bytes),
    "LF turned into CR LF": lambda data: data.replace(b"\n", b"\r\n"),
    "zeros at 40 to 60 %": _replaced(0.4, 0.6, bytes),
    "random bytes at 40 to 60 %": _replaced(0.4, 0.6, _random),
    "40 to 60 % lost": _replaced(0.4, 0.6, lambda size: b""),
    "512 bytes lost at 40 %": lambda data: data[: len(data) * 2 // 5] + data[len(data) * 2 // 5 + 512 :],  # a sector
    "64 zero bytes at 30 %": lambda data: data[: len(data) * 3 // 10] + bytes(64) + data[len(data) * 3 // 10 + 64 :],
    "two parts exchanged": _exchanged,
    "a marker at 97 %": lambda data: data[: len(data) * 97 // 100] + b"\xff\x33" + data[len(data) * 97 // 100 + 2 :],
}


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `damage` of bench.json. Raises ModelError."""
    files = photographs(sources.photographs, 4 if sources.quick else PHOTOGRAPHS)
    return compare(load_classifier(sources.model, threads=sources.threads), files)


def compare(classifier: Classifier, files: Iterable[bytes]) -> dict[str, Any]:
    """The answers to damaged JPEGs against those to the whole ones; files of other formats are left out."""
    files = [data for data in files if data.startswith(b"\xff\xd8\xff")]
    damages = {name: {"unreadable": 0, "labelled": 0, "wrong": 0} for name in DAMAGES}
    for data in files:
        whole = classifier.predict(decode(data, classifier.input_size, 10**9).pixels[None])[0]
        for name, damage in DAMAGES.items():
            try:
                pixels = decode(damage(data), classifier.input_size, 10**9).pixels
            except Unreadable:
                damages[name]["unreadable"] += 1
                continue
            damaged = classifier.predict(pixels[None])[0]
            is_labelled = classifier.thresholds.status(damaged) is Status.LABELLED
            damages[name]["labelled"] += is_labelled
            damages[name]["wrong"] += is_labelled and damaged.label != whole.label
    return {"photographs": len(files), "side": classifier.input_size[0], "damages": damages}


if __name__ == "__main__":
    sys.exit(run_part("damage", measure))
