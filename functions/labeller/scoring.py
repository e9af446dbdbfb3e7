"""How right a model is. Pure numpy; labels are indices, int [n]."""

from __future__ import annotations

import numpy as np


def accuracy_score(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of pictures whose predicted label is the true one, 0 to 1. ValueError for no pictures."""
    if len(true) == 0:
        raise ValueError("the accuracy of no pictures is undefined")
    return float(np.mean(true == predicted))


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """int64 [labels, labels]: C[i, j] counts the pictures of true label i that were given label j."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    return matrix
