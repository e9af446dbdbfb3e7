"""How many channels and which rank each layer keeps, so that the network meets a time budget at the least loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_build.compression.network import Shape


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss of the head by shrinking one layer: `channels[k]` without k channels, `ranks[r]` at rank r."""

    channels: np.ndarray
    ranks: np.ndarray


def allocate(
    losses: Sequence[Losses],
    full: Shape,
    image_size: int,
    share: float,
    step: int,
) -> Shape:
    """The shape that takes at most `share` of the full shape's time, in multiples of `step` channels and ranks.

    Greedy: always the single change with the least loss per time saved; losses of layers add up, as they do to first
    order. The last layer keeps its channels, which are the
    features. Every layer keeps at least `step` channels, so a small share may be out of reach.
    """
    budget, shape = share * full.cost(image_size), full
    while (cost := shape.cost(image_size)) > budget:
        best: tuple[float, Shape] | None = None
        for smaller, loss in _smaller_shapes(shape, full, losses, step):
            saved = cost - smaller.cost(image_size)
            if saved > 0 and (best is None or loss / saved < best[0]):
                best = (loss / saved, smaller)
        if best is None:
            break
        shape = best[1]
    return shape


def _smaller_shapes(shape: Shape, full: Shape, losses: Sequence[Losses], step: int) -> Iterator[tuple[Shape, float]]:
    """Every shape with one layer smaller, and the loss of that change. A whole kernel may go to any rank at once: a
    column and a row save time only below some rank."""
    for layer, loss in enumerate(losses):
        width, rank, full_width = shape.widths[layer], shape.ranks[layer], full.widths[layer]
        fewer = (width - 1) // step * step
        if layer < len(losses) - 1 and fewer >= min(step, full_width):
            added = float(loss.channels[full_width - fewer] - loss.channels[full_width - width])
            yield replace(shape, widths=(*shape.widths[:layer], fewer, *shape.widths[layer + 1 :])), added
        highest = len(loss.ranks) - 1 if rank is None else rank
        current = 0.0 if rank is None else float(loss.ranks[rank])
        for lower in range((highest - 1) // step * step, 0, -step):
            ranks_ = (*shape.ranks[:layer], lower, *shape.ranks[layer + 1 :])
            yield replace(shape, ranks=ranks_), float(loss.ranks[lower]) - current
            if rank is not None:
                break
