"""The part of the report about pictures of something else."""

from __future__ import annotations

import numpy as np

from evaluation.metrics import auroc_score
from labeller.results import Neighbour, Prediction, Status, Thresholds
from model_build import strangers
from model_build.data.dataset import Dataset
from model_build.familiarity import strangest_rows
from model_build.features import Features
from model_build.report import report as reports
from model_build.strangers import CHANGED, LEFT_OUT, METHODS, Learnt
from model_build.verify import Accuracy, Predictions

STRANGEST = 24
"""Training pictures that the report lists."""

POINTS = 101
"""Thresholds of a ROC curve: from the least to the most familiar test picture."""

CAUTIONS = {
    strangers.OTHER: "The pictures of other/ in training and validation decide; they also set the threshold.",
    LEFT_OUT: "Each label was left out in turn, and its validation pictures stood in for pictures of something else.",
    strangers.DESTROYED: "With two labels none can be left out. Destroyed copies show no animal or thing at all, so "
    "pictures of something that resembles the labels could not be checked; a folder other/, with ten pictures "
    "or more in training and validation together, would show more.",
}
"""What could be checked, by the kind of stand-ins that decided."""


def familiarity_report(
    learnt: Learnt,
    data: Dataset,
    features: Features,
    test: Predictions,
    others: Predictions | None,
    thresholds: Thresholds,
) -> reports.FamiliarityReport:
    """The report; `test` and `others` are predictions of the finished model for the test pictures."""
    compared = learnt.compared
    statuses = _statuses(test, thresholds)
    labelled = statuses == Status.LABELLED
    right = Accuracy.of(test.right[labelled])
    return reports.FamiliarityReport(
        learnt.familiarity.threshold,
        compared.shipped,
        strangers.RULE,
        compared.decided_by,
        [_method(compared, method) for method in METHODS],
        {kind: len(ranks[compared.shipped]) for kind, ranks in compared.ranks.items()},
        len(learnt.familiarity.exemplars.examples),
        CAUTIONS[compared.decided_by],
        _answers(statuses),
        reports.Labelled(right.images, right.correct, right.accuracy, right.interval, round(float(labelled.mean()), 4)),
        _curves(compared, test, others),
        _strangest(learnt, data, features),
        None if others is None else _answers(_statuses(others, thresholds)),
    )


def _method(compared: strangers.Comparison, method: str) -> reports.MethodResult:
    areas = {kind: round(compared.area(method, kind), 4) for kind in compared.ranks}
    gain, error = compared.advantage(method)
    return reports.MethodResult(method, areas, round(gain, 5), round(error, 5))


def _statuses(predictions: Predictions, thresholds: Thresholds) -> np.ndarray:
    shares = [None] * len(predictions.labels) if predictions.familiarity is None else predictions.familiarity.tolist()
    pairs = zip(predictions.confidence.tolist(), shares, strict=True)
    return np.array([thresholds.status(Prediction("", confidence, {}, share)) for confidence, share in pairs])


def _answers(statuses: np.ndarray) -> reports.Answers:
    counts = [int((statuses == status).sum()) for status in (Status.LABELLED, Status.UNSURE, Status.UNKNOWN)]
    return reports.Answers(len(statuses), *counts)


def _curves(compared: strangers.Comparison, test: Predictions, others: Predictions | None) -> list[reports.RocCurve]:
    """A curve for the pictures of `other/` in the test set, and for each kind of stand-ins that keep no label."""
    own = _shares(test)
    kinds = {kind: ranks[compared.shipped] for kind, ranks in compared.ranks.items() if kind != CHANGED}
    if others is not None:
        kinds = {f"{strangers.OTHER} (test)": _shares(others), **kinds}
    return [_curve(kind, own, strange) for kind, strange in kinds.items()]


def _curve(kind: str, own: np.ndarray, strange: np.ndarray) -> reports.RocCurve:
    thresholds = np.unique(np.quantile(own, np.linspace(0, 1, POINTS)))[::-1]
    points = [(round(float((strange >= t).mean()), 4), round(float((own >= t).mean()), 4)) for t in thresholds]
    return reports.RocCurve(kind, len(strange), round(auroc_score(own, strange), 4), [(0.0, 0.0), *points, (1.0, 1.0)])


def _shares(predictions: Predictions) -> np.ndarray:
    return np.zeros(len(predictions.labels)) if predictions.familiarity is None else predictions.familiarity


def _strangest(learnt: Learnt, data: Dataset, features: Features) -> list[reports.StrangePicture]:
    exemplars = learnt.familiarity.exemplars.examples
    return [
        reports.StrangePicture(
            data.name(features.examples[row]),
            data.labels[features.labels[row]],
            round(share, 4),
            tuple(
                Neighbour(data.name(exemplars[one]), data.labels[exemplars[one].label], round(cosine, 4))
                for one, cosine in nearest
            ),
        )
        for row, share, nearest in strangest_rows(learnt.familiarity, features, STRANGEST)
    ]
