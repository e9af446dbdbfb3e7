"""Decoding at reduced size against decoding in full, picture by picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench import decoding
from bench.table import table
from labeller.classifier import load_classifier
from tests.support import BLUE, RED, encoded, photo_like, plain, write_model

REDDISH = Image.blend(photo_like(400, 300), plain(RED, 400, 300), 0.5)
LARGE = [encoded(picture, "JPEG") for picture in (plain(RED, 400, 300), plain(BLUE, 400, 300), REDDISH)]


def test_pictures_that_reduction_does_not_change_keep_their_labels(tmp_path: Path):
    results = decoding.compare(load_classifier(write_model(tmp_path), 1), LARGE)
    assert (results["photographs"], results["likeliest_changed"], results["side"]) == (3, 0, 8)
    assert results["answers_changed"] == 0
    assert results["largest_difference"] < 0.05
    assert results["cpu_milliseconds"]["reduced"]["rounds"] == 2  # the first warms up
    assert "Decoding 3 JPEGs" in table("decoding", results)


def test_a_changed_label_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "in_full", lambda data, size: decoding.reduced(data, size)[..., ::-1])  # red for blue
    results = decoding.compare(load_classifier(write_model(tmp_path), 1), LARGE[:2])
    assert (results["likeliest_changed"], results["answers_changed"]) == (2, 2)
    assert results["largest_difference"] == pytest.approx(1, abs=1e-3)


def test_a_likeliest_label_that_changes_below_the_threshold_is_not_another_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load_classifier(write_model(tmp_path, confidence_threshold=1.0, temperature=10.0), 1)
    monkeypatch.setattr(decoding, "in_full", lambda data, size: decoding.reduced(data, size)[..., ::-1])
    results = decoding.compare(model, LARGE[:2])
    assert (results["likeliest_changed"], results["answers_changed"]) == (2, 0)
