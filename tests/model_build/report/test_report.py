"""report.json as text."""

from __future__ import annotations

import json

from model_build.report.report import ACCURACY_ROWS, to_json
from tests.model_build.report.example import report


def test_the_report_has_a_field_a_line_and_labels_in_their_script() -> None:
    text = to_json(report(labels=("写真", "été")))
    assert text.startswith('{\n  "format_version": 4,\n')
    assert text.endswith("\n}\n")
    assert '"写真"' in text
    assert json.loads(text)["labels"] == ["写真", "été"]


def test_an_error_without_a_number_is_null() -> None:
    minmax, entropy = json.loads(to_json(report()))["quantisation"]["candidates"]
    assert (minmax["error"], entropy["error"]) == (0.3083, None)


def test_the_accuracies_have_names_that_say_who_judged() -> None:
    assert ACCURACY_ROWS == {"train": "learnt from", "validation": "cross-validation", "test": "test"}
    assert set(ACCURACY_ROWS) == set(report().accuracy)
