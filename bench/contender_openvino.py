"""OpenVINO: the FP32 network, and the same quantised by its own NNCF. Run by bench.inference in .venv-bench."""

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from bench.worker import Contenders, Infer


def load(arguments: Mapping[str, Any]) -> Contenders:
    """Both networks; the quantised one is calibrated on the pictures that this project's quantisation uses."""
    network = ov.Core().read_model(Path(arguments["onnx"]))
    pictures, threads = np.load(arguments["calibration"]), arguments["threads"]
    start = time.perf_counter()
    quantised = nncf.quantize(
        network.clone(), nncf.Dataset([picture[np.newaxis] for picture in pictures]), subset_size=len(pictures)
    )
    seconds = time.perf_counter() - start
    infer = {
        # On a processor with bfloat16, OpenVINO uses it by default.
        "OpenVINO FP32": infer_with(network, threads, INFERENCE_PRECISION_HINT="f32"),
        "OpenVINO INT8": infer_with(quantised, threads),
    }
    versions = {"openvino": ov.__version__.partition("-")[0], "nncf": nncf.__version__}
    return Contenders(infer, {"versions": versions, "quantisation_seconds": seconds})


def infer_with(model: ov.Model, threads: int, **properties: str) -> Infer:
    """The model compiled for each batch size, as for a fixed load: a dynamic batch size is slower here."""
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
