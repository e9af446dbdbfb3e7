"""Where the steps of labelling run, so that those of one object overlap with those of others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol


class Lane(Protocol):
    """Runs a function elsewhere, and returns or raises what it does."""

    async def __call__(self, function: Any, /, *arguments: Any) -> Any:
        """function(*arguments)."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """One lane for each kind of work."""

    aws: Lane = asyncio.to_thread  # waits for the network
    decode: Lane = asyncio.to_thread  # one processor, and memory for the pixels
    predict: Lane = asyncio.to_thread  # all processors
