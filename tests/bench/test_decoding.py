"""Decoding at reduced size is compared with decoding in full, picture by picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench import decoding
from bench.table import decoding_table
from labeller.classifier import load_classifier
from tests.support import BLUE, RED, encoded, photo_like, plain, write_model

REDDISH = Image.blend(photo_like(400, 300), plain(RED, 400, 300), 0.5)
LARGE = [encoded(picture, "JPEG") for picture in (plain(RED, 400, 300), plain(BLUE, 400, 300), REDDISH)]


def test_pictures_that_reduction_leaves_alone_change_no_label(tmp_path: Path):
    found = decoding.compare(load_classifier(write_model(tmp_path), 1), LARGE)
    assert (found["photographs"], found["likeliest_changed"], found["side"]) == (3, 0, 8)
    assert found["answers_changed"] == 0
    assert found["largest_difference"] < 0.05
    assert found["cpu_milliseconds"]["reduced"]["rounds"] == 2  # the first warms up
    assert "Decoding 3 JPEGs" in decoding_table(found)


def test_a_label_that_changes_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "in_full", lambda data, size: decoding.reduced(data, size)[..., ::-1])  # red for blue
    found = decoding.compare(load_classifier(write_model(tmp_path), 1), LARGE[:2])
    assert (found["likeliest_changed"], found["answers_changed"]) == (2, 2)
    assert found["largest_difference"] == pytest.approx(1, abs=1e-3)


def test_a_likeliest_label_that_changes_where_neither_is_given_is_no_other_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = load_classifier(write_model(tmp_path, confidence_threshold=1.0, temperature=10.0), 1)
    monkeypatch.setattr(decoding, "in_full", lambda data, size: decoding.reduced(data, size)[..., ::-1])
    found = decoding.compare(model, LARGE[:2])
    assert (found["likeliest_changed"], found["answers_changed"]) == (2, 0)
