"""How many channels and which rank each layer keeps, so that the network meets a time budget at the least loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from model_build.compression.network import Shape

Value = TypeVar("Value")


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
    *,
    channels: bool = True,
    ranks: bool = True,
) -> Shape:
    """The shape that takes at most `share` of the full shape's time, in multiples of `step` channels and ranks.

    `channels` and `ranks` say which of the two may change. Greedy: always the single change with the least loss per
    time saved. Losses of layers add up, as they do to first order. The last layer keeps all channels, because they are
    the features. Every layer keeps at least `step` channels, so a small share may be out of reach.
    """
    budget, shape = share * full.cost(image_size), full
    while (cost := shape.cost(image_size)) > budget:
        best: tuple[float, Shape] | None = None
        for smaller, loss in _smaller_shapes(shape, full, losses, step, channels, ranks):
            saved = cost - smaller.cost(image_size)
            if saved > 0 and (best is None or loss / saved < best[0]):
                best = (loss / saved, smaller)
        if best is None:
            break
        shape = best[1]
    return shape


def _smaller_shapes(
    shape: Shape, full: Shape, losses: Sequence[Losses], step: int, channels: bool, ranks: bool
) -> Iterator[tuple[Shape, float]]:
    """Every shape with one layer smaller, and the loss of that change.

    A whole kernel may go to any rank at once, because column and row save time only below some rank.
    """
    for layer, loss in enumerate(losses):
        width, rank, full_width = shape.widths[layer], shape.ranks[layer], full.widths[layer]
        fewer = (width - 1) // step * step
        if channels and layer < len(losses) - 1 and fewer >= min(step, full_width):
            added = float(loss.channels[full_width - fewer] - loss.channels[full_width - width])
            yield replace(shape, widths=_replaced(shape.widths, layer, fewer)), added
        if not ranks:
            continue
        highest = len(loss.ranks) - 1 if rank is None else rank
        current = 0.0 if rank is None else float(loss.ranks[rank])
        for lower in range((highest - 1) // step * step, 0, -step):
            yield replace(shape, ranks=_replaced(shape.ranks, layer, lower)), float(loss.ranks[lower]) - current
            if rank is not None:
                break


def _replaced(values: tuple[Value, ...], index: int, value: Value) -> tuple[Value, ...]:
    return (*values[:index], value, *values[index + 1 :])
