"""What AWS asks for things: ops/capacity/prices.json, the one file that holds prices, with its date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for one of each thing, by its name in the file, and where and when that was so."""

    region: str
    looked_up: str  # ISO date
    check: str  # what the reader must do before trusting them
    each: dict[str, float]

    def of(self, name: str, quantity: float) -> float:
        """What `quantity` of `name` costs, in dollars. KeyError where the file has no such price."""
        return self.each[name] * quantity


@cache
def load_prices(path: Path = FILE) -> Prices:
    """The prices in the file `path`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    each = {name: entry["price"] / entry["per"] for name, entry in content["prices"].items()}
    return Prices(content["region"], content["looked_up"], content["check"], each)
