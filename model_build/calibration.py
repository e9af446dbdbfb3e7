"""The temperature that makes a confidence a probability, and the threshold below which a label is UNSURE.

Both are fitted on the answers of the cross-validation, by which the head was chosen too, so these figures are slightly
too good. Nothing is chosen on test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from evaluation.metrics import log_loss
from labeller.classifier import softmax
from model_build import selection
from model_build.config import BuildConfig
from model_build.data.dataset import Example
from model_build.data.shifts import CHANGES
from model_build.features import Features, extract
from model_build.selection import EvaluatedHead, JudgedCopies, TrainedNetwork
from model_build.verify import Predictions

TEMPERATURES = (0.1, 10.0)
"""Bounds of the search. Published networks need 0.5 to 5 (Guo et al. 2017, table 3 and figure 9)."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence of a label, the wanted `precision`, and whether the images it was chosen on reach it."""

    value: float
    precision: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and confidence threshold, and the cross-validation's answers on which they were chosen: for the
    images, and for changed copies of the validation images, with the features of the copies."""

    temperature: float
    threshold: Threshold
    validation: Predictions
    changed: Features
    copies: JudgedCopies


def calibrate(network: TrainedNetwork, validation: Sequence[Example], config: BuildConfig) -> Calibration:
    """Choose the temperature and the confidence threshold, each image judged by a head that did not learn from it."""
    features, head = network.features, network.head
    changed = extract(network.int8, validation, config, CHANGES)
    copies = selection.judge_copies(head, features, changed, config)
    temperature = fit_temperature(*answers(head, features, copies))
    judged = ((head.logits, features.labels), (copies.logits[copies.counted], copies.targets[copies.counted]))
    thresholds = [
        choose_threshold(softmax(logits, temperature).max(axis=1), logits.argmax(axis=1) == targets, config.precision)
        for logits, targets in judged
        if len(targets)
    ]
    predictions = Predictions(features.examples, head.logits, features.labels, temperature)
    # As if nothing were UNKNOWN, so that the threshold holds for an operator who turns that off.
    return Calibration(temperature, strictest(thresholds), predictions, changed, copies)


def answers(head: EvaluatedHead, features: Features, copies: JudgedCopies) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, labels] and targets [n] of the images and of those copies that keep their label."""
    counted = copies.counted
    logits, targets = (head.logits, copies.logits[counted]), (features.labels, copies.targets[counted])
    return np.concatenate(logits), np.concatenate(targets)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature within TEMPERATURES that minimises the log loss of softmax(logits / temperature).

    `logits` float [n, labels], `labels` int [n]. The loss is convex in 1 / temperature, so it has one minimum. It has
    none if every image is right: the loss falls until all confidences are 1. Then the temperature is 1, because a
    validation set without a mistake does not show how confident the model may be.
    """
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    low, high = (1 / bound for bound in reversed(TEMPERATURES))
    minimum = minimize_scalar(lambda inverse: log_loss(labels, softmax(logits, 1 / inverse)), bounds=(low, high))
    return float(1 / minimum.x)


def at_bound(temperature: float) -> bool:
    """Whether the search ended at one of TEMPERATURES, up to its accuracy, so that a better one may lie beyond."""
    low, high = TEMPERATURES
    return not low * 1.001 < temperature < high * 0.999


def choose_threshold(confidence: np.ndarray, right: np.ndarray, precision: float) -> Threshold:
    """The smallest threshold at which the share `precision` of the images with at least that confidence is right.

    `confidence` float [n], `right` bool [n]. The threshold lies halfway between the lowest confidence above it and the
    next lower one, so that rounding moves no image across; it is 0 if every image keeps its label. If no threshold
    reaches `precision`, it is the one with the highest share of right images, the smallest among equals. ValueError for
    no images.
    """
    if not len(confidence):
        raise ValueError("no threshold can be chosen without images")
    values, group = np.unique(confidence, return_inverse=True)  # ascending; equal confidences stay together
    labelled = np.cumsum(np.bincount(group)[::-1])[::-1]
    correct = np.cumsum(np.bincount(group, weights=right)[::-1])[::-1]
    enough = np.flatnonzero(correct >= precision * labelled - 1e-9)  # 0.99 * 100 is not exactly 99
    lowest = int(enough[0]) if len(enough) else int(np.argmax(correct / labelled))
    if not lowest:
        return Threshold(0.0, precision, reached=bool(len(enough)))
    below, least = float(values[lowest - 1]), float(values[lowest])
    halfway = (below + least) / 2
    # Between adjacent floats, halfway may be rounded to the lower one.
    return Threshold(halfway if halfway > below else least, precision, reached=bool(len(enough)))


def strictest(thresholds: Sequence[Threshold]) -> Threshold:
    """The highest of some thresholds for the same precision, reached if all reach it."""
    highest = max(thresholds, key=lambda threshold: threshold.value)
    return replace(highest, reached=all(threshold.reached for threshold in thresholds))
