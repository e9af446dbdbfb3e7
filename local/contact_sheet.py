"""The contact sheet: every picture of the demo with its label, in one self-contained HTML page.

Keys and labels come from outside, so all of them are escaped; the page has no script and loads nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageOps

THUMBNAIL = 240  # pixels of the longer side

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --muted: #667281; --card: #fff; --ground: #f3f5f7; --line: #dde2e8;
  --right: #1b7f4d; --wrong: #c0392b; --other: #8a6d1a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --muted: #9aa7b4; --card: #1c232b; --ground: #12171c;
  --line: #2c3641; --right: #4cc38a; --wrong: #ff7b6b; --other: #e0b94a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; }
header p { margin: .15rem 0; color: var(--muted); max-width: 70ch; }
ul { list-style: none; margin: 1.5rem 0 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--tone); border-radius: 8px;
  overflow: hidden; display: flex; flex-direction: column; }
li.right { --tone: var(--right); } li.wrong { --tone: var(--wrong); } li.other { --tone: var(--other); }
.frame { height: 170px; background: var(--ground); color: var(--muted); line-height: 170px; text-align: center; }
.frame img { width: 100%; height: 170px; object-fit: contain; display: block; }
.text { padding: .6rem .75rem .75rem; }
.label { font-weight: 650; display: flex; justify-content: space-between; gap: .5rem; }
.label span:last-child { font-variant-numeric: tabular-nums; font-weight: 400; color: var(--muted); }
.verdict { color: var(--tone); font-size: .9rem; }
code { display: block; margin-top: .35rem; font-size: .75rem; color: var(--muted); overflow-wrap: anywhere; }
"""


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
    cards = "\n".join(_card(entry) for entry in entries)
    lines = "\n".join(f"<p>{escape(remark)}</p>" for remark in remarks)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{lines}
</header>
<ul>
{cards}
</ul>
</body>
</html>
""",
        encoding="utf-8",
    )


def _card(entry: Entry) -> str:
    tone = {True: "right", False: "wrong", None: "other"}[entry.right]
    verdict = {
        True: "✓ right",
        False: f"✗ it is {entry.true}",
        None: f"it is {entry.true}" if entry.true else (entry.reason or ""),
    }[entry.right]
    confidence = "" if entry.confidence is None else f"{entry.confidence:.1%}"
    shown = entry.label if entry.status == "LABELLED" else entry.status
    thumbnail = _thumbnail(entry.content)
    picture = f'<img alt="{escape(entry.key)}" src="{thumbnail}">' if thumbnail else "no picture"
    return (
        f'<li class="{tone}"><div class="frame">{picture}</div><div class="text">'
        f'<div class="label"><span>{escape(shown or "")}</span><span>{confidence}</span></div>'
        f'<div class="verdict">{escape(verdict)}</div><code>{escape(entry.key)}</code></div></li>'
    )


def _thumbnail(content: bytes) -> str | None:
    """The picture as a small JPEG in a data URI, or None for what Pillow cannot read."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            small = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
