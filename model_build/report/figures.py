"""The charts of a model, inline in the model card and as figures/*.svg. The browser's fonts draw any script."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from evaluation.charts import axis_ticks, linear_scale
from evaluation.pages import macros, render
from model_build.report.report import BuildReport, FamiliarityReport, NetworkResult, SearchReport

TEMPLATES = Path(__file__).parent / "templates"

LABELS_IN_MATRIX = 20
"""With more labels a confusion matrix is drawn without names and numbers."""

LONGEST = 24
"""Characters of a label; a longer one is cut, because a chart has no room for it."""

WIDE = "MW@%mw"
"""Letters as wide as a Chinese one."""


def write_figures(report: BuildReport, folder: Path) -> None:
    """Write confusion.svg, roc.svg, and tradeoff.svg if there was a choice of networks."""
    folder.mkdir(parents=True, exist_ok=True)
    test = report.accuracy["test"].int8
    title = f"INT8 on {test.images} test pictures: true label (rows), predicted label (columns)"
    _write(folder / "confusion.svg", title, confusion_chart(report))
    _write(folder / "roc.svg", "Pictures of something else against test pictures", roc_chart(report.familiarity))
    if report.search:
        _write(folder / "tradeoff.svg", "Log loss against time", tradeoff_chart(report.search))


def tradeoff_chart(search: SearchReport) -> Markup:
    """Log loss above the lowest against the time of one image: a point for each network, a colour for each size, and a
    dashed line through the frontier, the networks than which none is both faster and better."""
    networks, sizes = search.networks, sorted({network.image_size for network in search.networks})
    low, high, ticks = axis_ticks([0.0, *(network.excess for network in networks)], percent=False)
    fastest, slowest = (pick(network.milliseconds for network in networks) for pick in (min, max))
    across = linear_scale(math.log(fastest / 1.1), math.log(slowest * 1.1), 58, 622)
    up = linear_scale(low, high, 294, 20)
    hues = {size: round(210 - 190 * index / max(1, len(sizes) - 1)) for index, size in enumerate(sizes)}

    def position(network: NetworkResult) -> tuple[float, float]:
        return round(across(math.log(network.milliseconds)), 1), round(up(network.excess), 1)

    def bar(network: NetworkResult) -> list[float]:
        ends = (network.excess - network.excess_error, network.excess + network.excess_error)
        return [round(up(min(high, max(low, end))), 1) for end in ends]

    points = [
        {
            "place": position(network),
            "bar": bar(network),
            "hue": hues[network.image_size],
            "shipped": network.name == search.chosen,
            "text": "full" if network.speedup == 1 else f"{network.speedup:g}x",
            "title": f"{network.name}: {network.milliseconds:.1f} ms, log loss {network.validation.log_loss:.4f} on "
            f"{network.validation.images} pictures, {network.excess:.4f} ± {network.excess_error:.4f} above the lowest",
        }
        for network in networks
    ]
    best, frontier = math.inf, []
    for network in sorted(networks, key=lambda network: (network.milliseconds, network.excess)):
        if network.excess < best:
            best = network.excess
            frontier.append(position(network))
    chart: Markup = macros("figures.html", TEMPLATES).tradeoff(
        "Log loss above the lowest in cross-validation, against the time of one picture",
        "A large point is the shipped network; bars are standard errors; the dashed line joins the networks than which "
        "none is both faster and better.",
        {"width": 640, "height": 360, "left": 58, "right": 630},
        grid=[(round(up(tick), 1), f"{tick:+.3g}" if tick else "lowest") for tick in ticks],
        ticks=[(round(across(math.log(tick)), 1), f"{tick:g}") for tick in _log_ticks(fastest, slowest)],
        path="M" + "L".join(f"{x} {y}" for x, y in frontier),
        points=points,
        sizes=[(hue, f"{size} px", 58 + 76 * index) for index, (size, hue) in enumerate(hues.items())],
    )
    return chart


def roc_chart(familiarity: FamiliarityReport) -> Markup:
    """The share of the test pictures that are familiar enough, against that of the strangers: a line for each kind of
    strangers, and a point at the shipped threshold. The axes end where all points are seen."""
    kept = 1 - familiarity.test.unknown / familiarity.test.images
    points = {curve.strangers: _at_kept(curve.points, kept) for curve in familiarity.curves}
    furthest = max([1 - kept, *points.values()])
    whole = next(range_ for range_ in (0.1, 0.2, 0.5, 1.0) if furthest < range_ or range_ == 1.0)
    across, up = linear_scale(0, whole, 64, 364), linear_scale(1 - whole, 1, 316, 16)
    lines = [
        {
            "hue": round(360 * index / len(familiarity.curves)) + 210,
            "name": f"{curve.strangers} ({curve.images}): {curve.area:.3f}",
            "key": 44 + 24 * index,
            "path": "M" + "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in _corner_of(curve.points, whole)),
            "x": round(across(points[curve.strangers]), 1),
        }
        for index, curve in enumerate(familiarity.curves)
    ]
    ticks = [whole * step / 4 for step in range(5)]
    chart: Markup = macros("figures.html", TEMPLATES).roc(
        "Familiar test pictures against familiar strangers",
        "The higher and the further left a line, the better the model tells pictures of something else from test "
        "pictures. Points: the shipped threshold. Beside the names: pictures, and the area under the line.",
        {"width": 640, "height": 360, "left": 64, "right": 364},
        grid=[(round(up(1 - tick), 1), f"{1 - tick:.1%}") for tick in ticks],
        ticks=[(round(across(tick), 1), f"{tick:.1%}") for tick in ticks],
        lines=lines,
        y=round(up(kept), 1),
    )
    return chart


def _corner_of(points: Sequence[tuple[float, float]], side: float) -> list[tuple[float, float]]:
    """The part of a ROC curve in its upper left corner."""
    strange, own = zip(*points, strict=True)
    inside = [(x, y) for x, y in points if x <= side and y >= 1 - side]
    return [(_at_kept(points, 1 - side), 1 - side), *inside, (side, float(np.interp(side, strange, own)))]


def _at_kept(points: Sequence[tuple[float, float]], kept: float) -> float:
    """The share of the strangers that are familiar where the share `kept` of the test pictures is."""
    strange, own = zip(*points, strict=True)
    return float(np.interp(kept, own, strange))


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within low..high: 1, 2 and 5 times the powers of ten; both ends if there are none."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high] or [float(f"{low:.2g}"), float(f"{high:.2g}")]


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
    """Estimated width at a font size of 13 units, rather too wide than too narrow."""
    return sum(
        13 if character in WIDE or not character.isascii() else 10 if character.isupper() else 8 for character in text
    )


def _write(path: Path, title: str, chart: Markup) -> None:
    """Write a chart with a title as an SVG file with its own style."""
    match = re.search(r'<svg (viewBox="0 0 ([\d.]+) ([\d.]+)".*?</svg>)', chart, re.DOTALL)
    if match is None:
        raise ValueError(f"{path.name}: the chart has no <svg> with a viewBox")
    drawing = render(
        "figure.svg",
        TEMPLATES,
        title=title,
        width=max(int(match[2]), text_width(title) + 20),
        height=30 + float(match[3]),
        chart_width=match[2],
        chart_height=match[3],
        chart=chart[slice(*match.span(1))],
    )
    path.write_text(drawing, "utf-8")
