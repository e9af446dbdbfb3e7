"""The charts of a model, inline in the model card and as figures/*.svg. The browser's fonts draw any script."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from evaluation.charts import axis_ticks, linear_scale
from evaluation.pages import macros, render
from model_build.compression.candidates import Kind
from model_build.report.report import BuildReport, CompressionReport

TEMPLATES = Path(__file__).parent / "templates"

LABELS_IN_MATRIX = 20
"""With more labels a confusion matrix is drawn without names and numbers."""

LONGEST = 24
"""Characters of a label; a longer one is cut, because a chart has no room for it."""


def write_figures(report: BuildReport, folder: Path) -> None:
    """Write confusion.svg, and curve.svg if there is a compression curve."""
    folder.mkdir(parents=True, exist_ok=True)
    test = report.accuracy["test"].int8
    title = f"INT8 on {test.images} test pictures: true label (rows), predicted label (columns)"
    _write(folder / "confusion.svg", title, (), confusion_chart(report))
    if report.compression:
        legend = ("channels and ranks", "only one of them, or smaller pictures")
        _write(folder / "curve.svg", "Accuracy against time", legend, curve_chart(report.compression))


def curve_chart(compression: CompressionReport) -> Markup:
    """Accuracy in cross-validation against the time of one image, one point per network."""
    networks, full_time = compression.networks, compression.networks[0].milliseconds
    low, high, ticks = axis_ticks([network.validation.accuracy for network in networks], percent=True)
    slowest = max(network.milliseconds for network in networks) / full_time
    across, up = linear_scale(0, slowest, 58, 610), linear_scale(low, high, 264, 20)
    points: list[dict[str, Any]] = []
    for network in sorted(networks, key=lambda network: -network.validation.accuracy):
        x, y = across(network.milliseconds / full_time), up(network.validation.accuracy)
        label = network.name + (" (shipped)" if network.name == compression.chosen else "")
        # The curve rises, so there is room below it. A label that would cover another one moves further down.
        left, label_y = min(x + 6, 630 - text_width(label)), y + 16
        while any(
            abs(label_y - other["label_y"]) < 14 and left < other["right"] and other["left"] < left + text_width(label)
            for other in points
        ):
            label_y += 1
        points.append(
            {
                "x": round(x, 1),
                "y": round(y, 1),
                "on_curve": network.kind in (Kind.FULL, Kind.BOTH),
                "shipped": network.name == compression.chosen,
                "label": label,
                "left": round(left, 1),
                "right": left + text_width(label),
                "label_y": round(label_y, 1),
            }
        )
    curve = sorted((point["x"], point["y"]) for point in points if point["on_curve"])
    chart: Markup = macros("figures.html", TEMPLATES).curve(
        "Accuracy in cross-validation against the time of one picture",
        "A large point is the shipped network.",
        {"width": 640, "height": 330, "left": 58, "right": 630},
        grid=[(round(up(tick), 1), f"{tick:.1%}") for tick in ticks],
        ticks=[(round(across(tick / 5), 1), f"{tick / 5:.0%}") for tick in range(int(slowest * 5) + 1)],
        path="M" + "L".join(f"{x} {y}" for x, y in curve),
        points=points,
    )
    return chart


def confusion_chart(report: BuildReport) -> Markup:
    """The confusion matrix, its cells as dark as their share of the row; without names if there are many labels."""
    matrix, labels = np.array(report.confusion), report.labels
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    named = len(labels) <= LABELS_IN_MATRIX
    texts = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in labels] if named else []
    side = 60 if named else max(1.0, 480 / len(labels))
    left = 20 + max(map(text_width, texts), default=0)
    top = 20 + round(0.64 * max(map(text_width, texts), default=0))  # sin 40°: the names above are turned
    whole = side * len(labels)
    cells = [
        {
            "x": round(left + column * side, 1),
            "y": round(top + row * side, 1),
            "side": round(side, 1),
            "opacity": round(float(shares[row, column]), 3),
            "title": f"{labels[row]}, predicted as {labels[column]}: {matrix[row, column]}",
            "texts": ((-3, matrix[row, column]), (14, f"{shares[row, column]:.1%}")) if named else (),
        }
        for row, column in (np.ndindex(matrix.shape) if named else np.argwhere(matrix))
    ]
    names = [
        {"text": text, "title": label, "row": top + (index + 0.5) * side, "column": left + (index + 0.5) * side}
        for index, (text, label) in enumerate(zip(texts, labels, strict=False))
    ]
    chart: Markup = macros("figures.html", TEMPLATES).confusion(
        "Confusion matrix",
        "Rows: the true label. Columns: the predicted label. The darker a cell, the larger its share of the row.",
        width=round(left + whole + (top if named else 20)),
        height=round(top + whole + 20),
        frame={"x": left, "y": top, "side": round(whole, 1)},
        names=names,
        cells=cells,
    )
    return chart


def text_width(text: str) -> int:
    """Estimated width at a font size of 13 units."""
    return sum(8 if character.isascii() else 13 for character in text)


def _write(path: Path, title: str, legend: Sequence[str], chart: Markup) -> None:
    """Write a chart with a title and a legend as an SVG file with its own style."""
    match = re.search(r'<svg (viewBox="0 0 ([\d.]+) ([\d.]+)".*?</svg>)', chart, re.DOTALL)
    if match is None:
        raise ValueError(f"{path.name}: the chart has no <svg> with a viewBox")
    starts = [58 + sum(40 + text_width(name) for name in legend[:index]) for index in range(len(legend))]
    drawing = render(
        "figure.svg",
        TEMPLATES,
        title=title,
        legend=list(zip(starts, legend, strict=True)),
        width=max(int(match[2]), text_width(title) + 20),
        height=50 + float(match[3]),
        chart_width=match[2],
        chart_height=match[3],
        chart=chart[slice(*match.span(1))],
    )
    path.write_text(drawing, "utf-8")
