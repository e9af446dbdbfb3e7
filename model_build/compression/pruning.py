"""Which channels a layer can lose: backward elimination of the channel whose absence costs least once the weights of
the others are solved again (Optimal Brain Surgeon, Hassibi & Stork 1993)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import lars_path_gram

RIDGE = 1e-4
"""Added to the diagonal of a covariance, as a share of its mean: a channel that is always 0 makes it singular."""


@dataclass(frozen=True, slots=True)
class Elimination:
    """The order in which channels are removed, the last one never; `loss[k]` is the loss of the output without the
    first k of them: it starts at 0 and rises."""

    order: np.ndarray
    loss: np.ndarray

    def kept(self, count: int) -> np.ndarray:
        """The `count` channels that stay, ascending."""
        return np.sort(np.setdiff1d(np.arange(len(self.loss)), self.order[: len(self.loss) - count]))


def eliminate(covariance: np.ndarray, weights: np.ndarray) -> Elimination:
    """Order the channels of a layer by the loss that their absence causes.

    `covariance` [C, C] is that of the channels. `weights` [C, m] takes the channels to the outputs, each output scaled
    by the square root of its sensitivity. The loss is the expected squared error, summed over the outputs.
    """
    channels = len(covariance)
    inverse = np.linalg.inv(regularised(covariance))
    weights = weights.astype(np.float64)
    remaining = np.ones(channels, bool)
    order, loss = [], [0.0]
    for _ in range(channels - 1):
        losses = np.full(channels, np.inf)
        losses[remaining] = (weights[remaining] ** 2).sum(axis=1) / np.diag(inverse)[remaining]
        removed = int(losses.argmin())
        factors = inverse[:, removed] / inverse[removed, removed]
        factors[~remaining] = 0.0
        weights -= np.outer(factors, weights[removed])
        inverse -= np.outer(factors, inverse[removed])
        remaining[removed] = False
        order.append(removed)
        loss.append(loss[-1] + float(losses[removed]))
    return Elimination(np.array(order, int), np.array(loss))


def lasso(covariance: np.ndarray, consumption: np.ndarray, count: int) -> np.ndarray:
    """The `count` channels that LASSO keeps, ascending, for comparison (He et al. 2017).

    Each channel has one factor, and the penalty falls until `count` factors are not 0; the weights are not solved
    again. `consumption` [C, C]: an error e in the channels costs e' consumption e. Uses scikit-learn's path by least
    angles. A path with fewer channels is filled up with the strongest of the others.
    """
    gram = covariance * consumption  # of the channels' contributions to the output; positive by Schur's theorem
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30 * np.trace(gram) or 1.0))
    gram = gram / scale.max() ** 2
    _, _, factors = lars_path_gram(
        gram.sum(axis=1), gram, n_samples=1, method="lasso", max_iter=2 * len(gram), alpha_min=0.0
    )
    enough = np.flatnonzero((factors != 0).sum(axis=0) >= count)
    kept = factors[:, enough[0] if len(enough) else -1] != 0
    rank = np.lexsort((-np.diag(gram), ~kept))
    return np.sort(rank[:count])


def loss_without(covariance: np.ndarray, consumption: np.ndarray, kept: np.ndarray) -> float:
    """Loss, as in `Elimination`, if only the channels `kept` stay; `consumption` as for `lasso`."""
    removed = np.setdiff1d(np.arange(len(covariance)), kept)
    known = regularised(covariance)[np.ix_(kept, kept)]
    cross = covariance[np.ix_(kept, removed)]
    residual = covariance[np.ix_(removed, removed)] - cross.T @ np.linalg.solve(known, cross)
    return float((consumption[np.ix_(removed, removed)] * residual).sum())


def regularised(covariance: np.ndarray) -> np.ndarray:
    """The covariance [C, C] with RIDGE on its diagonal, float64."""
    ridge = RIDGE * np.trace(covariance) / len(covariance) or 1.0
    return np.asarray(covariance.astype(np.float64) + ridge * np.eye(len(covariance)))
