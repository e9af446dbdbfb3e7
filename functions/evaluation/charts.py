"""Charts as inline SVG and tables, each with a title, a description, and its figures as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import ReliabilityBin
from evaluation.page import Html, element, joined

# The drawing area within a viewBox of 480 units; text of 13 units stays readable on a telephone.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 58, 12, 14, 34

Scale = Callable[[float], float]
"""A value -> its place on an axis."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart. NaN: no value there. `low` and `high` draw a band, such as an interval."""

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def line_chart(
    title: str,
    description: str,
    names: Sequence[str],
    series: Sequence[Series],
    percent: bool,
    shown: Sequence[float] = (),
) -> Html:
    """Up to two series over `names`, the texts under the horizontal axis (days, epochs). Values in percent or as such.

    The vertical axis covers the values there are, and those in `shown`; not 0 to 1: of an accuracy only the top is of
    interest.
    """
    low, high, ticks = _axis([*shown, *(value for each in series for part in _parts(each) for value in part)], percent)
    height = 230
    across = _scale(0, len(names) - 1, _LEFT + 8, _WIDTH - _RIGHT - 8)
    up = _scale(low, high, height - _BOTTOM, _TOP)
    text = [_say(percent, tick) for tick in ticks]
    drawing = [_horizontal(up, tick, label) for tick, label in zip(ticks, text, strict=True)]
    every = math.ceil(len(names) / 6)
    for index in range((len(names) - 1) % every, len(names), every):  # the last one always
        anchor = "end" if len(names) > 1 and index == len(names) - 1 else "middle"
        x = across(index) + (8 if anchor == "end" else 0)
        drawing.append(element("text", names[index], x=x, y=height - 10, text_anchor=anchor))
    for number, each in enumerate(series):
        drawing += _line(each, across, up, "second " if number else "")
    rows = [(name, *(_say(percent, each.values[index]) for each in series)) for index, name in enumerate(names)]
    table = _as_table(("", *(each.name for each in series)), rows)
    return _figure(title, description, height, drawing, [each.name for each in series], table)


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Html:
    """Accuracy against confidence, bin by bin. On the diagonal the model is as right as it is sure; below it, less."""
    height = _WIDTH - 110
    across, up = _scale(0, 1, _LEFT, _WIDTH - _RIGHT), _scale(0, 1, height - _BOTTOM - 12, _TOP)
    filled = [each for each in bins if each.count]
    drawing = [_horizontal(up, tick / 5, f"{tick * 20}%") for tick in range(6)]
    for tick in range(6):
        drawing.append(
            element(
                "text", f"{tick * 20}%", x=across(tick / 5), y=height - 28, text_anchor="end" if tick == 5 else "middle"
            )
        )
    drawing.append(element("text", "confidence", x=across(0.5), y=height - 8, text_anchor="middle"))
    most = max((each.count for each in filled), default=1)
    for each in filled:
        left, right = across(each.low) + 1, across(each.high) - 1
        top = min(up(each.accuracy), up(0) - 2)  # where none is right, a trace of a bar: there are pictures
        # Faint where few pictures stand behind the bar.
        drawing.append(
            element(
                "rect",
                element("title", f"{each.count} pictures: {each.confidence:.1%} confident, {each.accuracy:.1%} right"),
                class_="mark",
                opacity=round(0.25 + 0.65 * math.sqrt(each.count / most), 2),
                x=_short(left),
                y=_short(top),
                width=_short(right - left),
                height=_short(up(0) - top),
            )
        )
    diagonal = f"M{_short(across(0))} {_short(up(0))}L{_short(across(1))} {_short(up(1))}"
    drawing.append(element("path", class_="ideal", d=diagonal))
    rows = [
        (f"{each.low:.0%} to {each.high:.0%}", str(each.count), f"{each.confidence:.1%}", f"{each.accuracy:.1%}")
        for each in filled
    ]
    table = _as_table(("confidence", "pictures", "mean confidence", "right"), rows)
    description = (
        "Height of a bar: share of the pictures that are right, among those answered with that confidence. "
        "On the dashed line the model is as right as it is sure; bars below it: too sure. Faint bars: few pictures."
    )
    return _figure("Is it right as often as it says?", description, height, drawing, [], table)


def confusion_table(matrix: NDArray[np.int64], labels: Sequence[str]) -> Html:
    """C[true][predicted] as a table; each cell says its count and its share of the row."""
    totals = matrix.sum(axis=1)
    head = element(
        "tr", element("th", "is \\ was given", scope="col"), [element("th", each, scope="col") for each in labels]
    )
    rows = [
        element(
            "tr",
            element("th", labels[row], scope="row"),
            [_confusion_cell(int(count), int(totals[row]), row == column) for column, count in enumerate(matrix[row])],
        )
        for row in range(len(labels))
    ]
    caption = (
        "A row: all pictures that show this label. A column: all pictures that were given that label. The diagonal "
        "is what was right; percentages are of the row."
    )
    return _scrolling(element("table", element("caption", caption), head, rows, class_="confusion"))


def bars(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> Html:
    """Shares (0..1, NaN for none) of up to two series side by side, one row for each of `names`."""
    head = element(
        "tr",
        element("th", title, scope="col"),
        [element("th", each, scope="col") for each in series],
        element("th", "", scope="col"),
    )
    rows = []
    for index, name in enumerate(names):
        values = [each[index] for each in series.values()]
        thick = 20 / len(values)
        drawn = [
            element(
                "rect",
                class_="second mark" if number else "mark",
                x=0,
                y=_short(number * thick),
                width=_short(100 * value),
                height=_short(thick - 1),
            )
            for number, value in enumerate(values)
            if not math.isnan(value)
        ]
        picture = element("svg", drawn, viewBox="0 0 100 20", preserveAspectRatio="none", aria_hidden="true")
        cells = [element("td", _say(True, value)) for value in values]
        rows.append(element("tr", element("th", name, scope="row"), cells, element("td", picture, class_="bar")))
    return joined(_scrolling(element("table", head, rows, class_="bars")), _legend(list(series)))


def _confusion_cell(count: int, total: int, right: bool) -> Html:
    share = count / total if total else 0.0
    return element(
        "td",
        element("b", str(count)),
        f"{share:.1%}" if total else "–",
        class_="tone-good" if right else "tone-bad",
        style=f"--share: {share:.3f}",
    )


def _figure(
    title: str, description: str, height: float, drawing: Sequence[Html], names: Sequence[str], table: Html
) -> Html:
    picture = element(
        "svg",
        element("title", title),
        element("desc", description),
        drawing,
        viewBox=f"0 0 {_WIDTH} {height:g}",
        role="img",
        aria_label=f"{title} {description}",
    )
    figures = element("details", element("summary", "The figures"), _scrolling(table))
    caption = element("figcaption", _legend(names), description)
    return element("figure", picture, caption, figures)


def _legend(names: Sequence[str]) -> Html:
    if len(names) < 2:
        return joined()
    keys = [
        element("span", element("span", "", class_="second key" if number else "key"), name, "  ")
        for number, name in enumerate(names)
    ]
    return element("div", keys, class_="note")


def _line(series: Series, across: Scale, up: Scale, prefix: str) -> list[Html]:
    drawn = [_band(run, series, across, up, prefix) for run in _runs(series)]
    path, pen = "", "M"
    for index, value in enumerate(series.values):
        if math.isnan(value):
            pen = "M"  # a gap: that night brought nothing
            continue
        path, pen = f"{path}{pen}{_short(across(index))} {_short(up(value))}", "L"
        mark = {"cx": _short(across(index)), "cy": _short(up(value)), "r": 3.0}
        drawn.append(element("circle", class_=f"{prefix}mark", **mark))
    return [element("path", class_=f"{prefix}line", d=path), *drawn] if path else drawn


def _runs(series: Series) -> list[list[int]]:
    """Indices of the values that have both bounds, in runs without a gap."""
    runs: list[list[int]] = []
    for index, (low, high) in enumerate(zip(series.low or (), series.high or (), strict=True)):
        if math.isnan(low) or math.isnan(high):
            continue
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _band(run: Sequence[int], series: Series, across: Scale, up: Scale, prefix: str) -> Html:
    """Between the bounds of a run; of a single value, an error bar."""
    low, high = series.low or (), series.high or ()
    if len(run) == 1:
        path = f"M{_short(across(run[0]))} {_short(up(low[run[0]]))}V{_short(up(high[run[0]]))}"
        return element("path", class_=f"{prefix}line", opacity=0.4, d=path)
    edge = [(i, high[i]) for i in run] + [(i, low[i]) for i in reversed(run)]
    points = " ".join(f"{_short(across(i))},{_short(up(value))}" for i, value in edge)
    return element("polygon", class_=f"{prefix}area", points=points)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    if low == high:  # one value: in the middle
        return lambda _: (start + end) / 2
    slope = (end - start) / (high - low)
    return lambda value: start + (value - low) * slope


def _horizontal(up: Scale, value: float, label: str) -> Html:
    y = _short(up(value))
    line = element("path", class_="grid", d=f"M{_LEFT} {y}H{_WIDTH - _RIGHT}")
    return joined(line, element("text", label, x=_LEFT - 6, y=y + 4, text_anchor="end"))


def _axis(values: Sequence[float], percent: bool) -> tuple[float, float, list[float]]:
    """Ends of an axis that shows all values, and three to six round ticks on it."""
    known = [value for value in values if not math.isnan(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    spread = max(high - low, 0.02 if percent else 1e-3)
    step = 10 ** math.floor(math.log10(spread))
    step = next(size for size in (step / 5, step / 2, step, 2 * step, 5 * step) if spread / size <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    if percent and high <= 1:  # no tick above 100 %
        last = min(last, round(1 / step))
        first = min(first, last - 1)
    return first * step, last * step, [tick * step for tick in range(first, last + 1)]


def _parts(series: Series) -> list[Sequence[float]]:
    return [part for part in (series.values, series.low, series.high) if part is not None]


def _as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    return element(
        "table",
        element("tr", [element("th", each, scope="col") for each in head]),
        [element("tr", element("th", row[0], scope="row"), [element("td", each) for each in row[1:]]) for row in rows],
    )


def _scrolling(table: Html) -> Html:
    return element("div", table, class_="scroll")


def _say(percent: bool, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1%}" if percent else f"{value:.3g}"


def _short(value: float) -> float:
    return round(value, 1)
