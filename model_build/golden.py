"""The golden example of a finished model: an image and its logits, for the self-check of labeller.classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labeller.classifier import open_session
from labeller.manifest import (
    FAMILIARITY_OUTPUT,
    INPUT_NAME,
    OUTPUT_NAME,
    SIMILARITY_OUTPUT,
    TILE,
    GoldenExample,
    enlarge,
)

CANDIDATES = 16
"""Images to choose from: at most a second's work."""

SEED = 1406


def choose_golden_example(model: Path, size: tuple[int, int]) -> GoldenExample:
    """The random image on which a wrong kernel or layout shows best.

    Its logits change most when red and blue are swapped or rows and columns, whichever changes them less. It has its
    familiarity and its similarity to the nearest exemplars too, if the network computes them. `model` is the finished
    graph, image -> logits; `size` its height and width. ModelError if it cannot be run.
    """
    session = open_session(model.read_bytes(), model, threads=1)  # sums in the same order on any number of cores

    def logits(tiles: np.ndarray) -> np.ndarray:
        outputs = [session.run([OUTPUT_NAME], {INPUT_NAME: enlarge(tile[None], size)})[0] for tile in tiles]
        return np.concatenate(outputs)

    tiles = random_tiles()
    expected = logits(tiles)
    changes = [np.abs(logits(changed) - expected).max(axis=1) for changed in (tiles[..., ::-1], tiles.swapaxes(1, 2))]
    best = int(np.minimum(*changes).argmax())
    if FAMILIARITY_OUTPUT not in [output.name for output in session.get_outputs()]:
        return GoldenExample.of(tiles[best], expected[best])
    shares, cosines = session.run(
        [FAMILIARITY_OUTPUT, SIMILARITY_OUTPUT], {INPUT_NAME: enlarge(tiles[best][None], size)}
    )
    similarity = [round(cosine, 6) for cosine in cosines[0].tolist()]
    return GoldenExample.of(tiles[best], expected[best], round(float(shares[0]), 6), similarity)


def random_tiles() -> np.ndarray:
    """uint8 [16, 16, 16, 3]: random colours in blocks of 1, 2, 4 and 8 pixels; the same on every call."""
    random = np.random.default_rng(SEED)
    return np.stack(
        [
            random.integers(0, 256, (TILE // block, TILE // block, 3), np.uint8).repeat(block, 0).repeat(block, 1)
            for block in [1, 2, 4, 8] * (CANDIDATES // 4)
        ]
    )
