"""Stage 3: the frozen base in INT8. Static, per channel, QDQ, calibrated on training images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_build.export import IMAGE
from model_build.replacing import telling_a_full_disk


class _Batches(CalibrationDataReader):
    """Feeds onnxruntime's calibrator."""

    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = ({IMAGE: pixels} for pixels in batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None after the last."""
        return next(self._feeds, None)


def quantize(fp32: Path, int8: Path, batches: Iterable[np.ndarray]) -> None:
    """Write `fp32`, a graph image -> features, as INT8.

    `batches` are uint8 [n, S, S, 3] RGB: the training images whose activations set the ranges (MinMax).
    Weights get 7 of the 8 bits (`reduce_range`): on x86 without VNNI two products of 8-bit operands saturate
    the 16-bit sum of VPMADDUBSW (255 * 127 * 2 > 32,767), with 7-bit weights they cannot, so every CPU
    computes the same. Activations are unsigned, since nearly all come from a ReLU.
    """
    full = telling_a_full_disk(int8.parent, fp32.stat().st_size)
    with tempfile.TemporaryDirectory(dir=int8.parent) as folder, full:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(int8),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
