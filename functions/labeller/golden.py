"""A picture that the finished network has already been asked about, and what it answered when it was built.

A CPU, an onnxruntime or a damaged library that computes something else gives itself away before the first label
(onnxruntime 1.23.1 gave wrong INT8 results on some CPUs). The picture is made of random colours, so nobody's
photograph travels with a model.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

TILE = 16  # pixels; the side of the stored picture

TOLERANCE = 0.02
"""Largest difference of a logit, divided by the temperature, that passes. If no scaled logit moves by more than d,
no probability moves by more than d / 2, so the tolerance is the 0.01 within which all CPUs must agree.
`make verify-cpus` measures what they do. With the stand-in weights at 128 pixels, x86 with and without VNNI gives the
same logits, arm64 is off by 0.0000003; swapped channels are off by 0.5, a transposed picture by 2, and the same network
without 7-bit weights, where AVX2's kernels saturate, by 0.5."""


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """The picture and the answer. ValueError where they make no sense."""

    tile: str  # base64 of uint8 [16, 16, 3] RGB
    logits: tuple[float, ...]  # of the finished network, in the order of the labels

    def __post_init__(self) -> None:
        try:
            size = len(base64.b64decode(self.tile, validate=True))
        except (TypeError, ValueError, binascii.Error) as error:
            raise ValueError(f"golden.tile must be base64: {error}") from error
        if size != TILE * TILE * 3:
            raise ValueError(f"golden.tile must hold {TILE} x {TILE} RGB pixels, {TILE * TILE * 3} bytes, not {size}")
        if not self.logits or not all(
            isinstance(logit, int | float) and not isinstance(logit, bool) and math.isfinite(logit)
            for logit in self.logits
        ):
            raise ValueError(f"golden.logits must be finite numbers, not {list(self.logits)!r}")

    @classmethod
    def of(cls, tile: NDArray[np.uint8], logits: Sequence[float]) -> Self:
        """The example of `tile`, uint8 [16, 16, 3] RGB, and its logits."""
        return cls(base64.b64encode(tile.tobytes()).decode("ascii"), tuple(map(float, logits)))

    def pixels(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The picture as a network of `size` (height, width) takes it, uint8 [1, height, width, 3]."""
        tile = np.frombuffer(base64.b64decode(self.tile), np.uint8).reshape(TILE, TILE, 3)
        return enlarge(tile[np.newaxis], size)


def enlarge(tiles: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Tiles [N, 16, 16, 3] as pictures [N, height, width, 3]: every pixel becomes a square of the least whole side
    that fills the picture, and what is too much is cut off at the right and at the bottom. Exact on any machine."""
    side = -(-max(size) // TILE)
    return np.ascontiguousarray(tiles.repeat(side, axis=1).repeat(side, axis=2)[:, : size[0], : size[1]])
