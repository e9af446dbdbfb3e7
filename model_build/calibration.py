"""Stage 6: what a confidence means. The temperature that makes it a probability, and the threshold below which a
label is not given.

Both are fitted on the validation pictures, on which the epoch and the head were chosen too. So the figures for
validation flatter a little; those for test, where nothing was chosen, do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from evaluation.metrics import log_loss
from labeller.classifier import softmax

TEMPERATURES = (0.1, 10.0)
"""Where the temperature is searched. Published networks need 0.5 to 5 (Guo et al. 2017, table 3 and figure 9)."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence that gets a label, the `precision` asked for, and whether the labelled pictures it was
    chosen on reach it."""

    value: float
    precision: float
    reached: bool


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, within TEMPERATURES, that minimises the log loss of softmax(logits / temperature).

    `logits` float [n, labels], `labels` int [n]. In 1 / temperature the loss is convex, so there is one minimum. If
    every picture is right, there is none: the loss falls until all confidences are 1. The logits then stay as they
    are, temperature 1, for a validation set without a mistake does not say how sure one may be.
    """
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    low, high = (1 / bound for bound in reversed(TEMPERATURES))
    found = minimize_scalar(
        lambda inverse: log_loss(labels, softmax(logits, 1 / inverse)), bounds=(low, high), method="bounded"
    )
    return float(1 / found.x)


def choose_threshold(confidence: np.ndarray, right: np.ndarray, precision: float) -> Threshold:
    """The smallest threshold such that, of the pictures with at least that confidence, `precision` are right.

    `confidence` float [n] is the probability of the label given, `right` bool [n] whether it is the true one. The
    threshold lies halfway between the lowest confidence that gets its label and the next lower one, so that
    rounding moves no picture across; it is 0 if all get theirs. Pictures of equal confidence stay together. If no
    threshold reaches `precision`, which means that the surest pictures of all are wrong too often, it is the one
    with the highest share of right ones, and among those the smallest. ValueError for no pictures.
    """
    if not len(confidence):
        raise ValueError("no threshold can be chosen without pictures")
    values, group = np.unique(confidence, return_inverse=True)  # ascending
    labelled = np.cumsum(np.bincount(group)[::-1])[::-1]
    correct = np.cumsum(np.bincount(group, weights=right)[::-1])[::-1]
    enough = np.flatnonzero(correct >= precision * labelled - 1e-9)  # 0.99 * 100 is 99.0 only by good luck
    lowest = int(enough[0]) if len(enough) else int(np.argmax(correct / labelled))
    if not lowest:
        return Threshold(0.0, precision, reached=bool(len(enough)))
    below, least = float(values[lowest - 1]), float(values[lowest])
    halfway = (below + least) / 2
    # Between neighbouring floats, such as those below 1, there is nothing: halfway may be rounded to the lower one.
    return Threshold(halfway if halfway > below else least, precision, reached=bool(len(enough)))
