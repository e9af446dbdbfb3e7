"""bench.json as text, from the template table.txt."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2


def table(part: str, results: Mapping[str, Any]) -> str:
    """The results of one part, or the machine, for a person."""
    template = _template()
    return "".join(template.blocks[part](template.new_context(dict(results)))).strip("\n")


def quartiles(figure: Mapping[str, float], digits: int = 1, width: int = 0) -> str:
    """`12.3 (11.9-13.0)`, right-justified."""
    text = f"{figure['median']:.{digits}f} ({figure['low']:.{digits}f}-{figure['high']:.{digits}f})"
    return text.rjust(width)


def share(value: float | None) -> str:
    """`3.5%`; nothing without a value."""
    return "" if value is None else f"{value:.1%}"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701  # text for a terminal, not HTML
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"quartiles": quartiles, "share": share}
    return environment.get_template("table.txt")
