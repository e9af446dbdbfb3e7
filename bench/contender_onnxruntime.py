"""onnxruntime: the FP32 network, and the finished model as it is loaded in production. Run by bench.inference."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.worker import Infer, inference_commands, serve
from labeller.classifier import open_session
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME


def infer_with(path: Path, threads: int) -> Infer:
    """The network in the file, run as the functions run it."""
    session = open_session(path.read_bytes(), path, threads)

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        (logits,) = session.run([OUTPUT_NAME], {INPUT_NAME: pixels})
        return np.asarray(logits, np.float32)

    return infer


def main() -> None:
    """Serve."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    contenders = {
        "onnxruntime FP32": infer_with(Path(given["onnx"]), given["threads"]),
        "this project": infer_with(Path(given["model"]) / MODEL_FILE, given["threads"]),
    }
    commands = inference_commands(contenders, np.load(given["pixels"]))
    serve(commands | {"versions": lambda: {"onnxruntime": onnxruntime.__version__}})


if __name__ == "__main__":
    main()
