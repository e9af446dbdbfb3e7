"""Stand-ins for pictures of something else, and how well each way to score familiarity tells them from pictures of the
labels. A build without a folder `other/` has no such pictures, so it compares the ways on

- pictures of a label that was left out, where there are three labels or more;
- copies of validation pictures with nothing left of what they show (`shifts.DESTRUCTIONS`).

Copies that keep their label (`shifts.CHANGES`) are compared too: the fewer of them become strange, the better. The test
images are not used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from model_build import selection
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, spread
from model_build.data.shifts import DESTRUCTIONS
from model_build.familiarity import (
    FEWEST_OTHERS,
    Exemplars,
    Familiarity,
    Mahalanobis,
    choose_exemplars,
    choose_familiarity,
    part_of,
)
from model_build.features import Features, extract, rows_of
from model_build.selection import JudgedCopies, TrainedNetwork, paired_difference

NEIGHBOURS, MAHALANOBIS, ENERGY, CONFIDENCE = METHODS = (
    "nearest neighbours",
    "Mahalanobis distance",
    "energy of the logits",
    "confidence",
)
"""Of these the first two can be shipped. The others are what a model knows without training pictures: -log sum exp of
the logits (Liu et al. 2020, arXiv 2010.03759) and the likeliest label's probability, which has a threshold anyway."""

OTHER, LEFT_OUT, DESTROYED, CHANGED = "other/", "a label left out", "destroyed copies", "changed copies"
"""Kinds of stand-ins. The first of them that a build has decides between the methods; the last never does."""

SIGNIFICANCE = 1.645
"""Standard errors of a paired mean by which a method must be better than the nearest neighbours to replace them."""

RULE = (
    "the nearest neighbours, unless the Mahalanobis distance is measurably better (paired picture by picture, "
    "one-sided 5%) at telling the stand-ins from validation pictures"
)

PARTS = 5
"""Groups of labels that are left out in turn, at most."""

Ranks = Mapping[str, np.ndarray]
"""By method, for each stand-in: the share of validation pictures that are less familiar, 0..1."""


@dataclass(frozen=True, slots=True)
class StandIns:
    """Pooled features of stand-ins with logits from heads that did not learn from the pictures; `others` are pictures
    of the folder `other/`."""

    changed: Features
    changed_logits: np.ndarray
    destroyed: Features
    destroyed_logits: np.ndarray
    others: Features | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every method on every kind of stand-ins, and the Mahalanobis distance that may be shipped."""

    ranks: Mapping[str, Ranks]
    mahalanobis: Mahalanobis

    @property
    def decided_by(self) -> str:
        """The kind of stand-ins that decides."""
        return next(iter(self.ranks))

    @property
    def shipped(self) -> str:
        """The method that RULE picks."""
        excess, error = self.advantage(MAHALANOBIS)
        return MAHALANOBIS if excess > SIGNIFICANCE * error else NEIGHBOURS

    def area(self, method: str, kind: str) -> float:
        """Area under the ROC curve: the chance that a validation picture is more familiar than a stand-in."""
        return 1 - float(self.ranks[kind][method].mean())

    def advantage(self, method: str, over: str = NEIGHBOURS) -> tuple[float, float]:
        """Area above that of another method on the deciding stand-ins, and the standard error of the difference."""
        ranks = self.ranks[self.decided_by]
        return paired_difference(ranks[over], ranks[method])


@dataclass(frozen=True, slots=True)
class Learnt:
    """Familiarity as it is shipped, and the comparison by which its method was chosen."""

    familiarity: Familiarity
    compared: Comparison


def learn(
    data: Dataset, network: TrainedNetwork, changed: Features, copies: JudgedCopies, config: BuildConfig
) -> Learnt:
    """Choose the method, and what it needs. `changed` are features of changed copies, of which `copies` has logits."""
    examples = (*data.others.get("train", ()), *data.others.get("validation", ()))
    others = extract(network.int8, examples, config) if examples else None
    if others is not None and len(others.labels) < FEWEST_OTHERS:
        print(
            f"      {OTHER} teaches nothing: training and validation have {len(others.labels)} of its pictures, "
            f"fewer than {FEWEST_OTHERS}"
        )
    destroyed = extract(network.int8, spread(changed.examples, config.destroyed_images), config, DESTRUCTIONS)
    logits = selection.judge_copies(network.head, network.features, destroyed, config).logits
    compared = compare_methods(data, network, StandIns(changed, copies.logits, destroyed, logits, others), config)
    print_comparison(compared)
    mahalanobis = compared.mahalanobis if compared.shipped == MAHALANOBIS else None
    return Learnt(choose_familiarity(data, network.features, others, config, mahalanobis), compared)


def compare_methods(data: Dataset, network: TrainedNetwork, stand_ins: StandIns, config: BuildConfig) -> Comparison:
    """Score validation pictures and stand-ins by every method that learns from training pictures alone."""
    features, logits = network.features, network.head.logits
    row = {example: index for index, example in enumerate(features.examples)}
    training, validation = (part_of(features, data.splits[split]) for split in ("train", "validation"))
    scorers = _Scorers.of(training)
    own = scorers(validation, logits[[row[example] for example in validation.examples]])
    ranks: dict[str, Ranks] = {}
    others = stand_ins.others
    if others is not None and len(others.labels) >= FEWEST_OTHERS:
        ranks[OTHER] = _ranks(own, scorers(others, network.trained.logits(others.values)))
    if len(data.labels) > 2:
        parts = [_ranks(*scores) for scores in _without_labels(training, validation, network, config)]
        ranks[LEFT_OUT] = {method: np.concatenate([part[method] for part in parts]) for method in METHODS}
    ranks[DESTROYED] = _ranks(own, scorers(stand_ins.destroyed, stand_ins.destroyed_logits))
    ranks[CHANGED] = _ranks(own, scorers(stand_ins.changed, stand_ins.changed_logits))
    return Comparison(ranks, scorers.mahalanobis)


def print_comparison(compared: Comparison) -> None:
    """A line for each method: the area under the ROC curve on every kind of stand-ins."""
    for method in METHODS:
        areas = ", ".join(f"{kind} {compared.area(method, kind):.3f}" for kind in compared.ranks)
        print(f"      {method:<22}{areas}", flush=True)
    print(f"      chosen: {compared.shipped}, by {compared.decided_by}")


Scores = Mapping[str, np.ndarray]
"""By method, for each picture, the higher the more familiar."""


@dataclass(frozen=True, slots=True)
class _Scorers:
    """What is learnt from training pictures."""

    exemplars: Exemplars
    mahalanobis: Mahalanobis

    @classmethod
    def of(cls, training: Features) -> _Scorers:
        return cls(choose_exemplars(training), Mahalanobis.of(training))

    def __call__(self, features: Features, logits: np.ndarray) -> Scores:
        energy = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
        return {
            NEIGHBOURS: self.exemplars.score(features),
            MAHALANOBIS: self.mahalanobis.score(features),
            ENERGY: energy,
            CONFIDENCE: logits.max(axis=1) - energy,
        }


def _without_labels(
    training: Features, validation: Features, network: TrainedNetwork, config: BuildConfig
) -> Iterator[tuple[Scores, Scores]]:
    """Scores of validation pictures whose labels are known, and of the others, for each group of labels left out."""
    labels, head = np.unique(training.labels), network.head.candidate
    for part in (labels[start::PARTS] for start in range(min(PARTS, len(labels)))):
        known, own, strange = (
            rows_of(features, np.isin(features.labels, part) == left_out)
            for features, left_out in ((training, False), (validation, False), (validation, True))
        )
        scorers = _Scorers.of(known)
        own_scores, strange_scores = (
            scorers(features, selection.logits_by(head, known, features, config)) for features in (own, strange)
        )
        yield own_scores, strange_scores


def _ranks(own: Scores, strange: Scores) -> Ranks:
    """Equal scores count half."""
    ranks = {}
    for method, scores in strange.items():
        ordered = np.sort(own[method])
        below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
        ranks[method] = below / (2 * len(ordered))
    return ranks
