"""Self-contained HTML pages from Jinja2 templates: no script, nothing loaded, every text escaped.

A page is a template that extends base.html; parts.html has what pages share. base.html's policy allows the one
stylesheet, by its hash, and pictures in data URIs.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

# What XML 1.0 and HTML do not allow in text; lone surrogates, which UTF-8 cannot hold; and the controls that turn the
# direction of text, with which "gpj.exe" reads "exe.jpg".
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def render(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """The page of a template in `folder`, which may extend base.html. Raises UndefinedError for a missing value.

    Texts among `values` are escaped; a character that no page may hold becomes U+FFFD, wherever it comes from.
    """
    return _FORBIDDEN.sub("\ufffd", _environment(folder).get_template(template).render(values))


def macros(template: str, folder: Path = TEMPLATES) -> Any:
    """The macros of a template in `folder`. They return Markup: escaped, but a page alone replaces characters."""
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
