import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from local.demo.__main__ import write_results
from local.demo.contact_sheet import Entry, write
from local.demo.inputs import DemoInputs
from tests.support import RED, encoded, plain, write_model

HOSTILE = '<img src=x onerror="alert(1)">\'&.jpg'


class Elements(HTMLParser):
    """The start tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def entry(**changes: object) -> Entry:
    members = {
        "key": "a.jpg",
        "content": encoded(plain(RED), "JPEG"),
        "true": "cats",
        "label": "cats",
        "status": "LABELLED",
        "confidence": 0.987,
        "reason": None,
        "tag": "cats",
    }
    return Entry(**{**members, **changes})  # type: ignore[arg-type]


def page_of(tmp_path: Path, *entries: Entry) -> Elements:
    write(tmp_path / "sheet" / "index.html", "Title", ["A remark."], entries)
    return Elements((tmp_path / "sheet" / "index.html").read_text("utf-8"))


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        ({}, "good", ["cats", "98.7%", "✓ right"]),
        ({"label": "dogs"}, "bad", ["dogs", "98.7%", "✗ true label: cats"]),
        (
            {"status": "UNSURE", "label": "dogs", "confidence": 0.55},
            "other",
            ["UNSURE", "55.0%", "most likely dogs; true label: cats"],
        ),
        (
            {"status": "UNKNOWN", "label": "dogs", "confidence": 0.999},
            "other",
            ["UNKNOWN", "most likely dogs; true label: cats"],
        ),
        ({"true": "other", "status": "UNKNOWN"}, "good", ["UNKNOWN", "✓ most likely cats; shows none of the labels"]),
        ({"true": "other"}, "bad", ["cats", "98.7%", "✗ shows none of the labels"]),
        (
            {"true": None, "label": None, "status": "UNREADABLE", "reason": "EMPTY", "confidence": None},
            "other",
            ["UNREADABLE", "EMPTY"],
        ),
    ],
)
def test_each_card_has_label_confidence_and_verdict(
    tmp_path: Path, changes: dict[str, object], tone: str, words: list[str]
) -> None:
    page = page_of(tmp_path, entry(**changes))
    assert [attributes["class"] for tag, attributes in page.tags if tag == "li"] == [f"tone-{tone}"]
    for word in words:
        assert word in page.text


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, entry(key=HOSTILE, label=HOSTILE, true=HOSTILE))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    assert set(images[0]) == {"alt", "src"}
    assert images[0]["alt"] == HOSTILE
    assert page.text.count(HOSTILE) == 2  # as label and as key; the label is right, so the true one is not repeated


def test_the_page_has_no_script_and_loads_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, entry())
    assert "script" not in {tag for tag, _ in page.tags}
    sources = [
        value or "" for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert sources
    assert all(re.match(r"data:image/jpeg;base64,[A-Za-z0-9+/]+=*$", source) for source in sources)


def test_an_object_that_cannot_be_decoded_has_a_card_without_a_picture(tmp_path: Path) -> None:
    page = page_of(tmp_path, entry(content=b"text", status="UNREADABLE"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert "no picture" in page.text


def test_the_demos_page_writes_thousands_with_a_comma(tmp_path: Path) -> None:
    report = {"accuracy": {"test": {"int8": {"accuracy": 0.977, "images": 1000}}}}
    model = write_model(tmp_path / "model")
    (model / "report.json").write_text(json.dumps(report), "utf-8")
    write_results(tmp_path, [entry()], DemoInputs("", "", 0, "photographs"), model)
    page = Elements((tmp_path / "index.html").read_text("utf-8"))
    assert "Model colour-1: 97.7% of 1,000 test pictures right." in page.text
