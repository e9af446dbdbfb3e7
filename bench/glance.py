"""What a glance saves: the thorough network alone against both networks together, picture by picture.

    python -m bench.glance

Test photographs take turns, one at a time on one thread. Both ways get the same pixels.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.photographs import photographs
from bench.sources import BenchError, Sources, run_part
from bench.timing import Timing, ratio, spread, take_turns, timed
from labeller.classifier import Classifier, load_classifier, softmax
from labeller.decoder_process import decode

PHOTOGRAPHS = 200


def measure(sources: Sources, _: argparse.Namespace) -> dict[str, Any]:
    """The part `glance` of bench.json. Raises ModelError, BenchError."""
    classifier = load_classifier(sources.model, threads=1)
    if classifier.glance is None:
        raise BenchError(f"the model {classifier.version} has no glance network")
    pictures = photographs(sources.photographs, 12 if sources.quick else PHOTOGRAPHS)
    pixels = [decode(data, classifier.input_size, 10**9).pixels[np.newaxis] for data in pictures]
    return compare(classifier, pixels, sources.round_count(6))


def compare(classifier: Classifier, pixels: Sequence[NDArray[np.uint8]], rounds: int) -> dict[str, Any]:
    """Both ways on the pictures, each uint8 [1, S, S, 3], in that many rounds."""
    ways = {"thorough": classifier.thorough.outputs, "both": classifier.outputs, "glance": classifier.glance_outputs}
    answers = {name: [outputs(one) for one in pixels] for name, outputs in ways.items()}

    def run(name: str) -> Timing:
        return timed(lambda: [ways[name](one) for one in pixels])

    clocks = take_turns({name: partial(run, name) for name in ways}, rounds)
    milliseconds = {name: [1000 * timing.seconds / len(pixels) for timing in clocks[name]] for name in ways}
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
        "times_thorough": ratio(milliseconds["both"], milliseconds["thorough"]),
    }


if __name__ == "__main__":
    sys.exit(run_part("glance", measure))
