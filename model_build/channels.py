"""Which channels of a convolution's input can go: backward elimination, each time the one whose absence costs least
when the weights of all that stay are solved again (Optimal Brain Surgeon, Hassibi & Stork 1993)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RIDGE = 1e-4
"""Added to the diagonal of a covariance, as a share of its mean: silent channels make it singular."""


@dataclass(frozen=True, slots=True)
class Elimination:
    """Channels in the order in which they go, and what the output has lost when each has gone: `loss[k]` with the first
    k of `order` removed, `loss[0]` = 0; rising. The last channel never goes."""

    order: np.ndarray
    loss: np.ndarray

    def kept(self, count: int) -> np.ndarray:
        """The `count` channels that stay, ascending."""
        return np.sort(np.setdiff1d(np.arange(len(self.loss)), self.order[: len(self.loss) - count]))


def eliminate(covariance: np.ndarray, use: np.ndarray) -> Elimination:
    """Order the channels of a layer by how little their absence costs.

    `covariance` [C, C] of the channels, `use` [C, m] the weights with which they enter the outputs, those already
    scaled by what an error in each is worth. The loss is the expected square of the error of all outputs together.
    """
    channels = len(covariance)
    ridge = RIDGE * np.trace(covariance) / channels or 1.0
    inverse = np.linalg.inv(covariance.astype(np.float64) + ridge * np.eye(channels))
    weights = use.astype(np.float64).copy()
    alive = np.ones(channels, bool)
    order, loss = [], [0.0]
    for _ in range(channels - 1):
        costs = np.full(channels, np.inf)
        costs[alive] = (weights[alive] ** 2).sum(axis=1) / np.diag(inverse)[alive]
        gone = int(costs.argmin())
        share = inverse[:, gone] / inverse[gone, gone]
        share[~alive] = 0.0
        weights -= np.outer(share, weights[gone])
        inverse -= np.outer(share, inverse[gone])
        alive[gone] = False
        order.append(gone)
        loss.append(loss[-1] + float(costs[gone]))
    return Elimination(np.array(order, int), np.array(loss))


def allot(losses: Sequence[np.ndarray], prices: np.ndarray, full: Sequence[int], share: float, step: int) -> list[int]:
    """How many channels each layer keeps so that the network costs at most `share` of the full one.

    `losses[l][k]` is what it costs to remove k channels of layer l; `prices[l]` what layer l costs in full: the layer
    with kept input and output channels costs the product of their shares. Greedy: always the `step` channels with the
    least loss for what they save. The channels of the last layer are the features, and stay. `step` channels at least
    stay everywhere.
    """
    kept = list(full)

    def price(widths: Sequence[int]) -> float:
        shares = np.array(widths) / np.array(full)
        return float((prices * shares * np.array([1.0, *shares[:-1]])).sum())

    budget = share * price(full)
    while (now := price(kept)) > budget:
        best: tuple[float, int, int] | None = None
        for layer, loss in enumerate(losses):
            fewer = (kept[layer] - 1) // step * step
            if fewer < min(step, full[layer]):
                continue
            saved = now - price([*kept[:layer], fewer, *kept[layer + 1 :]])
            gone = full[layer] - kept[layer]
            lost = float(loss[full[layer] - fewer] - loss[gone])
            if best is None or lost / saved < best[0]:
                best = (lost / saved, layer, fewer)
        if best is None:
            break
        kept[best[1]] = best[2]
    return kept
