"""One self-contained HTML page: no script, nothing loaded, light and dark, and nothing from outside in it unescaped.

Markup is built from `element`, which escapes every text that is not `Html`, and `Html` comes from `element` alone. So a
name cannot become markup by being forgotten.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL = 200  # pixels of the longer side

_EMPTY_ELEMENTS = frozenset({"br", "img", "meta"})  # HTML's void elements, those that are used
# What XML 1.0 and HTML do not allow in text, lone surrogates, which UTF-8 cannot hold, and the controls that turn the
# direction of text, with which "gpj.exe" reads "exe.jpg".
_NO_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #5b6775; --card: #fff; --ground: #f3f5f7; --line: #dde2e8;
  --good: #1b7f4d; --bad: #b93222; --other: #80610f; --accent: #1f6f8b; --second: #c4572f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --muted: #9aa7b4; --card: #1c232b; --ground: #12171c;
  --line: #2f3a46; --good: #4cc38a; --bad: #ff7b6b; --other: #e0b94a; --accent: #5bb6d3; --second: #f09a76; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
h2 { margin: 0 0 .5rem; font-size: 1.1rem; }
header p, .note { margin: .25rem 0; color: var(--muted); max-width: 75ch; overflow-wrap: anywhere; }
a { color: var(--accent); }
section { margin: 1.25rem 0 0; padding: 1rem 1.25rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.columns { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.columns > section { margin: 0; } .columns { margin-top: 1.25rem; }
.tone-good { --tone: var(--good); } .tone-bad { --tone: var(--bad); } .tone-other { --tone: var(--other); }
.badge { display: inline-block; padding: .1rem .7rem; border-radius: 99px; border: 2px solid var(--tone);
  color: var(--tone); font-weight: 700; letter-spacing: .03em; }
dl.figures { display: grid; gap: .75rem 1.5rem; margin: .5rem 0 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 11rem), 1fr)); }
dl.figures dt { color: var(--muted); font-size: .85rem; } dl.figures div { display: flex; flex-direction: column; }
dl.figures dd { margin: 0; } dl.figures dd.value { font-size: 1.35rem; font-weight: 650; overflow-wrap: anywhere; }
dl.figures dd.more { color: var(--muted); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--muted); font-size: .85rem; padding-top: .4rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
th[scope=row] { color: var(--ink); }
th { overflow-wrap: break-word; max-width: 16rem; } td.whole { white-space: nowrap; }
td code { display: inline-block; min-width: 16ch; }
table.confusion td, table.confusion th { padding: .45rem .9rem; text-align: center; border: 1px solid var(--line); }
table.confusion td { background: color-mix(in srgb, var(--tone) calc(var(--share) * 45%), transparent); }
table.confusion td b { display: block; font-size: 1.1rem; }
table.facts th, table.facts td { text-align: left; vertical-align: top; overflow-wrap: anywhere; }
table.bars { width: 100%; } td.bar { width: 45%; } td.bar svg { width: 100%; height: 1.1rem; display: block; }
figure { margin: 0; } figure > svg { width: 100%; max-width: 36rem; height: auto; display: block; }
figcaption, details { color: var(--muted); font-size: .85rem; }
svg text { fill: var(--muted); font: 13px system-ui, sans-serif; } svg .grid { stroke: var(--line); }
svg .line { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
svg .area { fill: var(--accent); opacity: .18; } svg .mark { fill: var(--accent); }
svg .second.line { fill: none; stroke: var(--second); } svg .second.mark { fill: var(--second); opacity: 1; }
svg .second.area { fill: var(--second); } svg .ideal { stroke: var(--muted); stroke-dasharray: 5 4; fill: none; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; background: var(--accent);
  margin: 0 .4em 0 0; }
.key.second { background: var(--second); }
@media (max-width: 30rem) { body { padding: 1rem .75rem; } section { padding: .75rem .8rem 1rem; }
  th, td { padding-right: .45rem; } table.confusion td, table.confusion th { padding: .4rem .5rem; } }
ul.cards { list-style: none; margin: .75rem 0 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 11.5rem), 1fr)); }
ul.cards > li { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--tone);
  border-radius: 8px; overflow: hidden; display: flex; flex-direction: column; }
.frame { height: 170px; background: var(--ground); color: var(--muted); line-height: 170px; text-align: center; }
.frame img { width: 100%; height: 170px; object-fit: contain; display: block; }
.text { padding: .6rem .75rem .75rem; }
.label { font-weight: 650; display: flex; justify-content: space-between; gap: .5rem; overflow-wrap: anywhere; }
.label span:last-child { flex: none; max-width: 60%; font-variant-numeric: tabular-nums; font-weight: 400;
  color: var(--muted); }
.verdict { color: var(--tone); font-size: .9rem; overflow-wrap: anywhere; }
code { font-size: .8rem; color: var(--muted); overflow-wrap: anywhere; unicode-bidi: isolate; }
.text code { display: block; margin-top: .35rem; }
"""


class Html(str):
    """Markup, made by `element`. Any other text is escaped where it is used."""

    __slots__ = ()


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
    return f"<!doctype html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"


def thumbnail(pixels: NDArray[np.uint8], width: int, height: int) -> str:
    """A picture as a small JPEG in a data URI, from what the network saw of it.

    `pixels` is uint8 [H, W, 3] of images.decode, squashed to the network's shape; `width` and `height` are the
    picture's own, and give it its proportions back.
    """
    longest = max(width, height)
    size = (max(1, round(THUMBNAIL * width / longest)), max(1, round(THUMBNAIL * height / longest)))
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


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
            class_="text",
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
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return escape(_printable(content))
    return "".join(_escaped(each) for each in content)


def _printable(text: str) -> str:
    return _NO_CHARACTERS.sub("�", text)


def _attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
