"""Stage 4: what the frozen base says of every picture. It never changes, so it is run once per picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from labeller.images import Unreadable
from model_build.dataset import DataError, Example
from model_build.export import IMAGE
from model_build.pictures import CORES, PictureReader
from model_build.progress import counting


@dataclass(frozen=True, slots=True)
class Features:
    """Outputs of a graph for the readable examples of one split.

    `values` is float32 [n, ...], `labels` int64 [n], both in the order of `examples`. `unreadable` holds those
    that were left out.
    """

    examples: tuple[Example, ...]
    values: np.ndarray
    labels: np.ndarray
    unreadable: Mapping[Example, Unreadable] = field(default_factory=dict)


def open_session(path: Path) -> ort.InferenceSession:
    """An onnxruntime session on all cores of this process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def extract(session: ort.InferenceSession, examples: Sequence[Example], image_size: int, batch: int) -> Features:
    """Run a graph over the examples' pictures, showing progress. DataError if no picture of a label can be read."""
    kept: list[Example] = []
    values: list[np.ndarray] = []
    reader = PictureReader(examples, image_size)
    with counting(len(examples), "images") as advance:
        for part, pixels in reader.batches(batch):
            values.append(session.run(None, {IMAGE: pixels})[0])
            kept += part
            advance(len(part))
    for label in {example.label for example in examples} - {example.label for example in kept}:
        folder = next(example.path.parent for example in examples if example.label == label)
        raise DataError(f"none of the files in {folder} is a picture that can be read")
    labels = np.array([example.label for example in kept])
    return Features(tuple(kept), np.concatenate(values), labels, reader.unreadable)
