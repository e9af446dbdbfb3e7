"""Stage 8: the pictures a person looks at first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen first: there is no screen

from model_build.head import History
from model_build.lettering import lettering

LABELLED = 20
"""Labels whose names and numbers a figure has room for."""

TRAINING, VALIDATION = "#1f6f8b", "#e07a5f"


def draw_training(history: History, kept: int, path: Path) -> None:
    """Loss and accuracy of every epoch, training beside validation; the epoch `kept` (from 1) is marked."""
    epochs = np.arange(1, len(history["loss"]) + 1)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[name], color=TRAINING, label="training", marker=".")
        axis.plot(epochs, history[f"val_{name}"], color=VALIDATION, label="validation", marker=".")
        axis.axvline(kept, color="grey", linestyle=":", label=f"kept: epoch {kept}")
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_ylim(bottom=0)
    axes[1].yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    figure.suptitle("Training of the head (dropout is active in the training figures only)")
    _save(figure, path)


def draw_confusion(matrix: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """C[i, j]: test pictures of true label i that the INT8 model gives label j, coloured by share of the row.

    With more than LABELLED labels, without names and numbers: then only where it is dark beside the diagonal counts.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names, families = lettering(labels) if len(labels) <= LABELLED else ([], ["sans-serif"])
    side = 2.5 + 0.8 * min(len(labels), LABELLED)
    title = f"{matrix.sum()} test pictures, INT8"
    with mpl.rc_context({"font.family": families}):
        figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if names:
            _write_counts(axis, matrix, shares)
            slanted: dict[str, Any] = (
                {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(names) > 3 else {}
            )
            axis.set_xticks(range(len(names)), names, parse_math=False, **slanted)
            axis.set_yticks(range(len(names)), names, parse_math=False)  # a name is no formula
        else:
            title += "; labels by number, from 0, in the order of report.json"
        axis.set(xlabel="predicted label", ylabel="true label", title=title)
        _save(figure, path)


def _write_counts(axis: plt.Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axis.text(column, row, f"{count}\n{share:.1%}", ha="center", va="center", color=colour)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")  # long names included
    plt.close(figure)
