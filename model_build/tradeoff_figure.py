"""figures/tradeoff.png: accuracy on validation against the time of one image, a point a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from model_build.variants import Kind

SIZE = (1200, 720)
LEFT, TOP, RIGHT, BOTTOM = 110, 80, 1160, 630
INK, GRID = "#1b1f24", "#d8dde3"
COLOURS = {
    Kind.FULL: INK,
    Kind.BOTH: "#0b62c4",
    Kind.CHANNELS: "#7a4fbf",
    Kind.RANKS: "#b0306a",
    Kind.PIXELS: "#c2570c",
}


def draw(compression: Mapping[str, Any], path: Path) -> None:
    """Draw the `compression` member of report.json; the folder of `path` is made."""
    networks = compression["networks"]
    full = networks[0]
    times = [each["milliseconds"] / full["milliseconds"] for each in networks]
    shares = [each["validation"]["accuracy"] for each in networks]
    low, high = min(shares) - 0.005, max(shares) + 0.005
    across = _scale(0.0, max(times) * 1.08, LEFT, RIGHT)
    up = _scale(low, high, BOTTOM, TOP)

    picture = Image.new("RGB", SIZE, "white")
    pen, font, title = ImageDraw.Draw(picture), ImageFont.load_default(17), ImageFont.load_default(24)
    pen.text((LEFT, 24), "Less arithmetic: accuracy on validation against time", INK, title)
    for step in range(6):
        value, time = low + (high - low) * step / 5, max(times) * 1.08 * step / 5
        pen.line([(LEFT, up(value)), (RIGHT, up(value))], GRID)
        pen.text((LEFT - 12, up(value)), f"{value:.1%}", INK, font, anchor="rm")
        pen.text((across(time), BOTTOM + 12), f"{time:.2f}", INK, font, anchor="mt")
    pen.line([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], INK)
    caption = "time of one INT8 image, relative to the full network (3x: to take 3 times less)"
    pen.text(((LEFT + RIGHT) / 2, BOTTOM + 44), caption, INK, font, anchor="mt")
    ordered = sorted(zip(times, shares, networks, strict=True), key=lambda each: each[0])
    for number, (time, share, network) in enumerate(ordered):
        shipped = network["name"] == compression["chosen"]
        colour = COLOURS[Kind(network["kind"])]
        x, y = across(time), up(share)
        pen.ellipse([(x - 7, y - 7), (x + 7, y + 7)], colour)
        name = network["name"].replace(" times less", "x").replace(" only", "") + (" (shipped)" if shipped else "")
        below = number % 2  # neighbours write to different sides
        pen.text((x, y + 14 if below else y - 14), name, colour, font, anchor="mt" if below else "mb")
    path.parent.mkdir(exist_ok=True)
    picture.save(path, optimize=True)


def _scale(low: float, high: float, start: float, end: float) -> Any:
    return lambda value: start + (value - low) / (high - low) * (end - start)
