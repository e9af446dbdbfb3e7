"""What each layer may cost, so that the whole network loses least: channels and ranks, by their losses and by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from model_build.compression.network import layer_cost

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels and ranks of every layer; a rank of None is a whole kernel."""

    widths: tuple[int, ...]
    ranks: tuple[int | None, ...]

    def cost(self, sides: Sequence[int], inputs: int = 3) -> int:
        """What one image takes, in multiply-accumulates that take as long; `sides` as of `Chain.sides`."""
        before = (inputs, *self.widths[:-1])
        return sum(
            side * side * layer_cost(*each)
            for side, each in zip(sides, zip(before, self.widths, self.ranks, strict=True), strict=True)
        )


@dataclass(frozen=True, slots=True)
class Losses:
    """What it costs the head to make a layer smaller: `channels[k]` with k channels gone, `ranks[r]` at rank r."""

    channels: np.ndarray
    ranks: np.ndarray


def allot(
    losses: Sequence[Losses],
    full: Shape,
    sides: Sequence[int],
    share: float,
    step: int,
    *,
    channels: bool = True,
    ranks: bool = True,
) -> Shape:
    """The shape that takes at most `share` of the time of the full one, in multiples of `step` channels and ranks; only
    one of the two where the other is not to change.

    Greedy: of all single changes always the one that loses least for the time it saves; losses of layers add up, as
    they do to first order. The channels of the last layer are the features, and stay. `step` channels at least stay
    everywhere, so a share may be out of reach.
    """
    budget, shape = share * full.cost(sides), full
    while (now := shape.cost(sides)) > budget:
        best: tuple[float, Shape] | None = None
        for changed, lost in _changes(shape, full, losses, step, channels, ranks):
            saved = now - changed.cost(sides)
            if saved > 0 and (best is None or lost / saved < best[0]):
                best = (lost / saved, changed)
        if best is None:
            break
        shape = best[1]
    return shape


def _changes(
    shape: Shape, full: Shape, losses: Sequence[Losses], step: int, channels: bool, ranks: bool
) -> Iterator[tuple[Shape, float]]:
    """Every shape with one layer smaller, and what is lost by that. A column and a row pay only from some rank down, so
    a whole kernel may jump to any."""
    for layer, loss in enumerate(losses):
        width, rank, most = shape.widths[layer], shape.ranks[layer], full.widths[layer]
        fewer = (width - 1) // step * step
        if channels and layer < len(losses) - 1 and fewer >= min(step, most):
            lost = float(loss.channels[most - fewer] - loss.channels[most - width])
            yield replace(shape, widths=_with(shape.widths, layer, fewer)), lost
        if not ranks:
            continue
        highest = len(loss.ranks) - 1 if rank is None else rank
        now = 0.0 if rank is None else float(loss.ranks[rank])
        for lower in range((highest - 1) // step * step, 0, -step):
            changed = replace(shape, ranks=_with(shape.ranks, layer, lower))
            yield changed, float(loss.ranks[lower]) - now
            if rank is not None:
                break


def _with(values: tuple[Value, ...], index: int, value: Value) -> tuple[Value, ...]:
    return (*values[:index], value, *values[index + 1 :])
