"""What every section of the model card is made of: sections, tables, and figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.page import Content, Html, element

Report = Mapping[str, Any]
"""report.json; `model_build.report.report` says what is in it."""


def section(title: str, *content: Content) -> Html:
    """A part of the page under its heading."""
    return element("section", element("h2", title), *content)


def note(*content: Content) -> Html:
    """A paragraph beside figures."""
    return element("p", *content, class_="note")


def table(head: Sequence[str], rows: Iterable[Sequence[Content]], *, whole: bool = True) -> Html:
    """A table whose first column names the rows. `whole`: cells stay on one line, and the page scrolls what is wide."""
    kind = "whole" if whole else None
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell, class_=kind) for cell in row[1:]])
        for row in rows
    ]
    top = element("tr", [element("th", each, scope="col") for each in head])
    return element("div", element("table", top, body), class_="scroll")


def columns(*content: Content) -> Html:
    """Side by side where the page is wide enough."""
    return element("div", *content, class_="columns")


def interval(scores: Mapping[str, Any]) -> str:
    """The 95 % interval of an accuracy."""
    low, high = scores["interval"]
    return f"{low:.1%} to {high:.1%}"


def megabytes(size: float) -> str:
    """A number of bytes."""
    return f"{size / 1e6:.1f} MB"
