import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.page import Html, card, element, page


class Parsed(HTMLParser):
    """Start tags with their attributes, and all text, as Python's own parser sees them."""

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


printable = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Cn")), max_size=60)


@given(printable, printable)
def test_whatever_a_text_is_a_browser_reads_it_back_as_text(text: str, value: str) -> None:
    parsed = Parsed(element("p", text, title=value))
    assert parsed.tags == [("p", {"title": value})]
    assert parsed.text == text


def test_elements_nest_and_texts_between_them_are_escaped() -> None:
    got = element("ul", [element("li", "a < b"), "&"], class_="cards", aria_label='"x"', hidden=None)
    assert got == '<ul class="cards" aria-label="&quot;x&quot;"><li>a &lt; b</li>&amp;</ul>'


def test_void_elements_are_not_closed() -> None:
    assert element("img", alt="a", src="data:,") == '<img alt="a" src="data:,">'


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x85", "\u202e", "\u2066", "\ud800", "\uffff"])
def test_characters_that_no_page_may_hold_are_replaced(character: str) -> None:
    got = element("p", f"a{character}b", title=character)
    assert got == '<p title="�">a�b</p>'
    got.encode()


def test_markup_is_lost_as_soon_as_it_is_handled_as_text() -> None:
    # So that Html cannot be made by accident: only `element` and `joined` vouch for it.
    assert not isinstance(element("b", "x") + "<script>", Html)
    assert element("p", element("b", "x") + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_a_page_allows_its_own_style_and_nothing_else() -> None:
    text = page("A & B", element("h1", "A & B"))
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


def test_a_card_without_a_picture_says_so() -> None:
    parsed = Parsed(card("other", None, "UNREADABLE", "", "EMPTY", "a.png"))
    assert "img" not in {name for name, _ in parsed.tags}
    assert "no picture" in parsed.text
