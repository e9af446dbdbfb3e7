"""Where the steps of labelling run, so that those of one object overlap with those of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from labeller.pipeline import Lane as Threads


class Lane(Protocol):
    """Runs a function elsewhere, and returns or raises what it does."""

    async def __call__(self, function: Any, /, *arguments: Any) -> Any:
        """function(*arguments)."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """One lane for each kind of work."""

    aws: Lane  # waits for the network
    cpu: Lane  # decodes, and asks the network

    @classmethod
    def for_processors(cls, processors: int, in_flight: int) -> Lanes:
        """Lanes in which the processors are all used, and `in_flight` objects may wait for AWS at once.

        A picture has one processor, and there are as many at a time as processors. Two threads of onnxruntime on one
        picture need 14 % more processor time than one each on two (68 % more when idle threads spin, as they do by
        default), measured with VGG16 INT8 at 128 and 224 pixels; only a picture that comes alone takes longer.
        """
        return cls(aws=Threads(in_flight, "aws"), cpu=Threads(processors, "cpu"))
