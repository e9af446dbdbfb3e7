"""onnxruntime: the FP32 network, and the finished model as it is loaded in production. Run by bench.inference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.worker import Contenders, Infer
from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME


def load(arguments: Mapping[str, Any]) -> Contenders:
    """Both networks."""
    networks = {"onnxruntime FP32": Path(arguments["onnx"]), "this project": Path(arguments["model"]) / MODEL_FILE}
    infer = {name: infer_with(path, arguments["threads"]) for name, path in networks.items()}
    return Contenders(infer, {"versions": {"onnxruntime": onnxruntime.__version__}})


def infer_with(path: Path, threads: int) -> Infer:
    """The network in the file, run as the functions run it."""
    session = open_session(path.read_bytes(), path, threads)

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: pixels})[0], np.float32)

    return infer
