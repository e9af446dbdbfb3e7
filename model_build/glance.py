"""A glance network beside the thorough one: it sees half the picture's width and height, and answers the easy ones.

It takes a sixth of the thorough one's time, so that the mean time of a picture falls while the answers stay as good:
where it is not sure, or finds the picture unfamiliar, the thorough network answers as if it were alone. The idea is old
(Viola and Jones 2001); a glance at a smaller picture is that of Wang et al. 2020, "Glance and Focus", arXiv 2010.05300.
The test images are not used here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.metrics import wilson_interval
from labeller.classifier import softmax
from labeller.manifest import GLANCE_FILE, Glance
from model_build import calibration, export, familiarity_graph, golden, head, selection
from model_build.calibration import Calibration
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.data.shifts import CHANGES
from model_build.familiarity import Familiarity, Mahalanobis, choose_familiarity, part_of, strangest_rows
from model_build.features import Features, extract
from model_build.halving import halve
from model_build.head import TrainedHead
from model_build.search import SIGNIFICANCE, Network, SearchResult, split_guides
from model_build.selection import EvaluatedHead, JudgedCopies, TrainedNetwork, log_losses, paired_difference


@dataclass(frozen=True, slots=True)
class GlanceNetwork:
    """The glance network, its features of training and validation pictures, its head, and what it may answer.

    `answered` bool [n]: the training and validation pictures that it answered in the cross-validation; `logits` [n,
    labels]: the answers of both networks together, for the thorough one's temperature; `copies` likewise. `loss` is
    their mean log loss above the thorough network's alone, picture by picture, with its standard error; `milliseconds`:
    of one picture on one thread, by this network and by the thorough one.
    """

    network: Network
    features: Features
    trained: TrainedHead
    temperature: float
    confidence: float
    familiarity: Familiarity
    answered: np.ndarray
    answered_copies: np.ndarray
    logits: np.ndarray
    copies: JudgedCopies
    loss: tuple[float, float]
    milliseconds: tuple[float, float]

    def applied(self, alone: Calibration) -> Calibration:
        """The cross-validation's answers of both networks together, from those of the thorough one `alone`."""
        return replace(alone, validation=replace(alone.validation, logits=self.logits), copies=self.copies)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Answers of one network in the cross-validation, to `examples` and to copies of `copied`, and how familiar each
    picture was to it."""

    examples: Sequence[Example]
    copied: Sequence[Example]
    head: EvaluatedHead
    copies: JudgedCopies
    temperature: float
    familiarity: Familiarity
    shares: np.ndarray
    shares_of_copies: np.ndarray


def learn(
    small: SearchResult,
    searched: SearchResult,
    thorough: TrainedNetwork,
    alone: Calibration,
    familiarity: Familiarity,
    data: Dataset,
    config: BuildConfig,
    work: Path,
) -> GlanceNetwork | None:
    """Teach the glance network what the thorough one learnt; None, with the reason printed, if it would not help.

    `small` has a network for pictures of half the size of those of `searched`, which `thorough` is made of; `alone` are
    that one's answers, and `familiarity` its own. Raises DataError.
    """
    halved = work / "halved.int8.onnx"
    halve(small.chosen.int8, halved)
    network, cost = replace(small.chosen, int8=halved), searched.chosen.cost
    features = extract(network.int8, data.known, config)
    changed = extract(network.int8, data.splits["validation"], config, CHANGES)
    if features.examples != thorough.features.examples:
        raise AssertionError("both networks read the same files")
    judged = _judge(features, changed, network, thorough.head, familiarity, data, config)
    guides = set(split_guides(data.known, config.guide_images)[0])
    judges = np.array([example not in guides for example in features.examples])
    confidence = _confidence(judged, alone, judges, config)
    if confidence is None:
        print("      none: in the cross-validation it is sure of too few pictures, or loses too many labels")
        return None
    answered = _sure(judged.head.logits, judged.temperature, judged.shares, confidence, config)
    copies = _sure(judged.copies.logits, judged.temperature, judged.shares_of_copies, confidence, config)
    scale = alone.temperature / judged.temperature
    logits = np.where(answered[:, None], judged.head.logits * scale, alone.validation.logits)
    both = np.where(copies[:, None], judged.copies.logits * scale, alone.copies.logits)
    losses, before = (
        log_losses(one / alone.temperature, alone.validation.labels) for one in (logits, alone.validation.logits)
    )
    excess, error = paired_difference(losses, before)
    print(
        f"      it answers {answered.mean():.1%} of the pictures, {judged.head.right[answered].mean():.2%} of them "
        f"right; log loss of both together {losses.mean():.4f}, of the thorough network alone {before.mean():.4f}"
    )
    if excess > SIGNIFICANCE * error or answered.mean() * cost <= network.cost:
        print("      none: " + ("it would cost accuracy" if excess > SIGNIFICANCE * error else "it would save no time"))
        return None
    labels, own = len(data.labels), replace(config, image_size=network.image_size)
    return GlanceNetwork(
        network,
        features,
        head.train(judged.head.candidate, features.values, features.labels, labels, own),
        judged.temperature,
        confidence,
        judged.familiarity,
        answered,
        copies,
        logits,
        replace(alone.copies, logits=both),
        (excess, error),
        (small.milliseconds[small.chosen][0], searched.milliseconds[searched.chosen][0]),
    )


def rule(config: BuildConfig) -> str:
    """What it answers, in words."""
    return (
        f"it answers alone above the lowest confidence, from {config.glance_confidence:g} and the confidence threshold "
        f"on, at which it loses at most {config.glance_losses:.1%} of the right labels of the thorough network (by the "
        "upper end of the 95% interval) in the cross-validation of the pictures and of their changed copies together, "
        "if it finds the picture familiar as well"
    )


def _judge(
    features: Features,
    changed: Features,
    network: Network,
    head_of_thorough: EvaluatedHead,
    thorough: Familiarity,
    data: Dataset,
    config: BuildConfig,
) -> _Judged:
    """Choose penalty, temperature and familiarity as for a network that is shipped alone, by the same cross-validation;
    kind of head and method of familiarity are the thorough network's."""
    chosen = selection.evaluate_head(head_of_thorough.candidate, features, len(data.labels), config)
    copies = selection.judge_copies(chosen, features, changed, config)
    temperature = calibration.fit_temperature(*calibration.answers(chosen, features, copies))
    examples = (*data.others.get("train", ()), *data.others.get("validation", ()))
    others = extract(network.int8, examples, config) if examples else None
    distance = Mahalanobis.of(part_of(features, data.splits["train"])) if thorough.mahalanobis else None
    familiarity = choose_familiarity(data, features, others, config, distance)
    shares = np.empty(len(features.examples))
    for row, share, _ in strangest_rows(familiarity, features, len(shares), named=0):
        shares[row] = share
    known = features.examples
    return _Judged(known, changed.examples, chosen, copies, temperature, familiarity, shares, familiarity(changed))


def _confidence(judged: _Judged, alone: Calibration, judges: np.ndarray, config: BuildConfig) -> float | None:
    """The confidence of `rule`; None if there is none. `judges` bool [n]: the pictures that did not guide how the
    network was made smaller."""
    row = {example: index for index, example in enumerate(judged.examples)}
    of_copies = judges[[row[example] for example in judged.copied]]
    counted = judged.copies.counted & alone.copies.counted & of_copies
    logits = np.concatenate([judged.head.logits[judges], judged.copies.logits[counted]])
    shares = np.concatenate([judged.shares[judges], judged.shares_of_copies[counted]])
    right = np.concatenate([judged.head.right[judges], judged.copies.right[counted]])
    thorough = np.concatenate([alone.validation.right[judges], alone.copies.right[counted]])
    confidence = softmax(logits, judged.temperature).max(axis=1)
    lowest = max(config.glance_confidence, alone.threshold.value)  # below the model's threshold it may answer nothing
    sure = (shares >= config.glance_familiarity) & (confidence >= lowest)
    # What the thorough network gets wrong as well is not lost.
    return least_confidence(confidence[sure], (thorough & ~right)[sure], lowest, config)


def least_confidence(confidence: np.ndarray, lost: np.ndarray, lowest: float, config: BuildConfig) -> float | None:
    """The lowest confidence, `lowest` or above, from which on the share of `lost` bool [n] is at most
    `glance_losses`, by the upper end of its interval; None if there is none.

    It lies halfway between two of `confidence` float [n], so that rounding moves no picture across.
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, losses = confidence[order], np.cumsum(lost[order])
    for last in range(len(confidence) - 1, -1, -1):
        below = float(confidence[last + 1]) if last + 1 < len(confidence) else None
        if below == confidence[last] or wilson_interval(int(losses[last]), last + 1).high > config.glance_losses:
            continue
        return lowest if below is None else (below + float(confidence[last])) / 2
    return None


def _sure(
    logits: np.ndarray, temperature: float, shares: np.ndarray, confidence: float, config: BuildConfig
) -> np.ndarray:
    """bool [n]: the pictures that the glance network answers."""
    sure = softmax(logits, temperature).max(axis=1) >= confidence
    return np.asarray(sure & (shares >= config.glance_familiarity))


def finish(base: Path, trained: TrainedHead, familiarity: Familiarity, side: int, head_file: Path, path: Path) -> None:
    """Write `path`: the base, a file with image -> features [N, side, side, C], its head, which is exported to
    `head_file`, and familiarity in one graph."""
    export.join(base, export.export(trained.network, export.FEATURES, export.LOGITS, head_file), path)
    familiarity_graph.add_familiarity(path, export.FEATURES, side, familiarity)


def export_glance(
    glance: GlanceNetwork, thorough: Familiarity, config: BuildConfig, work: Path, folder: Path
) -> Glance:
    """Write glance.onnx, which shares exemplars.json with the thorough network; return its part of the manifest."""
    if glance.familiarity.exemplars.examples != thorough.exemplars.examples:
        raise AssertionError("both networks have the same exemplars, which are drawn by content")
    path = folder / GLANCE_FILE
    side = glance.network.image_size // export.STRIDE
    finish(glance.network.int8, glance.trained, glance.familiarity, side, work / "glance-head.onnx", path)
    return Glance(
        hashlib.sha256(path.read_bytes()).hexdigest(),
        glance.temperature,
        glance.confidence,
        config.glance_familiarity,
        golden.choose_golden_example(path, (config.image_size, config.image_size)),
    )
