"""Both networks against the thorough one, on pictures whose answers are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.glance import compare
from bench.table import table
from labeller.classifier import load_classifier
from tests.support import RED, YELLOW, write_glance_model


def test_it_counts_what_is_answered_at_a_glance_and_otherwise(tmp_path: Path) -> None:
    classifier = load_classifier(write_glance_model(tmp_path), threads=1)
    pixels = [np.full((1, 8, 8, 3), colour, np.uint8) for colour in (RED, RED, RED, YELLOW)]

    results = compare(classifier, pixels, rounds=3)

    # The thorough network takes red for blue; yellow is unfamiliar, so that it answers that as well.
    assert (results["answered_at_a_glance"], results["likeliest_changed"]) == (0.75, 3)
    assert results["milliseconds"]["both"]["rounds"] == 3
    assert "75.0% are answered at a glance, 3 get another likeliest label" in table("glance", results)


def test_the_full_network_takes_turns_if_there_is_one(tmp_path: Path) -> None:
    classifier = load_classifier(write_glance_model(tmp_path), threads=1)
    pixels = [np.full((1, 8, 8, 3), RED, np.uint8)]
    seen: list[str] = []

    with_full = compare(classifier, pixels, rounds=3, full=[lambda: seen.append("full")])

    assert len(seen) == 3
    assert with_full["times_full"]["rounds"] == 3
    assert "the full VGG16 at 224 px takes" in table("glance", with_full)
    assert "VGG16" not in table("glance", compare(classifier, pixels, rounds=3))
