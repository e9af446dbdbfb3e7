import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateNotFound, UndefinedError

from evaluation.pages import TEMPLATES, number, render

PAGE = """{% extends "base.html" %}{% import "parts.html" as parts %}
{% block title %}{{ title }}{% endblock %}
{% block header %}<h1>{{ title }}</h1>{% endblock %}
{% block content %}<main title="{{ title }}">{{ title }}</main>{% endblock %}"""


class Parsed(HTMLParser):
    """Start tags with their attributes, and all text outside of the style, as Python's own parser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    return tmp_path


def part(folder: Path, call: str, **values: object) -> Parsed:
    """A macro of parts.html, called by a template of its own."""
    (folder / "part.html").write_text('{% import "parts.html" as parts %}{{ ' + call + " }}", encoding="utf-8")
    return Parsed(render("part.html", folder, **values))


printable = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(printable)
def test_a_browser_reads_every_text_back_as_text(folder: Path, text: str) -> None:
    parsed = Parsed(render("page.html", folder, title=text))
    assert ("main", {"title": text}) in parsed.tags
    assert [name for name, _ in parsed.tags] == [
        *("html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "header", "h1", "main", "main")
    ]
    assert parsed.text.count(text) >= 3


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x85", "\u202e", "\u2066", "\ud800", "\uffff"])
def test_characters_that_are_not_printable_are_escaped_everywhere(folder: Path, character: str) -> None:
    text = render("page.html", folder, title=f"a{character}b")
    shown = f"a{character.encode('unicode_escape').decode()}b"
    assert f'<main title="{shown}">{shown}</main>' in text
    assert character not in text
    text.encode()


def test_a_page_allows_its_own_style_and_nothing_else(folder: Path) -> None:
    text = render("page.html", folder, title="A & B")
    parsed = Parsed(text)
    (policy,) = (tag["content"] for name, tag in parsed.tags if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "script" not in {name for name, _ in parsed.tags}
    assert "<title>A &amp; B</title>" in text


def test_a_template_whose_value_is_missing_makes_no_page(folder: Path) -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("page.html", folder)


def test_no_file_outside_of_the_template_folders_is_read(folder: Path) -> None:
    (folder / "outside.html").write_text("secret", encoding="utf-8")
    (folder / "inner").mkdir()
    (folder / "inner" / "page.html").write_text('{% include "../outside.html" %}', encoding="utf-8")
    with pytest.raises(TemplateNotFound):
        render("page.html", folder / "inner")


def test_no_template_of_the_project_leaves_a_value_unescaped_or_unquoted() -> None:
    root = TEMPLATES.parents[2]
    templates = [path for room in ("functions", "model_build", "local") for path in (root / room).rglob("*.html")]
    assert len(templates) >= 2
    for path in templates:
        text = path.read_text(encoding="utf-8").replace("<style>{{ style | safe }}</style>", "")
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), f"{path} turns escaping off"
        assert not re.search(r"=\s*\{\{", text), f"{path} has an attribute without quotes"


def test_a_number_that_is_not_known_is_a_dash() -> None:
    assert [number(value, ".1%") for value in (0.9876, None, float("nan"))] == ["98.8%", "–", "–"]
    assert number(12345, ",") == "12,345"


def test_a_card_without_a_picture_says_so(folder: Path) -> None:
    parsed = part(folder, "parts.card('other', none, 'UNREADABLE', '', 'EMPTY', 'a.png')")
    assert "img" not in {name for name, _ in parsed.tags}
    assert "no picture" in parsed.text


def test_a_card_names_its_picture(folder: Path) -> None:
    parsed = part(folder, "parts.card('bad', 'data:,', name, '', '', name)", name='"><script>')
    assert ("img", {"alt": '"><script>', "src": "data:,"}) in parsed.tags
    assert "script" not in {name for name, _ in parsed.tags}


def test_the_first_column_of_a_table_names_its_rows(folder: Path) -> None:
    parsed = part(folder, "parts.table(('label', 'right'), [('<b>', '1')])")
    assert [attributes for name, attributes in parsed.tags if name == "th"] == [
        {"scope": "col"},
        {"scope": "col"},
        {"scope": "row"},
    ]
    assert ("td", {"class": "whole"}) in parsed.tags
    assert parsed.text.split() == ["labelright", "<b>1"]


def test_figures_explain_themselves_where_there_is_an_explanation(folder: Path) -> None:
    parsed = part(folder, "parts.figures([('accuracy', '98%', 'of 100'), ('time', '1 s', '')])")
    assert [name for name, _ in parsed.tags] == ["dl", "div", "dt", "dd", "dd", "div", "dt", "dd"]


@pytest.mark.parametrize("handler", ["classify.app", "score.app"])
def test_jinja2_is_not_part_of_a_cold_start(handler: str) -> None:
    code = f"import sys, {handler}; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=TEMPLATES.parents[1], check=True)
