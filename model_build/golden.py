"""The golden example of a finished network: a picture it reacts to, and its answer. See labeller.manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, OUTPUT_NAME, TILE, GoldenExample, enlarge

CANDIDATES = 16
"""Pictures to choose from, a second's work at most."""

SEED = 1406


def choose_golden_example(model: Path, size: tuple[int, int]) -> GoldenExample:
    """Of some random pictures, the one whose logits move most when its red and blue are swapped or its rows and
    columns, whichever moves them less: on it, the mistakes of a wrong kernel or layout show best.

    `model` is the finished network, image -> logits, `size` its height and width. ModelError if it cannot be run.
    """
    session = open_session(model.read_bytes(), model, threads=1)  # one thread: sums in one order, whatever the cores

    def logits(tiles: np.ndarray) -> np.ndarray:
        answers = [session.run([OUTPUT_NAME], {INPUT_NAME: enlarge(tile[None], size)})[0] for tile in tiles]
        return np.concatenate(answers)

    tiles = candidates()
    expected = logits(tiles)
    moved = [np.abs(logits(changed) - expected).max(axis=1) for changed in (tiles[..., ::-1], tiles.swapaxes(1, 2))]
    best = int(np.minimum(*moved).argmax())
    return GoldenExample.of(tiles[best], expected[best])


def candidates() -> np.ndarray:
    """uint8 [16, 16, 16, 3]: random colours in blocks of 1, 2, 4 and 8 pixels, full contrast, the same every time."""
    random = np.random.default_rng(SEED)
    return np.stack(
        [
            random.integers(0, 256, (TILE // block, TILE // block, 3), np.uint8).repeat(block, 0).repeat(block, 1)
            for block in [1, 2, 4, 8] * (CANDIDATES // 4)
        ]
    )
