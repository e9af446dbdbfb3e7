"""The figures of a model as SVG files, for any labels and any number of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # of our own files
from pathlib import Path

import numpy as np

from model_build.report.figures import write_figures
from model_build.report.report import BuildReport
from tests.model_build.report.example import compression, report

HOSTILE = ("青 🐳", "ᶁ", "$x^{$", "two\nlines\x1b[31m", "𝕏" * 300, "<b>", "כלב", "<script>alert(1)</script>")


def drawn(given: BuildReport, folder: Path) -> dict[str, ET.Element]:
    """The root element of each figure by file name, parsed as XML."""
    write_figures(given, folder)
    return {path.name: ET.fromstring(path.read_text("utf-8")) for path in folder.iterdir()}


def texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def with_labels(labels: tuple[str, ...]) -> BuildReport:
    return report(labels=labels, confusion=(40 * np.eye(len(labels), dtype=int)).tolist())


def test_there_is_a_curve_only_with_compression(tmp_path: Path) -> None:
    assert set(drawn(report(), tmp_path / "new/a")) == {"confusion.svg"}
    assert set(drawn(report(compression=compression()), tmp_path / "new/b")) == {"confusion.svg", "curve.svg"}


def test_counts_and_shares_are_in_the_matrix_with_the_labels(tmp_path: Path) -> None:
    words = texts(drawn(report(), tmp_path)["confusion.svg"])
    assert {"480", "96.0%", "20", "4.0%", "14", "2.8%", "486", "97.2%", "catcat", "dogdog"} <= set(words)  # with titles


def test_every_network_is_named_in_the_curve_and_the_shipped_one_marked(tmp_path: Path) -> None:
    given = compression()
    words = texts(drawn(report(compression=given), tmp_path)["curve.svg"])
    assert "3x faster (shipped)" in words
    assert {network.name for network in given.networks} - {"3x faster"} <= set(words)


def test_labels_of_any_script_are_drawn_and_stay_text(tmp_path: Path) -> None:
    root = drawn(with_labels(HOSTILE), tmp_path)["confusion.svg"]
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    words = " ".join(texts(root))
    for label in ("青 🐳", "ᶁ", "<b>", "כלב", "<script>alert(1)</script>", "𝕏" * 23 + "…"):
        assert label in words
    assert "\x1b" not in words


def test_a_thousand_labels_are_drawn_without_names(tmp_path: Path) -> None:
    root = drawn(with_labels(tuple(f"label {number}" for number in range(1000))), tmp_path)["confusion.svg"]
    assert float(root.attrib["width"]) < 3000
    assert not [word for word in texts(root) if word.startswith("label")]
