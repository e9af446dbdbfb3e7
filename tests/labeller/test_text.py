from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeller.text import json_line, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("写真/ねこ é ق.jpg", "写真/ねこ é ق.jpg"),
        ("red\x1b[31m", r"red\x1b[31m"),
        ("two\nlines", r"two\nlines"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("half \ud800", r"half \ud800"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("", ""),
    ],
)
def test_only_characters_that_cannot_be_printed_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_characters_to_keep_are_kept() -> None:
    assert printable("a\n\x00b", keep="\n") == "a\n\\x00b"


@given(st.text())
def test_a_printable_text_can_be_printed_and_encoded(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


@given(st.text())
def test_a_line_of_json_is_one_printable_line_with_the_same_content(text: str) -> None:
    line = json_line({"key": text})

    assert line.isprintable()
    assert json.loads(line) == {"key": text}


def test_letters_of_all_scripts_stay_legible_in_json() -> None:
    assert "写真/ねこ.jpg" in json_line({"key": "写真/ねこ.jpg"})


def test_json_is_compact_and_writes_other_types_as_text() -> None:
    assert json_line({"day": date(2026, 11, 24), "counts": [1, 2]}) == '{"day":"2026-11-24","counts":[1,2]}'
