"""The contact sheet: every picture of the demo with its label, in one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.page import Html, card, element, page
from evaluation.thumbnails import THUMBNAIL, thumbnail
from labeller.images import Unreadable, decode
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS


@dataclass(frozen=True, slots=True)
class Entry:
    """One uploaded object and what came of it."""

    key: str
    content: bytes
    true: str | None  # None: there is no true label, the object is no picture
    label: str | None  # None: it has no row
    status: str
    confidence: float | None  # 0..1
    reason: str | None
    tag: str | None  # value of the label's tag; None: it has none

    @property
    def right(self) -> bool | None:
        """Whether the label is the true one; None where there is none to compare."""
        return None if self.true is None or self.status != "LABELLED" else self.label == self.true


def write(path: Path, title: str, remarks: Sequence[str], entries: Sequence[Entry]) -> None:
    """Write the page: a heading, some remarks (plain text), and a card an entry."""
    header = element("header", element("h1", title), [element("p", remark) for remark in remarks])
    cards = element("ul", [_card(entry) for entry in entries], class_="cards")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, header, cards), encoding="utf-8")


def _card(entry: Entry) -> Html:
    unsure = f"most likely {entry.label}; " if entry.status == "UNSURE" else ""
    verdict = {
        True: "✓ right",
        False: f"✗ it is {entry.true}",
        None: f"{unsure}it is {entry.true}" if entry.true else (entry.reason or ""),
    }[entry.right]
    return card(
        tone={True: "good", False: "bad", None: "other"}[entry.right],
        picture=_thumbnail(entry.content),
        label=(entry.label if entry.status == "LABELLED" else entry.status) or "",
        aside="" if entry.confidence is None else f"{entry.confidence:.1%}",
        verdict=verdict,
        name=entry.key,
    )


def _thumbnail(content: bytes) -> str | None:
    """The picture in small, or None for what cannot be decoded."""
    try:
        decoded = decode(content, (THUMBNAIL, THUMBNAIL), DEFAULT_MAX_IMAGE_PIXELS)
    except Unreadable:
        return None
    return thumbnail(decoded.pixels, decoded.width, decoded.height)
