"""What the page shows and what may be said about it, whether the pictures are uploads or files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 1280  # pixels of the longer side of a picture on the page, at most


class NotFound(Exception):
    """The page asks for something that does not exist, or no longer."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to look at."""

    id: str
    name: str
    label: str | None  # what the model says, or the folder
    status: str
    confidence: float | None
    scores: Sequence[tuple[str, float]]  # the highest first
    details: Sequence[tuple[str, str]]  # name and value of what else is known
    human_label: str | None = None
    nearest: Sequence[tuple[str, str]] = ()  # training pictures to show: path, and what to say of it


@dataclass(frozen=True, slots=True)
class Queue:
    """A list of pictures that is worth a look."""

    name: str
    title: str


class Opened(Protocol):
    """A queue as it was when it was opened."""

    @property
    def total(self) -> int:
        """The number of entries; some of them may turn out to need no look."""

    async def items(self, after: int, limit: int) -> tuple[list[Item], int]:
        """Up to `limit` items from position `after` on, and the position behind them."""

    def figures(self) -> str:
        """What the answers so far say about the queue, in a line; "" if nothing."""

    def note(self, item_id: str, label: str | None) -> None:
        """Take an answer into the figures; None withdraws it."""


class Desk(Protocol):
    """Pictures, and what becomes of the answers. Its methods raise AwsFailure, OSError and NotFound."""

    @property
    def title(self) -> str:
        """What is reviewed."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels, in the order of the keys."""

    @property
    def model(self) -> str:
        """The version of the model that says why."""

    @property
    def days(self) -> Sequence[str]:
        """The days that a queue may be limited to; empty if the pictures have none."""

    def queues(self) -> Sequence[Queue]:
        """All queues, the first one to begin with."""

    async def open(self, queue: str, day: str) -> Opened:
        """Open a queue, of one day or, with "", of all."""

    async def picture(self, item_id: str) -> bytes:
        """The picture as JPEG. Raises also Unreadable."""

    async def why(self, item_id: str, label: str) -> bytes:
        """What speaks for the label: a PNG to lay over the picture. Raises also Unreadable and ModelError."""

    async def training_picture(self, path: str) -> bytes:
        """A training picture as small JPEG. Raises also Unreadable."""

    async def answer(self, item_id: str, label: str, queue: str) -> Mapping[str, Any]:
        """Take an answer; {"answer": ..., "at": ...}."""

    async def undo(self, item_id: str, at: str) -> Mapping[str, Any]:
        """Take back the answer given at `at`."""


def display_size(width: int, height: int) -> tuple[int, int]:
    """Height and width on the page, of a picture of this size. Raises ValueError if it has none."""
    if min(width, height) < 1:
        raise ValueError(f"no picture has {width} x {height} pixels")
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def as_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of decoded pixels, uint8 [H, W, 3]: nothing else of an uploaded file reaches the browser."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
