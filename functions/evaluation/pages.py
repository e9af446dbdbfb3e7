"""Self-contained HTML pages from Jinja2 templates: no script, nothing loaded, every text escaped.

A page is a template that extends base.html; parts.html has what pages share. base.html's policy allows the one
stylesheet, by its hash, and pictures in data URIs.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeller.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """The page of a template in `folder`, which may extend base.html. Raises UndefinedError for a missing value.

    Texts among `values` are escaped, and so is every character of the page that is not printable.
    """
    return printable(_environment(folder).get_template(template).render(values), keep="\n")


def macros(template: str, folder: Path = TEMPLATES) -> Any:
    """The macros of a template in `folder`. They return Markup: escaped, but only `render` makes it printable."""
    return _environment(folder).get_template(template).module


def number(value: float | None, specification: str) -> str:
    """`value` as format() writes it; a dash for None and NaN. In templates: {{ accuracy | number(".1%") }}."""
    return "–" if value is None or math.isnan(value) else format(value, specification)


@cache
def _environment(folder: Path) -> Environment:
    # Imported here: the import takes a sixth of score's cold start, and only a finished night renders pages.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["style"] = style
    environment.globals["style_hash"] = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment
