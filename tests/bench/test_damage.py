"""Damaged JPEGs are counted by their answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import damage
from bench.table import table
from labeller.classifier import load_classifier
from tests.support import BLUE, RED, encoded, plain, write_model


def test_answers_to_damaged_jpegs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    red, blue = (encoded(plain(colour, 64, 64), "JPEG") for colour in (RED, BLUE))
    damages = {"none": bytes, "another picture": lambda data: blue, "no picture": lambda data: b"text"}
    monkeypatch.setattr(damage, "DAMAGES", damages)

    results = damage.compare(load_classifier(write_model(tmp_path), 1), [red, encoded(plain(RED))])

    assert results["photographs"] == 1  # the PNG is left out
    assert results["damages"] == {
        "none": {"unreadable": 0, "labelled": 1, "wrong": 0},
        "another picture": {"unreadable": 0, "labelled": 1, "wrong": 1},
        "no picture": {"unreadable": 1, "labelled": 0, "wrong": 0},
    }
    assert "another picture" in table("damage", results)


@pytest.mark.parametrize("name", damage.DAMAGES)
def test_every_damage_changes_a_jpeg(name: str) -> None:
    data = encoded(plain(RED, 400, 400), "JPEG") + b"\n"
    data = data[:-3] + b"\n" * 400 + data[-3:-1]

    assert damage.DAMAGES[name](data) != data
