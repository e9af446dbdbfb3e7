"""Stage 8: the pictures a person looks at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen first: there is no screen

from model_build.compression.candidates import Kind
from model_build.head import History
from model_build.report.lettering import lettering

LABELLED = 20
"""Labels whose names and numbers a figure has room for."""

TRAINING, VALIDATION = "#1f6f8b", "#e07a5f"
KINDS = {
    Kind.BOTH: "#0b62c4",
    Kind.CHANNELS: "#7a4fbf",
    Kind.RANKS: "#b0306a",
    Kind.PIXELS: "#c2570c",
    Kind.FULL: "#1b1f24",
}


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


def draw_tradeoff(compression: Mapping[str, Any], path: Path) -> None:
    """Accuracy on validation against the time of one image, a point a network: the `compression` member of report.json.

    The full network and those that are smaller in both ways are a curve; the others stand beside it.
    """
    networks = compression["networks"]
    slowest = networks[0]["milliseconds"]
    figure, axis = plt.subplots(figsize=(10, 6), layout="constrained")
    for kind, colour in KINDS.items():
        times, shares = [], []
        for each in networks:
            if each["kind"] == kind or (kind is Kind.BOTH and each["kind"] == Kind.FULL):
                times.append(each["milliseconds"] / slowest)
                shares.append(each["validation"]["accuracy"])
        axis.plot(times, shares, "o-" if kind is Kind.BOTH else "o", color=colour, label=kind.value)
    for each in networks:
        shipped = each["name"] == compression["chosen"]
        axis.annotate(
            each["name"].replace(" faster", "").split(",")[0] + (" (shipped)" if shipped else ""),
            (each["milliseconds"] / slowest, each["validation"]["accuracy"]),
            xytext=(8, -14),  # the curve rises: below it there is room
            textcoords="offset points",
            color=KINDS[Kind(each["kind"])],
        )
    axis.set(
        xlabel="time of one INT8 image, relative to the full network (3x: meant to be 3 times as fast)",
        ylabel="right on validation",
        title="Less arithmetic: accuracy against time",
        xlim=(0, None),
    )
    axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=1))
    axis.grid(alpha=0.3)
    axis.margins(y=0.1)
    axis.legend()
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
