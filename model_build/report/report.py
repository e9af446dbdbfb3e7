"""report.json: what went into a build, how it was decided, what came out, and how long it took.

format_version        2; grows when a member changes its meaning
model_version         as in manifest.json and in the tags
labels                in the order of the logits
images                pictures per split and label, before any was found unreadable
unreadable            {path: reason} of pictures that were left out because they cannot be decoded
left_out              {path: why} of files that were left out for other reasons, such as duplicates
split_by_content      true if the data set came without splits
accuracy              per split `int8`, on all its pictures; for validation and test also `fp32` and
                      `int8_on_fp32_images`, INT8 on the same pictures, so that those two compare. Each: `images`,
                      `correct`, `accuracy` and `interval`, its 95 % Wilson interval
classes               the same for each true label of test, INT8
confusion             test, INT8: C[true][predicted]
mistakes              every test picture that INT8 gets wrong, most confident first: `path` below the data set's
                      folder, `true`, `predicted`, `confidence` (calibrated), and `unsure`, whether the confidence
                      threshold keeps its label back
head                  how the head was chosen:
  chosen              name of the candidate
  rule                by which it was
  candidates          `name`, its settings, `parameters` (trained), `epochs_run`, `epoch_kept` (from 1), `seconds`,
                      `validation`: `images`, `correct`, `accuracy`, `log_loss` (temperature 1)
  history             of the chosen one, a value an epoch: `loss`, `accuracy` (training pictures, dropout active),
                      `val_loss`, `val_accuracy`
  baseline            logistic regression on the same pooled features: `penalty` (scikit-learn's C), `validation`
                      as above; `test`: `images`, `correct`, `accuracy`, `interval` of the baseline and
                      `head_correct` of the chosen head, both on the FP32 features of the same pictures, with the
                      McNemar `p_value`
quantisation          how the INT8 ranges were chosen:
  chosen, rule        as above
  images              validation pictures on which the candidates were compared with FP32
  fp32_correct        of them, right by the chosen head on the FP32 features
  candidates          `name`, its settings, `images` calibrated on, `error` (relative, of the average-pooled
                      features; null if not finite), `correct` by the chosen head on its features (which was trained
                      on those of the chosen candidate), `milliseconds` an image
compression           only where a smaller network was asked for; the candidates above were compared on the
                      full network, but the figures of the chosen head and of the baseline are the shipped network's
  asked, chosen, rule as settings.compress; name of the shipped network; by which it was chosen
  networks            the full one first; each `name`, `kind` (candidates.Kind), `image_size`, `channels` of its
                      layers, `ranks` of its kernels (null: whole), `multiplications` of the base for one image,
                      `bytes` of the INT8 base, `milliseconds` an image (alone, all cores, the networks taking turns),
                      `validation` as for a head, with `excess`: standard errors by which the log loss is above the
                      full network's
  redundancy          per layer: `channels`; the mean square of what the head's logits lose, to first order, when only
                      a `half` or a `quarter` of them stay, a half chosen by LASSO (`half_by_lasso`), or the kernel has
                      the rank with which it takes a half or a quarter of the multiplications (`rank_2`, `rank_4`), all
                      other layers whole; null for the channels of the last layer, which are the features
  test                shipped against full network, INT8: `images`, `full_correct`, `correct`, `only_full` right,
                      `only_shipped` right, McNemar `p_value`
calibration           what a confidence means:
  temperature         in manifest.json; fitted on validation
  threshold           `value` in manifest.json, chosen on validation; the `precision` asked for; `reached` there
  validation, test    `images`; `before` and `after` (temperature 1, temperature above): `ece` (15 bins),
                      `log_loss`, `brier`, `bins` of the reliability curve, each `low`, `high`, `count`, mean
                      `confidence` and `accuracy` (null in an empty bin); `labelled`: `images`, `correct`,
                      `accuracy`, `interval` of the pictures at or above the threshold, and their `share` of all
  caution             which figures flatter, and why
largest_difference_to_keras   of a probability, joined graph against the Keras head, on validation pictures
seconds               per stage in order, and `total`, their sum: all of the build but the start of Python
reused                graphs and pictures' features that an earlier build had left in the cache: only with 0 are
                      `seconds` those of a whole build
bytes                 of model.onnx, and of the same graph in FP32
machine               `cores`, `architecture`, `python`
settings              of model_build.config, but for paths
weights               imagenet, random or file
weights_sha256, data_sha256, packages     what the model was made from
"""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import (
    brier_score_loss,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    reliability_curve,
)
from labeller.classifier import MODEL_FILE, Manifest, softmax
from labeller.images import Unreadable
from model_build.calibration import Threshold
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.data.reader import CORES
from model_build.quantize import QuantisedBase
from model_build.selection import Baseline, EvaluatedHead, HeadAccuracy, ValidationScore
from model_build.verify import Predictions, Verification, share

FORMAT_VERSION = 2

HEAD_RULE = "most right on validation; among those the lowest log loss there; then the first in the table"
CAUTION = (
    "On validation the epoch, the head, the temperature and the threshold were chosen, so its figures flatter; "
    "on test nothing was."
)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was compared in a build, and what was taken."""

    quantisations: list[QuantisedBase]
    quantisation: QuantisedBase
    head_accuracy: HeadAccuracy
    heads: list[EvaluatedHead]
    head: EvaluatedHead
    baseline: Baseline
    threshold: Threshold


def compose(
    config: BuildConfig,
    data: Dataset,
    manifest: Manifest,
    decisions: Decisions,
    verdict: Verification,
    unreadable: Mapping[Example, Unreadable],
    validation: Predictions,
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    """The report, but for `seconds` and `reused`, which end later. `validation` are the INT8 answers at
    manifest.temperature."""
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    settings["weights"] = manifest.build["weights"]
    test = verdict.test
    return {
        "format_version": FORMAT_VERSION,
        "model_version": manifest.model_version,
        "labels": list(data.labels),
        "images": data.counts(),
        "unreadable": {data.name(example): str(reason) for example, reason in unreadable.items()},
        "left_out": dict(data.left_out),
        "split_by_content": data.split_by_content,
        "accuracy": verdict.accuracy,
        "classes": {label: share(test.right[test.labels == index]) for index, label in enumerate(data.labels)},
        "confusion": confusion_matrix(test.labels, test.predicted, len(data.labels)).tolist(),
        "mistakes": _mistakes(test, data, decisions.threshold.value),
        "head": _head(decisions, verdict),
        "quantisation": _quantisation(decisions, config),
        "calibration": {
            "temperature": manifest.temperature,
            "threshold": {
                "value": decisions.threshold.value,
                "precision": config.precision,
                "reached": decisions.threshold.reached,
            },
            **{
                split: _calibrated(given, manifest.temperature, decisions.threshold.value)
                for split, given in (("validation", validation), ("test", test))
            },
            "caution": CAUTION,
        },
        "largest_difference_to_keras": verdict.largest_difference,
        "bytes": dict(sizes),
        "machine": {"cores": CORES, "architecture": platform.machine(), "python": platform.python_version()},
        "settings": settings,
        **{name: manifest.build[name] for name in ("weights", "weights_sha256", "data_sha256", "packages")},
    }


def _mistakes(test: Predictions, data: Dataset, threshold: float) -> list[dict[str, Any]]:
    wrong = sorted(np.flatnonzero(~test.right), key=lambda index: -test.confidence[index])
    return [
        {
            "path": data.name(test.examples[index]),
            "true": data.labels[test.labels[index]],
            "predicted": data.labels[test.predicted[index]],
            "confidence": round(float(test.confidence[index]), 4),
            "unsure": bool(test.confidence[index] < threshold),
        }
        for index in wrong
    ]


def _head(decisions: Decisions, verdict: Verification) -> dict[str, Any]:
    history = decisions.head.trained.history
    return {
        "chosen": decisions.head.candidate.name,
        "rule": HEAD_RULE,
        "candidates": [
            {
                **asdict(each.candidate),
                "parameters": each.trained.parameters,
                "epochs_run": len(each.trained.history["loss"]),
                "epoch_kept": each.trained.epoch,
                "seconds": round(each.seconds, 2),
                "validation": _scored(each.validation),
            }
            for each in decisions.heads
        ],
        "history": {name: [round(value, 5) for value in values] for name, values in history.items()},
        "baseline": {
            "penalty": decisions.baseline.model.C,
            "validation": _scored(decisions.baseline.validation),
            "test": verdict.baseline,
        },
    }


def _scored(scored: ValidationScore) -> dict[str, Any]:
    return {
        "images": scored.images,
        "correct": scored.correct,
        "accuracy": round(scored.accuracy, 4),
        "log_loss": round(scored.log_loss, 5),
    }


def _quantisation(decisions: Decisions, config: BuildConfig) -> dict[str, Any]:
    return {
        "chosen": decisions.quantisation.candidate.name,
        "rule": (
            f"the first whose error is within {config.same_error:.0%} of the smallest; one with layers in FP32 only if "
            f"it takes at least {config.float_gain:.0%} off the smallest error without"
        ),
        "images": decisions.head_accuracy.images,
        "fp32_correct": decisions.head_accuracy.fp32,
        "candidates": [
            {
                **asdict(each.candidate),
                "images": each.images,
                "error": round(each.error, 5) if math.isfinite(each.error) else None,
                "correct": correct,
                "milliseconds": round(each.milliseconds, 2),
            }
            for each, correct in zip(decisions.quantisations, decisions.head_accuracy.quantised, strict=True)
        ],
    }


def _calibrated(answers: Predictions, temperature: float, threshold: float) -> dict[str, Any]:
    with np.errstate(divide="ignore"):  # a probability of 0 has the logit -inf, and is 0 again afterwards
        uncalibrated = softmax(np.log(answers.probabilities) * temperature, 1.0)
    labelled = answers.confidence >= threshold
    return {
        "images": len(answers.labels),
        "before": _reliability(uncalibrated, answers),
        "after": _reliability(answers.probabilities, answers),
        "labelled": {
            **(share(answers.right[labelled]) if labelled.any() else {"images": 0, "correct": 0}),
            "share": round(float(labelled.mean()), 4),
        },
    }


def _reliability(probabilities: np.ndarray, answers: Predictions) -> dict[str, Any]:
    confidence = probabilities.max(axis=1)
    return {
        "ece": round(expected_calibration_error(confidence, answers.right), 5),
        "log_loss": round(log_loss(answers.labels, probabilities), 5),
        "brier": round(brier_score_loss(answers.labels, probabilities), 5),
        "bins": [
            {name: _finite(value) for name, value in asdict(each).items()}
            for each in reliability_curve(confidence, answers.right)
        ],
    }


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def print_summary(report: Mapping[str, Any], out: Path) -> None:
    """What a person wants to know first, on the terminal."""
    print(f"\n{'accuracy':<12}{'INT8':>18}{'FP32':>18}{'INT8, same images':>20}")
    for split, scores in report["accuracy"].items():
        cells = [
            f"{scores[kind]['accuracy']:.1%} of {scores[kind]['images']}" if kind in scores else ""
            for kind in ("int8", "fp32", "int8_on_fp32_images")
        ]
        print(f"{split:<12}{cells[0]:>18}{cells[1]:>18}{cells[2]:>20}")
    _print_baseline(report)
    _print_calibration(report["calibration"])
    sizes = report["bytes"]
    from_cache = f" (results from the cache: {report['reused']})" if report["reused"] else ""
    print(
        f"\n{out}/{MODEL_FILE}: {sizes[MODEL_FILE] / 1e6:.1f} MB (FP32: {sizes['same_graph_fp32'] / 1e6:.1f} MB), "
        f"built in {report['seconds']['total']:.0f} s{from_cache}. The model card is index.html beside it."
    )
    if report["unreadable"]:
        print(f"{len(report['unreadable'])} files could not be read and were left out; report.json lists them.")
    sys.stdout.flush()


def _print_baseline(report: Mapping[str, Any]) -> None:
    head = report["head"]
    test = head["baseline"]["test"]
    difference = test["head_correct"] - test["correct"]
    verb = "beats" if difference > 0 else "does not beat"
    print(
        f"\nThe head {verb} logistic regression on the same {test['images']} test images (FP32 features): "
        f"{test['head_correct']} right against {test['correct']} (p = {test['p_value']:.2f})."
    )


def _print_calibration(calibration: Mapping[str, Any]) -> None:
    threshold, validation, test = calibration["threshold"], calibration["validation"], calibration["test"]
    errors = [f"{split['before']['ece']:.2%} -> {split['after']['ece']:.2%}" for split in (test, validation)]
    print(
        f"Temperature {calibration['temperature']:.3f}: calibration error on test {errors[0]} (validation {errors[1]})."
    )
    parts = []
    for name, split in (("validation", validation), ("test", test)):
        labelled = split["labelled"]
        right = f"{labelled['accuracy']:.2%} right" if labelled["images"] else "none labelled"
        parts.append(f"{name}: {right}, {1 - labelled['share']:.1%} unsure")
    print(f"Labels under {threshold['value']:.4f} are UNSURE ({'; '.join(parts)}).")
    if not threshold["reached"]:
        print(
            f"No threshold makes {threshold['precision']:.0%} of the labelled validation images right: the most "
            "confident labels are wrong too often. Look at the mistakes in report.json before you deploy this model."
        )
