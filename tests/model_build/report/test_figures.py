"""The figures of a build, whatever its labels are called and however many there are."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from model_build.report import lettering as module
from model_build.report.figures import draw_confusion, draw_training
from model_build.report.lettering import FAMILY, lettering

HOSTILE = ("青 🐳", "ᶁ", "$x^{$", "two\nlines\x1b[31m", "𝕏" * 300, "<b>", "كلب")


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_others", lambda: iter(()))


def test_a_label_that_no_font_can_draw_is_an_escape(no_other_fonts: None) -> None:
    # U+9752 is the character for blue, U+1F433 the whale; DejaVu Sans has neither.
    assert lettering(["青 🐳", "café"]) == ([r"\u9752 \U0001f433", "café"], [FAMILY])


def test_a_font_of_this_machine_that_has_the_characters_is_taken() -> None:
    letter = "ᶁ"  # U+1D81, in STIXGeneral, which matplotlib brings along, and not in its default
    assert ord(letter) not in get_font(findfont(FAMILY)).get_charmap()
    names, families = lettering([letter])
    assert names == [letter]
    assert any(ord(letter) in get_font(findfont(family)).get_charmap() for family in families)


def test_a_long_label_is_cut_and_a_terminals_orders_are_escaped() -> None:
    (name, red), _ = lettering(["x" * 300, "a\x1b[31m"])
    assert name == "x" * 23 + "…"
    assert red == r"a\x1b[31m"


@pytest.mark.parametrize("fonts", ["of this machine", "no others"])
def test_labels_of_any_script_are_drawn_without_a_missing_glyph(
    fonts: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if fonts == "no others":
        request.getfixturevalue("no_other_fonts")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(len(HOSTILE), dtype=int), HOSTILE, tmp_path / "new" / "confusion.png")
    assert (tmp_path / "new" / "confusion.png").is_file()


def test_a_thousand_labels_fit_on_a_page(tmp_path: Path) -> None:
    draw_confusion(np.eye(1000, dtype=int), [f"label {n}" for n in range(1000)], tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as drawn:
        assert max(drawn.size) < 3000


def test_a_single_epoch_is_drawn(tmp_path: Path) -> None:
    history = {name: [0.5] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    draw_training(history, 1, tmp_path / "training.png")
    with Image.open(tmp_path / "training.png") as drawn:
        assert drawn.width > 1000
