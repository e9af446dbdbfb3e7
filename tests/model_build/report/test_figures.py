"""The figures of a model as SVG files, for any labels and any number of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # of our own files
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_build.report.figures import write_figures
from model_build.report.report import BuildReport
from tests.model_build.report.example import familiarity, report, search

HOSTILE = ("青 🐳", "ᶁ", "$x^{$", "two\nlines\x1b[31m", "𝕏" * 300, "<b>", "כלב", "<script>alert(1)</script>")


def drawn(given: BuildReport, folder: Path) -> dict[str, ET.Element]:
    """The root element of each figure by file name, parsed as XML."""
    write_figures(given, folder)
    return {path.name: ET.fromstring(path.read_text("utf-8")) for path in folder.iterdir()}


def texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def with_labels(labels: tuple[str, ...]) -> BuildReport:
    return report(labels=labels, confusion=(40 * np.eye(len(labels), dtype=int)).tolist())


def test_the_tradeoff_is_drawn_only_if_networks_were_compared(tmp_path: Path) -> None:
    assert set(drawn(report(), tmp_path / "new/a")) == {"confusion.svg", "roc.svg"}
    assert set(drawn(report(search=search()), tmp_path / "new/b")) == {"confusion.svg", "roc.svg", "tradeoff.svg"}


def test_the_roc_curve_has_a_point_at_the_shipped_threshold(tmp_path: Path) -> None:
    root = drawn(report(), tmp_path)["roc.svg"]
    (point,) = [circle.attrib for circle in root.iter("{http://www.w3.org/2000/svg}circle")]
    # 30 of 1,000 test pictures are UNKNOWN. Between (0.01, 0.9) and (0.03, 0.98), 0.97 lies at 0.0275. Both axes are
    # 0.1 long, 300 units, and start at 64 from the left and at 316 from the top.
    assert float(point["cx"]) == pytest.approx(64 + 3000 * 0.0275, abs=0.1)
    assert float(point["cy"]) == pytest.approx(316 - 3000 * 0.07, abs=0.1)
    assert "destroyed copies (200): 0.991" in texts(root)
    assert {"0.0%", "10.0%", "90.0%", "100.0%"} <= set(texts(root))


def test_the_axes_are_long_enough_for_strangers_that_are_familiar(tmp_path: Path) -> None:
    curve = report().familiarity.curves[0]
    bad = replace(curve, strangers="other/ (test)", points=[(0.0, 0.0), (0.6, 0.97), (1.0, 1.0)])
    root = drawn(report(familiarity=familiarity(curves=[curve, bad])), tmp_path)["roc.svg"]
    points = [circle.attrib for circle in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert [float(point["cx"]) for point in points] == pytest.approx([64 + 300 * 0.0275, 64 + 300 * 0.6], abs=0.1)
    assert len({point["fill"] for point in points}) == 2


def test_counts_and_shares_are_in_the_matrix_with_the_labels(tmp_path: Path) -> None:
    words = texts(drawn(report(), tmp_path)["confusion.svg"])
    assert {"480", "96.0%", "20", "4.0%", "14", "2.8%", "486", "97.2%", "catcat", "dogdog"} <= set(words)  # with titles


def test_the_cells_are_squares_behind_the_longest_name_under_the_title(tmp_path: Path) -> None:
    root = drawn(with_labels(("cat", "青🐳dog")), tmp_path)["confusion.svg"]
    assert texts(root)[0] == "INT8 on 1000 test pictures: true label (rows), predicted label (columns)"
    cells = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "mark"]
    # 20 beside the widest name: two characters of 13, three of 8.
    assert [float(cell["x"]) for cell in cells] == [70, 130, 70, 130]
    assert {(float(cell["width"]), float(cell["height"])) for cell in cells} == {(60, 60)}


def test_wide_letters_have_room(tmp_path: Path) -> None:
    root = drawn(with_labels(("cat", "MW" * 6, "A" * 12)), tmp_path)["confusion.svg"]
    cells = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "mark"]
    assert min(float(cell["x"]) for cell in cells) == 20 + 12 * 13


def test_letters_of_all_scripts_are_drawn_as_themselves(tmp_path: Path) -> None:
    assert {"猫猫", "كلبكلب"} <= set(texts(drawn(with_labels(("猫", "كلب")), tmp_path)["confusion.svg"]))  # with titles


def test_every_network_is_a_point_in_the_colour_of_its_size_and_the_shipped_one_is_marked(tmp_path: Path) -> None:
    root = drawn(report(search=search()), tmp_path)["tradeoff.svg"]
    words = texts(root)
    assert words.count("3x (shipped)") == 1
    assert sorted(word for word in words if word in {"full", "2x", "3x", "6x"}) == [
        "2x",
        "3x",
        "6x",
        "6x",
        "full",
        "full",
    ]
    assert {"224 px", "320 px"} <= set(words)
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len({circle.attrib["fill"] for circle in circles}) == 2
    by_name = {circle[0].text.split(":")[0]: circle.attrib for circle in circles}  # type: ignore[union-attr]
    assert float(by_name["224 px, full"]["cy"]) < float(by_name["320 px, full"]["cy"])  # a higher loss is further up
    assert float(by_name["224 px, full"]["cx"]) < float(by_name["320 px, full"]["cx"])


def test_the_frontier_joins_the_networks_than_which_none_is_faster_and_better(tmp_path: Path) -> None:
    root = drawn(report(search=search()), tmp_path)["tradeoff.svg"]
    (path,) = [one.attrib["d"] for one in root.iter("{http://www.w3.org/2000/svg}path") if one.get("class") == "ideal"]
    assert len(re.findall("[ML]", path)) == 6  # all but 224 px, full


def test_a_single_network_is_drawn_too(tmp_path: Path) -> None:
    given = search()
    one = replace(given, networks=given.networks[:1], chosen=given.networks[0].name)
    assert "6x (shipped)" in texts(drawn(report(search=one), tmp_path)["tradeoff.svg"])


def test_labels_of_any_script_are_drawn_and_stay_text(tmp_path: Path) -> None:
    root = drawn(with_labels(HOSTILE), tmp_path)["confusion.svg"]
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    words = " ".join(texts(root))
    for label in ("青 🐳", "ᶁ", "<b>", "כלב", "<script>alert(1)</script>", "𝕏" * 23 + "…"):
        assert label in words
    assert "\x1b" not in words


def test_the_cells_of_many_labels_are_side_by_side(tmp_path: Path) -> None:
    root = drawn(with_labels(tuple(map(str, range(100)))), tmp_path)["confusion.svg"]
    cells = [one.attrib for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "mark"]
    assert [(cell["x"], cell["width"]) for cell in cells[:3]] == [("20.0", "4.8"), ("24.8", "4.8"), ("29.6", "4.8")]


def test_a_thousand_labels_are_drawn_without_names(tmp_path: Path) -> None:
    root = drawn(with_labels(tuple(f"label {number}" for number in range(1000))), tmp_path)["confusion.svg"]
    assert float(root.attrib["width"]) < 3000
    assert not [word for word in texts(root) if word.startswith("label")]
