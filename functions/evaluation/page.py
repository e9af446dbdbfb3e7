"""One self-contained HTML page: no script, nothing loaded, light and dark, and nothing from outside in it unescaped.

Markup is built from `element`, which escapes every text that is not `Html`, and `Html` comes from `element` alone. So a
name cannot become markup by being forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from evaluation.pages import TEMPLATES

_EMPTY_ELEMENTS = frozenset({"br", "img", "meta"})  # HTML's void elements, those that are used
# What XML 1.0 and HTML do not allow in text, lone surrogates, which UTF-8 cannot hold, and the controls that turn the
# direction of text, with which "gpj.exe" reads "exe.jpg".
_NO_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")


class Html(str):
    """Markup, made by `element`. Any other text is escaped where it is used."""

    __slots__ = ()

    def __html__(self) -> str:
        """So that Jinja2 does not escape it."""
        return self


Content: TypeAlias = "str | Iterable[Content]"  # a text, an Html, or several of them


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Html:
    """The element <name>; texts among `content` and the values of `attributes` are escaped.

    An attribute that is a word of Python's ends in "_" (class_), "_" within a name stands for "-" (aria_label), and
    None leaves it out. `name` and the attributes' names are the program's own, never from outside.
    """
    given = "".join(
        f' {_attribute_name(key)}="{escape(_printable(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY_ELEMENTS:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Html:
    """Several elements or texts one after the other, texts escaped."""
    return Html("".join(_escaped(each) for each in content))


def page(title: str, *body: Content) -> str:
    """The text of a whole HTML page. Its policy lets it run no script and load nothing, whatever `body` holds."""
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(_STYLE)}'; style-src-attr 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = (
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(_STYLE)),  # in CSS "&gt;" would not be ">"
    )
    text = f"<!doctype html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"
    return _printable(text)  # charts come as finished markup


def card(tone: str, picture: str | None, label: str, aside: str, verdict: str, name: str) -> Html:
    """A list item for ul.cards: a picture (data URI, None for none), its label, what to think of it, and its name.

    `tone` is good, bad or other.
    """
    image = element("img", alt=name, src=picture) if picture else "no picture"
    return element(
        "li",
        element("div", image, class_="frame"),
        element(
            "div",
            element("div", element("span", label), element("span", aside), class_="label"),
            element("div", verdict, class_="verdict"),
            element("code", name),
            class_="card-text",
        ),
        class_=f"tone-{tone}",
    )


def figures(*entries: tuple[str, str, str]) -> Html:
    """A list of figures: what it is, its value, and what more there is to say ("" for nothing)."""
    return element(
        "dl",
        [
            element(
                "div",
                element("dt", name),
                element("dd", value, class_="value"),
                element("dd", more, class_="more") if more else "",
            )
            for name, value, more in entries
        ],
        class_="figures",
    )


def _escaped(content: Content) -> str:
    if hasattr(content, "__html__"):  # Html, and Jinja2's Markup
        return str(content)
    if isinstance(content, str):
        return escape(_printable(content))
    return "".join(_escaped(each) for each in content)


def _printable(text: str) -> str:
    return _NO_CHARACTERS.sub("�", text)


def _attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
