"""The same picture twice in a data set. In two splits it makes the accuracy look better than it is; under two labels
one of the two is wrong; within a label and split it only counts twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from labeller.images import Unreadable, decode
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.data.folders import content_of

NAMED = 3  # pairs that an error names; the rest it counts


def groups(contents: Iterable[tuple[Path, str]]) -> list[Sequence[Path]]:
    """The files that hold the same picture, at least two in a group; `contents` are files and their SHA-256.

    Files that are no pictures may be the same: they are left out of the data for what they are.
    """
    by_content: dict[str, list[Path]] = {}
    for path, sha256 in contents:
        by_content.setdefault(sha256, []).append(path)
    return [paths for paths in by_content.values() if len(paths) > 1 and _is_picture(paths[0])]


def named(pairs: Sequence[tuple[str, str]]) -> str:
    """The pairs of names as an error lists them."""
    text = "; ".join(f"{one} and {other}" for one, other in pairs[:NAMED])
    return text if len(pairs) <= NAMED else f"{text}; and {len(pairs) - NAMED} more such pairs"


def _is_picture(path: Path) -> bool:
    try:
        decode(content_of(path), (8, 8), DEFAULT_MAX_IMAGE_PIXELS)
    except (Unreadable, OSError):
        return False
    return True
