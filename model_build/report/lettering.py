"""Labels in figures. A label may be in any script, and a font holds some: what no font here can draw is written as an
escape, \\u9752, and never as an empty box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from matplotlib.font_manager import FontEntry, findfont, fontManager, get_font

from model_build.data.folders import printable

FAMILY = "DejaVu Sans"
"""What matplotlib brings along and draws in, where it is not told otherwise."""

LONGEST = 24
"""Characters of a label; the rest is cut off, for a figure has room for little more."""


def lettering(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels as they can be drawn, and the families of fonts to draw them in, the first that has a character."""
    short = [_shortened(printable(label)) for label in labels]
    missing = {ord(each) for label in short for each in label} - _characters(findfont(FAMILY))
    families = [FAMILY]
    for entry in _others() if missing else ():
        if found := missing & _characters(entry.fname):
            families.append(entry.name)
            missing -= found
    return ["".join(_escaped(each) if ord(each) in missing else each for each in label) for label in short], families


def _others() -> Iterator[FontEntry]:
    """Upright fonts of this machine in the order of their names. Not those that have a box for every character there
    is, nor those of coloured pictures, which matplotlib leaves blank."""
    usable: Iterable[FontEntry] = (
        entry
        for entry in fontManager.ttflist
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular", "book")
        and not entry.name.startswith("Last Resort")
        and "emoji" not in entry.name.lower()
    )
    yield from sorted(usable, key=lambda entry: (entry.name, entry.fname))


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # listed by an earlier start and gone, or of a kind that cannot be drawn
        return frozenset()


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()
