"""The figures of `python -m ops.capacity` as Markdown: renders scale.md.jinja and writes it into a page."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_sections(figures: dict[str, Any]) -> dict[str, str]:
    """The tables by name, in the order of printing; their columns are aligned, so that they can be read as text."""
    # Markdown, and from figures of our own: there is nothing to escape.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined)  # noqa: S701
    environment.filters |= {"f": format, "dictsum": lambda dollars: sum(dollars.values())}
    template = environment.get_template("scale.md.jinja")
    context = template.new_context(figures)
    return {name: "\n".join(_aligned("".join(block(context)))) for name, block in template.blocks.items()}


def write_into(page: Path, sections: dict[str, str]) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->`, for each name. ValueError if one is missing."""
    text = page.read_text(encoding="utf-8")
    for name, section in sections.items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->")
        if not opening or not closing:
            raise ValueError(f"{page} has no <!-- {name} --> ... <!-- /{name} -->")
        text = before + opening + section + "\n" + closing + after
    page.write_text(text, encoding="utf-8")


def _aligned(text: str) -> Iterator[str]:
    """The lines of a Markdown text, the columns of its tables padded to one width."""
    for is_table, lines in groupby(text.strip().splitlines(), lambda line: line.startswith("|")):
        if not is_table:
            yield from lines
            continue
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        right = [rule.endswith(":") for rule in rows[1]]
        widths = [max(map(len, column)) for column in zip(rows[0], *rows[2:], strict=True)]
        rows[1] = ["-" * (width - r) + ":" * r for width, r in zip(widths, right, strict=True)]
        for row in rows:
            cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
            yield f"| {' | '.join(cells)} |"
