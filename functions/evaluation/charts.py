"""Charts as inline SVG and tables, each with a title, a description and its figures as text.

This module computes positions; templates/charts.html has the markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import ReliabilityBin
from evaluation.pages import macros, number

if TYPE_CHECKING:
    from markupsafe import Markup

# The drawing area within a viewBox of 480 units: wide enough for the text, 13 units high, to be readable on a phone.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 58, 12, 14, 34

Scale = Callable[[float], float]
"""A value -> its position along an axis."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart. NaN is a gap. `low` and `high` bound a band, such as a confidence interval."""

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A series as SVG paths and points."""

    name: str
    path: str
    marks: list[tuple[float, float]]
    bands: list[str] = field(default_factory=list)
    error_bars: list[str] = field(default_factory=list)


def line_chart(
    title: str,
    description: str,
    names: Sequence[str],
    series: Sequence[Series],
    percent: bool,
    shown: Sequence[float] = (),
) -> Markup:
    """One or two series over `names`, the labels of the horizontal axis (days).

    The vertical axis covers all values and those in `shown`, not 0 to 1: of an accuracy only the top matters.
    """
    height = 230
    values = [part for line in series for part in (line.values, line.low, line.high) if part is not None]
    low, high, ticks = axis_ticks([*shown, *(value for part in values for value in part)], percent)
    across = linear_scale(0, len(names) - 1, _LEFT + 8, _WIDTH - _RIGHT - 8)
    up = linear_scale(low, high, height - _BOTTOM, _TOP)
    spec = ".1%" if percent else ".3g"
    return macros("charts.html").line_chart(
        title,
        description,
        _frame(height),
        grid=[(round(up(tick), 1), tick) for tick in ticks],
        labels=_horizontal_labels(names, across),
        lines=[_line(line, across, up) for line in series],
        spec=spec,
        head=["", *(line.name for line in series)],
        rows=[[name, *(number(line.values[index], spec) for line in series)] for index, name in enumerate(names)],
    )


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Markup:
    """Accuracy against confidence, bin by bin. A bar below the diagonal: the model is overconfident."""
    height = _WIDTH - 110
    across, up = linear_scale(0, 1, _LEFT, _WIDTH - _RIGHT), linear_scale(0, 1, height - _BOTTOM - 12, _TOP)
    filled = [bin_ for bin_ in bins if bin_.count]
    most = max((bin_.count for bin_ in filled), default=1)
    bars = []
    for bin_ in filled:
        top = min(up(bin_.accuracy), up(0) - 2)  # at an accuracy of 0, a thin bar shows that the bin has pictures
        bars.append(
            {
                "bin": bin_,
                "opacity": round(0.25 + 0.65 * math.sqrt(bin_.count / most), 2),
                "x": round(across(bin_.low) + 1, 1),
                "y": round(top, 1),
                "width": round(across(bin_.high) - across(bin_.low) - 2, 1),
                "height": round(up(0) - top, 1),
            }
        )
    ticks = [tick / 5 for tick in range(6)]
    return macros("charts.html").reliability_diagram(
        _frame(height),
        grid=[(round(up(tick), 1), tick) for tick in ticks],
        labels=[(round(across(tick), 1), f"{tick:.0%}", "end" if tick == 1 else "middle") for tick in ticks],
        middle=across(0.5),
        bars=bars,
        diagonal=f"M{across(0):.1f} {up(0):.1f}L{across(1):.1f} {up(1):.1f}",
        rows=[
            (f"{bin_.low:.0%} to {bin_.high:.0%}", bin_.count, f"{bin_.confidence:.1%}", f"{bin_.accuracy:.1%}")
            for bin_ in filled
        ],
    )


def confusion_table(matrix: NDArray[np.int64], labels: Sequence[str]) -> Markup:
    """C[true, predicted] as a table; each cell has its count and its share of the row."""
    totals = matrix.sum(axis=1)
    rows = [
        [(int(count), count / total if total else math.nan, row == column) for column, count in enumerate(counts)]
        for row, (counts, total) in enumerate(zip(matrix, totals, strict=True))
    ]
    return macros("charts.html").confusion_table(labels, list(zip(labels, rows, strict=True)))


def frequent_confusions(matrix: NDArray[np.int64], labels: Sequence[str], most: int) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of the wrong cells of C[true, predicted], the `most` frequent first."""
    wrong = [(labels[i], labels[j], int(matrix[i, j])) for i, j in np.argwhere(matrix) if i != j]
    return sorted(wrong, key=lambda confusion: -confusion[2])[:most]


def bars(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> Markup:
    """Shares (0..1, NaN for a gap) of one or two series side by side, one row for each of `names`."""
    thickness = 20 / len(series)
    rows = []
    for name, *shares in zip(names, *series.values(), strict=True):
        rectangles = [
            (number, round(number * thickness, 1), round(100 * share, 1), round(thickness - 1, 1))
            for number, share in enumerate(shares)
            if not math.isnan(share)
        ]
        rows.append((name, shares, rectangles))
    return macros("charts.html").bars(title, list(series), rows)


def _frame(height: float) -> dict[str, float]:
    return {"width": _WIDTH, "height": height, "left": _LEFT, "right": _WIDTH - _RIGHT}


def _horizontal_labels(names: Sequence[str], across: Scale) -> list[tuple[float, str, str]]:
    """Position, text and anchor of about six of the names, always with the last one."""
    last = len(names) - 1
    step = math.ceil(len(names) / 6)
    return [
        (across(index) + 8, names[index], "end") if 0 < index == last else (across(index), names[index], "middle")
        for index in range(last % step, len(names), step)
    ]


def _line(series: Series, across: Scale, up: Scale) -> _Line:
    path, pen, marks = "", "M", []
    for index, value in enumerate(series.values):
        if math.isnan(value):
            pen = "M"
            continue
        x, y = round(across(index), 1), round(up(value), 1)
        path, pen = f"{path}{pen}{x} {y}", "L"
        marks.append((x, y))
    line = _Line(series.name, path, marks)
    low, high = series.low or (), series.high or ()
    known = [index for index, bounds in enumerate(zip(low, high, strict=True)) if not any(map(math.isnan, bounds))]
    gaps = np.flatnonzero(np.diff(known) > 1) + 1
    for run in np.split(np.array(known, dtype=int), gaps) if known else ():
        if len(run) == 1:
            (index,) = run
            line.error_bars.append(f"M{across(index):.1f} {up(low[index]):.1f}V{up(high[index]):.1f}")
        else:
            edge = [(index, high[index]) for index in run] + [(index, low[index]) for index in reversed(run)]
            line.bands.append(" ".join(f"{across(index):.1f},{up(value):.1f}" for index, value in edge))
    return line


def linear_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Maps the values low..high to the positions start..end."""
    if low == high:  # a single value is drawn in the middle
        return lambda _: (start + end) / 2
    slope = (end - start) / (high - low)
    return lambda value: start + (value - low) * slope


def axis_ticks(values: Sequence[float], percent: bool) -> tuple[float, float, list[float]]:
    """Bounds of an axis that shows all values, and three to six round ticks on it."""
    known = [value for value in values if not math.isnan(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    spread = max(high - low, 0.02 if percent else 1e-3)
    step = 10 ** math.floor(math.log10(spread))
    step = next(size for size in (step / 5, step / 2, step, 2 * step, 5 * step) if spread / size <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    if percent and high <= 1:  # no tick above 100%
        last = min(last, round(1 / step))
        first = min(first, last - 1)
    return first * step, last * step, [tick * step for tick in range(first, last + 1)]
