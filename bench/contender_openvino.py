"""OpenVINO: the FP32 network, and the same quantised by its own quantiser, NNCF. Run by bench.inference in
.venv-bench."""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from bench.worker import Infer, inference_commands, serve


def infer_with(model: ov.Model, threads: int, **properties: str) -> Infer:
    """Compiled for each batch size that comes, as one would for a fixed load: a free batch is slower here."""
    core = ov.Core()

    @cache
    def compiled(batch: int) -> Any:
        fixed = model.clone()
        fixed.reshape([batch, *[size.get_length() for size in list(model.input(0).partial_shape)[1:]]])
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **properties}
        return core.compile_model(fixed, "CPU", options).create_infer_request()

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(compiled(len(pixels)).infer({0: pixels})[0])

    return infer


def main() -> None:
    """Serve."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    network = ov.Core().read_model(Path(given["onnx"]))
    pictures = np.load(given["calibration"])
    start = time.perf_counter()
    quantised = nncf.quantize(
        network.clone(), nncf.Dataset([picture[np.newaxis] for picture in pictures]), subset_size=len(pictures)
    )
    seconds = time.perf_counter() - start
    contenders = {
        # Where the processor has bfloat16, OpenVINO would use it unasked.
        "OpenVINO FP32": infer_with(network, given["threads"], INFERENCE_PRECISION_HINT="f32"),
        "OpenVINO INT8": infer_with(quantised, given["threads"]),
    }
    commands = inference_commands(contenders, np.load(given["pixels"]))
    versions = {"openvino": ov.__version__.partition("-")[0], "nncf": nncf.__version__}
    serve(commands | {"versions": lambda: versions, "quantisation_seconds": lambda: seconds})


if __name__ == "__main__":
    main()
