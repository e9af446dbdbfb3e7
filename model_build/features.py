"""Stage 4: what the frozen base says of every picture. It never changes, so it is run once per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from labeller.images import Unreadable
from model_build.dataset import DataError, Example
from model_build.export import IMAGE
from model_build.pictures import CORES, batches
from model_build.progress import bar


@dataclass(frozen=True, slots=True)
class Features:
    """Outputs of a graph for the readable examples of one split.

    `values` is float32 [n, ...], `labels` int64 [n], both in the order of `examples`.
    """

    examples: tuple[Example, ...]
    values: np.ndarray
    labels: np.ndarray


def open_session(path: Path) -> ort.InferenceSession:
    """An onnxruntime session on all cores of this process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def extract(
    session: ort.InferenceSession,
    examples: Sequence[Example],
    image_size: int,
    batch: int,
    unreadable: dict[Example, Unreadable],
) -> Features:
    """Run a graph over the examples' pictures, showing progress.

    Pictures that cannot be read are left out and noted in `unreadable`; DataError if none of a label is left.
    """
    kept: list[Example] = []
    values: list[np.ndarray] = []
    ticks = iter(bar(examples, "images"))
    for part, pixels in batches(examples, image_size, batch, unreadable):
        values.append(session.run(None, {IMAGE: pixels})[0])
        kept += part
        for _ in part:
            next(ticks)
    next(ticks, None)
    for label in {example.label for example in examples} - {example.label for example in kept}:
        folder = next(example.path.parent for example in examples if example.label == label)
        raise DataError(f"none of the files in {folder} is a picture that can be read")
    return Features(tuple(kept), np.concatenate(values), np.array([example.label for example in kept]))
