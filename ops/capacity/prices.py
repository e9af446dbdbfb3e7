"""AWS's prices: prices.json is the one file that holds them, with their date and sources."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per unit, by the price's name in the file."""

    region: str
    looked_up: str  # ISO date
    check: str  # what to check before relying on them
    unit_prices: Mapping[str, float]

    def of(self, name: str, quantity: float) -> float:
        """Dollars for `quantity` of `name`. KeyError if the file has no such price."""
        return self.unit_prices[name] * quantity


@cache
def load_prices() -> Prices:
    """The prices of prices.json."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    unit_prices = {name: price["price"] / price["per"] for name, price in content["prices"].items()}
    return Prices(content["region"], content["looked_up"], content["check"], unit_prices)
