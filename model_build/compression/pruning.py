"""Which channels of a convolution's input can go: backward elimination, each time the one whose absence costs least
when the weights of all that stay are solved again (Optimal Brain Surgeon, Hassibi & Stork 1993)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import lars_path_gram

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


def lasso(covariance: np.ndarray, use: np.ndarray, count: int) -> np.ndarray:
    """The `count` channels that LASSO keeps, ascending, for comparison: each has one factor, weights are not solved
    again, and the penalty falls until so many factors are not 0 (He et al. 2017).

    `use` [C, C]: an error e in the channels costs e' use e. Along the path by least angles (scikit-learn); a path that
    ends with fewer is filled up with the most powerful of the others.
    """
    gram = covariance * use  # of the channels' parts in the outputs: a product of Schur's, so positive
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30 * np.trace(gram) or 1.0))
    gram = gram / scale.max() ** 2
    _, _, factors = lars_path_gram(
        gram.sum(axis=1), gram, n_samples=1, method="lasso", max_iter=2 * len(gram), alpha_min=0.0
    )
    enough = np.flatnonzero((factors != 0).sum(axis=0) >= count)
    kept = factors[:, enough[0] if len(enough) else -1] != 0
    rank = np.lexsort((-np.diag(gram), ~kept))
    return np.sort(rank[:count])


def loss_without(covariance: np.ndarray, use: np.ndarray, kept: np.ndarray) -> float:
    """What the outputs lose when only the channels `kept` stay and the weights are solved again: as `Elimination.loss`.

    `use` as of `lasso`.
    """
    gone = np.setdiff1d(np.arange(len(covariance)), kept)
    ridge = RIDGE * np.trace(covariance) / len(covariance) or 1.0
    known = covariance[np.ix_(kept, kept)] + ridge * np.eye(len(kept))
    both = covariance[np.ix_(kept, gone)]
    left = covariance[np.ix_(gone, gone)] - both.T @ np.linalg.solve(known, both)
    return float((use[np.ix_(gone, gone)] * left).sum())
