"""The charts of a model: inline in the model card, and as figures/*.svg. The browser's fonts draw labels in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from evaluation.charts import Series, line_chart
from evaluation.pages import macros, render
from model_build.compression.candidates import Kind
from model_build.report.report import BuildReport, CompressionReport, HeadReport

TEMPLATES = Path(__file__).parent / "templates"

LABELS_IN_MATRIX = 20
"""With more labels a confusion matrix is drawn without names and numbers."""

LONGEST = 24
"""Characters of a label; a longer one is cut, because a chart has no room for it."""


def write_figures(report: BuildReport, folder: Path) -> None:
    """Write training.svg and confusion.svg, and curve.svg if there is a compression curve."""
    folder.mkdir(parents=True, exist_ok=True)
    training = [(title, ("training", "validation"), chart) for title, chart in training_charts(report.head)]
    _write(folder / "training.svg", *training)
    test = report.accuracy["test"].int8
    title = f"INT8 on {test.images} test pictures: true label (rows), predicted label (columns)"
    _write(folder / "confusion.svg", (title, (), confusion_chart(report)))
    if report.compression:
        legend = ("channels and ranks", "only one of them, or smaller pictures")
        _write(folder / "curve.svg", ("Accuracy on validation against time", legend, curve_chart(report.compression)))


def training_charts(head: HeadReport) -> list[tuple[str, Markup]]:
    """Loss and accuracy by epoch, with their titles."""
    history = head.history
    kept = next(candidate.epoch_kept for candidate in head.candidates if candidate.name == head.chosen)
    epochs = [str(epoch) for epoch in range(1, len(history["loss"]) + 1)]
    description = f"The weights of epoch {kept} are kept. Dropout is active in the training figures only."
    return [
        (
            title,
            line_chart(
                f"{title} by epoch",
                description,
                epochs,
                [Series("training", history[name]), Series("validation", history[f"val_{name}"])],
                percent=name == "accuracy",
                marked=kept - 1,
            ),
        )
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]
