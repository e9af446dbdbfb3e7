"""Make the build report from the results of the stages."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np

from evaluation import metrics
from labeller.classifier import softmax
from labeller.images import Unreadable
from labeller.manifest import Manifest
from labeller.results import Thresholds
from model_build import glance as glances
from model_build.calibration import Threshold, at_bound
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.data.reader import CORES
from model_build.fingerprint import build_fingerprint
from model_build.glance import GlanceNetwork
from model_build.previous import PreviousModel
from model_build.quantize import QuantisedBase
from model_build.report import report as reports
from model_build.report.familiarity import familiarity_report
from model_build.search import SearchResult, rule
from model_build.selection import RULE, EvaluatedHead, HeadAccuracy, JudgedCopies, TrainedNetwork, paired_difference
from model_build.strangers import Learnt
from model_build.verify import Accuracy, BaselineTest, Predictions, Verification

FORMAT_VERSION = 4
"""Grows when a field changes its meaning."""

CAUTION = (
    "In the cross-validation each training and validation picture is judged by a head that did not learn from it. "
    "Head, penalty, temperature and threshold were chosen on these figures, so they are slightly too good. Nothing was "
    "chosen on test."
)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the build compared and what it chose."""

    quantisations: list[QuantisedBase]
    quantisation: QuantisedBase
    head_accuracy: HeadAccuracy
    network: TrainedNetwork
    threshold: Threshold
    learnt: Learnt
    searched: SearchResult | None
    glance: GlanceNetwork | None
    previous: PreviousModel | None


def compose(
    config: BuildConfig,
    data: Dataset,
    manifest: Manifest,
    decisions: Decisions,
    verification: Verification,
    unreadable: Mapping[Example, Unreadable],
    validation: Predictions,
    copies: JudgedCopies,
    sizes: Mapping[str, int],
) -> reports.BuildReport:
    """The report without `seconds` and `reused`, which are known later. `validation` and
    `copies`: the answers of the cross-validation."""
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    test, threshold = verification.test, decisions.threshold
    return reports.BuildReport(
        format_version=FORMAT_VERSION,
        key=build_fingerprint(config, data),
        model_version=manifest.model_version,
        labels=data.labels,
        images=data.counts(),
        unreadable={data.name(example): str(reason) for example, reason in unreadable.items()},
        left_out=data.left_out,
        split_by_content=data.split_by_content,
        accuracy=verification.accuracy,
        classes={label: Accuracy.of(test.right[test.labels == index]) for index, label in enumerate(data.labels)},
        confusion=metrics.confusion_matrix(test.labels, test.predicted, len(data.labels)).tolist(),
        mistakes=mistakes_of(test, data, manifest.thresholds),
        head=_head(decisions.network, verification.baseline),
        quantisation=_quantisation(decisions, config),
        calibration=reports.CalibrationReport(
            manifest.temperature,
            at_bound(manifest.temperature),
            threshold,
            calibration_of(validation, threshold.value),
            calibration_of(test, threshold.value),
            changes_of(copies, manifest.temperature, threshold.value),
            CAUTION,
        ),
        familiarity=familiarity_report(
            decisions.learnt, data, decisions.network.features, test, verification.others, manifest.thresholds
        ),
        largest_difference_to_keras=verification.largest_difference,
        bytes=sizes,
        machine={"cores": CORES, "architecture": platform.machine(), "python": platform.python_version()},
        settings={**settings, "weights": manifest.build["weights"]},
        **{name: manifest.build[name] for name in ("weights", "weights_sha256", "packages")},
        data_sha256=data.digest,
        seconds={},
        reused=0,
        search=_search(decisions.searched, config),
        previous=decisions.previous,
        glance=_glance(decisions.glance, validation, copies, test, config),
    )


def mistakes_of(test: Predictions, data: Dataset, thresholds: Thresholds) -> list[reports.Mistake]:
    """Every test picture with a wrong label, the most confident first."""
    confidence, predicted = test.confidence, test.predicted
    nearest = test.nearest or [()] * len(test.labels)
    return [
        reports.Mistake(
            data.name(test.examples[index]),
            data.labels[test.labels[index]],
            data.labels[predicted[index]],
            round(float(confidence[index]), 4),
            bool(confidence[index] < thresholds.confidence),
            bool(test.familiarity is not None and test.familiarity[index] < (thresholds.familiarity or 0.0)),
            tuple(replace(one, similarity=round(one.similarity, 4)) for one in nearest[index]),
        )
        for index in sorted(np.flatnonzero(~test.right), key=lambda index: -confidence[index])
    ]


def calibration_of(predictions: Predictions, threshold: float) -> reports.SplitCalibration:
    """Reliability before and after calibration, and the effect of the confidence threshold."""
    return reports.SplitCalibration(
        len(predictions.labels),
        _reliability(replace(predictions, temperature=1.0)),
        _reliability(predictions),
        _labelled(predictions.confidence, predictions.right, threshold),
    )


def changes_of(copies: JudgedCopies, temperature: float, threshold: float) -> list[reports.ChangeResult]:
    """Accuracy of the changed copies by kind of change, and of the same pictures unchanged."""
    confidence, results = softmax(copies.logits, temperature).max(axis=1), []
    for change in sorted(set(copies.changes.tolist())):
        here = copies.changes == change
        result = reports.ChangeResult(
            **asdict(Accuracy.of(copies.right[here])),
            change=change,
            counted=bool(copies.counted[here].all()),
            originals_correct=int(copies.originals_right[here].sum()),
            labelled=_labelled(confidence[here], copies.right[here], threshold),
        )
        results.append(result)
    return results


def _labelled(confidence: np.ndarray, right: np.ndarray, threshold: float) -> reports.Labelled:
    labelled = confidence >= threshold
    return reports.Labelled(**asdict(Accuracy.of(right[labelled])), share=round(float(labelled.mean()), 4))


def _reliability(predictions: Predictions) -> reports.Reliability:
    confidence, right = predictions.confidence, predictions.right
    labels, probabilities = predictions.labels, predictions.probabilities
    curve = metrics.reliability_curve(confidence, right)
    return reports.Reliability(
        round(metrics.expected_calibration_error(confidence, right), 5),
        round(metrics.log_loss(labels, probabilities), 5),
        round(metrics.brier_score_loss(labels, probabilities), 5),
        [metrics.ReliabilityBin(*(round(value, 5) for value in astuple(point))) for point in curve],
    )


def _head(network: TrainedNetwork, yardstick: BaselineTest) -> reports.HeadReport:
    best = min(network.heads, key=lambda head: float(head.losses.mean()))
    candidates = []
    for head in network.heads:
        excess, error = (round(value, 5) for value in paired_difference(head.losses, best.losses))
        seconds = round(head.seconds, 2)
        result = reports.HeadResult(
            **asdict(head.candidate), validation=_validation(head), excess=excess, excess_error=error, seconds=seconds
        )
        candidates.append(result)
    return reports.HeadReport(network.head.candidate.name, RULE, candidates, network.trained.parameters, yardstick)


def _quantisation(decisions: Decisions, config: BuildConfig) -> reports.QuantisationReport:
    rule = (
        f"the first whose error is within {config.same_error:.0%} of the smallest; one with layers in FP32 only if it "
        f"lowers the smallest error without such layers by at least {config.float_gain:.0%}"
    )
    candidates = [
        reports.QuantisationResult(
            **asdict(replace(base.candidate, images=base.images)),
            error=round(base.error, 5),
            correct=correct,
            milliseconds=round(base.milliseconds, 2),
        )
        for base, correct in zip(decisions.quantisations, decisions.head_accuracy.quantised, strict=True)
    ]
    accuracy = decisions.head_accuracy
    return reports.QuantisationReport(
        decisions.quantisation.candidate.name, rule, accuracy.images, accuracy.fp32, candidates
    )


def _search(searched: SearchResult | None, config: BuildConfig) -> reports.SearchReport | None:
    if searched is None:
        return None
    networks = []
    for network, images in sorted(searched.race.last().items(), key=lambda item: item[0].cost):
        excess, error = searched.race.excess(network, images)
        result = reports.NetworkResult(
            network.name,
            network.image_size,
            network.speedup,
            network.shape.widths,
            network.shape.ranks,
            network.shape.multiplications(network.image_size),
            network.int8.stat().st_size,
            round(searched.milliseconds[network][0], 2),
            round(searched.milliseconds[network][1], 2),
            _validation(searched.race.measure(network, images)),
            round(excess, 5),
            round(error, 5),
        )
        networks.append(result)
    return reports.SearchReport(
        searched.chosen.name, rule(config), searched.measurably_worse, networks, list(searched.redundancy)
    )


def _glance(
    glance: GlanceNetwork | None, validation: Predictions, copies: JudgedCopies, test: Predictions, config: BuildConfig
) -> reports.GlanceReport | None:
    if glance is None or test.glance is None:
        return None

    def answered(rows: np.ndarray, right: np.ndarray) -> reports.Labelled:
        return reports.Labelled(**asdict(Accuracy.of(right[rows])), share=round(float(rows.mean()), 4))

    excess, error = glance.loss
    return reports.GlanceReport(
        glance.network.name,
        glances.rule(config),
        round(glance.confidence, 4),
        config.glance_familiarity,
        answered(glance.answered, validation.right),
        answered(glance.answered_copies, copies.right),
        answered(test.glance, test.right),
        round(excess, 5),
        round(error, 5),
        *(round(milliseconds, 2) for milliseconds in glance.milliseconds),
    )


def _validation(head: EvaluatedHead) -> reports.ValidationResult:
    correct, images = int(head.right.sum()), len(head.targets)
    return reports.ValidationResult(images, correct, round(correct / images, 4), round(float(head.losses.mean()), 5))
