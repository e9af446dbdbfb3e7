"""Charts, read by an XML parser: hand-computed positions, and the same figures as text."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evaluation import charts
from evaluation.metrics import reliability_curve

HOSTILE = '<img src=x onerror="alert(1)">'


def parse(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<all>{markup}</all>")


def texts(root: ElementTree.Element, path: str) -> list[str]:
    return ["".join(element.itertext()) for element in root.iterfind(path)]


def test_every_chart_has_a_title_a_description_and_a_table() -> None:
    chart = charts.line_chart("Accuracy", "The last nights.", ["a", "b"], [charts.Series("accuracy", [0.9, 0.8])], True)
    for root in (parse(chart), parse(charts.reliability_diagram(reliability_curve([0.9, 0.8], [True, False])))):
        (svg,) = root.iterfind(".//svg")
        assert svg.get("role") == "img"
        assert svg.findtext("title")
        assert svg.findtext("desc")
        assert root.find(".//details//table") is not None


def test_a_line_goes_through_its_values_and_leaves_gaps() -> None:
    series = [charts.Series("accuracy", [0.9, 0.8, math.nan, 0.7])]
    root = parse(charts.line_chart("t", "d", ["a", "b", "c", "d"], series, percent=True))
    marks = [(float(element.get("cx", "")), float(element.get("cy", ""))) for element in root.iterfind(".//circle")]
    assert len(marks) == 3
    # From 70% at the bottom (196) to 90% at the top (14); four names over 66 to 460.
    assert marks == [(66.0, 14.0), (197.3, 105.0), (460.0, 196.0)]
    (line,) = (element.get("d") for element in root.iterfind(".//path[@class='line']"))
    assert line == "M66.0 14.0L197.3 105.0M460.0 196.0"
    assert texts(root, ".//details//td") == ["90.0%", "80.0%", "–", "70.0%"]


def test_a_band_leaves_the_same_gaps_and_becomes_a_bar_beside_gaps() -> None:
    middle, low, high = ([value, value, math.nan, value] for value in (0.8, 0.7, 0.9))
    root = parse(charts.line_chart("t", "d", ["a", "b", "c", "d"], [charts.Series("s", middle, low, high)], True))
    (band,) = (element.get("points") for element in root.iterfind(".//polygon"))
    assert band == "66.0,14.0 197.3,14.0 197.3,196.0 66.0,196.0"
    assert [element.get("d") for element in root.iterfind(".//path[@opacity]")] == ["M460.0 196.0V14.0"]


def test_two_series_have_different_styles_and_names() -> None:
    series = [charts.Series("training", [2.0, 1.0]), charts.Series("validation", [3.0, 2.0])]
    root = parse(charts.line_chart("Loss", "d", ["1", "2"], series, percent=False))
    assert {element.get("class") for element in root.iterfind(".//circle")} == {"mark", "second mark"}
    assert "training" in "".join(root.itertext())
    assert "validation" in "".join(root.itertext())


values = st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=40)


@given(values, st.booleans())
def test_nothing_is_drawn_outside_the_chart(series: list[float], percent: bool) -> None:
    names = [str(index) for index in range(len(series))]
    root = parse(charts.line_chart("t", "d", names, [charts.Series("s", series, series, series)], percent))
    for mark in root.iterfind(".//circle"):
        assert 0 <= float(mark.get("cx", "")) <= 480
        assert 0 <= float(mark.get("cy", "")) <= 230
    assert len(list(root.iterfind(".//circle"))) == sum(not math.isnan(value) for value in series)


def test_a_bar_of_the_reliability_diagram_is_as_high_as_its_accuracy() -> None:
    curve = reliability_curve([0.95] * 4, [True, True, True, False], bins=10)
    root = parse(charts.reliability_diagram(curve))
    (bar,) = root.iterfind(".//rect")
    # The axis runs from 324 up to 14: 310 units, of which 75%.
    assert float(bar.get("height", "")) == pytest.approx(0.75 * 310, abs=0.1)
    assert texts(root, ".//details//td") == ["4", "95.0%", "75.0%"]


def test_a_bin_with_an_accuracy_of_zero_is_visible() -> None:
    root = parse(charts.reliability_diagram(reliability_curve([0.95] * 4, [False] * 4, bins=10)))
    (bar,) = root.iterfind(".//rect")
    assert float(bar.get("height", "")) == 2
    assert float(bar.get("y", "")) + 2 == 324  # on the axis


def test_the_bar_of_the_bin_with_most_pictures_is_the_darkest() -> None:
    curve = reliability_curve([0.55] * 4 + [0.95] * 16, [True] * 20, bins=10)
    root = parse(charts.reliability_diagram(curve))
    # 0.25 + 0.65 of the square root of the share: 4 of 16 is a half.
    assert [element.get("opacity") for element in root.iterfind(".//rect")] == ["0.57", "0.9"]


def test_the_last_name_of_the_confidence_axis_ends_at_the_edge() -> None:
    root = parse(charts.reliability_diagram(reliability_curve([0.95], [True], bins=10)))
    anchors = {text.text: text.get("text-anchor") for text in root.iterfind(".//svg/text") if text.get("y") == "342"}
    assert anchors == {
        "0%": "middle",
        "20%": "middle",
        "40%": "middle",
        "60%": "middle",
        "80%": "middle",
        "100%": "end",
    }


def test_an_axis_covers_the_values_in_shown() -> None:
    chart = charts.line_chart("t", "d", ["a"], [charts.Series("index", [0.0])], percent=False, shown=(0, 0.25))
    assert texts(parse(chart), ".//svg/text")[:-1] == ["0", "0.1", "0.2", "0.3"]


def test_a_confusion_matrix_names_rows_and_columns_with_counts_and_shares() -> None:
    root = parse(charts.confusion_table(np.array([[3, 1], [0, 0]]), ["cats", HOSTILE]))
    assert texts(root, ".//th[@scope='row']") == ["cats", HOSTILE]
    assert texts(root, ".//th[@scope='col']")[1:] == ["cats", HOSTILE]
    assert texts(root, ".//td") == ["375.0%", "125.0%", "0–", "0–"]
    assert [element.get("class") for element in root.iterfind(".//td")] == [
        "tone-good",
        "tone-bad",
        "tone-bad",
        "tone-good",
    ]


def test_bars_are_as_long_as_their_shares() -> None:
    root = parse(charts.bars("share", ["cats", "dogs"], {"test set": [0.5, 0.25], "uploads": [0.1, math.nan]}))
    assert [element.get("width") for element in root.iterfind(".//rect")] == ["50.0", "10.0", "25.0"]
    assert texts(root, ".//td")[:2] == ["50.0%", "10.0%"]
    assert "–" in texts(root, ".//td")


@given(values)
@example([1.0])
@example([0.0])
def test_no_tick_of_a_percent_axis_is_above_100(series: list[float]) -> None:
    chart = charts.line_chart("t", "d", [""] * len(series), [charts.Series("s", series)], percent=True)
    ticks = [float(text[:-1]) for text in texts(parse(chart), ".//svg/text") if text]
    assert len(ticks) >= 2
    assert 0 <= min(ticks) < max(ticks) <= 100
