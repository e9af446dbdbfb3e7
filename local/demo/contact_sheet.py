"""The contact sheet: one HTML page with every picture of the demo and its label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.pages import render
from evaluation.thumbnails import THUMBNAIL, thumbnail
from labeller.decoder_process import decode
from labeller.images import Unreadable
from labeller.results import OTHER
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Entry:
    """One uploaded object and its result."""

    key: str
    content: bytes
    true: str | None  # the true label; OTHER: the picture shows none of them; None: the object is no picture
    label: str | None  # None: the results table has no row
    status: str
    confidence: float | None  # 0..1
    reason: str | None
    tag: str | None  # value of the label's tag; None: the object has no such tag

    @property
    def right(self) -> bool | None:
        """Whether the label is the true one; None if there is no label or no true one.

        A picture of none of the labels is right without one.
        """
        if self.true == OTHER:
            return self.status != "LABELLED"
        return None if self.true is None or self.status != "LABELLED" else self.label == self.true

    @property
    def tone(self) -> str:
        """The colour of the entry's card."""
        return {True: "good", False: "bad", None: "other"}[self.right]

    @property
    def verdict(self) -> str:
        """The sentence below the label."""
        likeliest = f"most likely {self.label}; " if self.status in ("UNSURE", "UNKNOWN") else ""
        if self.true == OTHER:
            return f"{'✓' if self.right else '✗'} {likeliest}shows none of the labels"
        if self.right:
            return "✓ right"
        if self.right is False:
            return f"✗ true label: {self.true}"
        return f"{likeliest}true label: {self.true}" if self.true else (self.reason or "")

    @property
    def thumbnail(self) -> str | None:
        """The picture as a data URI; None if it cannot be decoded."""
        try:
            decoded = decode(self.content, (THUMBNAIL, THUMBNAIL), DEFAULT_MAX_IMAGE_PIXELS)
        except Unreadable:
            return None
        return thumbnail(decoded.pixels, decoded.width, decoded.height)


def write(path: Path, title: str, remarks: Sequence[str], entries: Sequence[Entry]) -> None:
    """Write the page to `path`: a heading, remarks (plain text), and a card for each entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render("contact_sheet.html", TEMPLATES, title=title, remarks=remarks, entries=entries)
    path.write_text(page, encoding="utf-8")
