"""The stages of a cold start, one after the other in a fresh process: prints {stage: milliseconds} as JSON.

Run from the function's folder by the runtime's Python, which has its layers but not this package: imports nothing else.
"""

import gc
import json
import os
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run and time the stages."""
    state: dict[str, Any] = {}
    milliseconds: dict[str, float] = {}
    for name, stage in STAGES.items():
        gc.disable()  # as the function does; its import ends that
        start = time.perf_counter()
        stage(state)
        milliseconds[name] = 1000 * (time.perf_counter() - start)
    print(json.dumps(milliseconds))


def _import_onnxruntime(state: dict[str, Any]) -> None:
    import numpy  # noqa: F401
    import onnxruntime  # noqa: F401


def _import_libraries(state: dict[str, Any]) -> None:
    import aws_lambda_powertools  # noqa: F401
    import botocore.session  # noqa: F401
    import PIL.Image  # noqa: F401


def _import_function(state: dict[str, Any]) -> None:
    from classify import app  # noqa: F401


def _make_clients(state: dict[str, Any]) -> None:
    from labeller.settings import Settings
    from labeller.storage import connect

    state["settings"] = settings = Settings.from_env(os.environ)
    connect(settings.results_table, settings.event_bus)


def _load_model(state: dict[str, Any]) -> None:
    from labeller.classifier import open_classifier

    state["classifier"] = open_classifier(state["settings"].model_dir, threads=1)


def _check_model(state: dict[str, Any]) -> None:
    state["classifier"].check_itself()


STAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "import onnxruntime, numpy": _import_onnxruntime,
    "import Powertools, botocore, Pillow": _import_libraries,
    "import the function": _import_function,
    "AWS clients": _make_clients,
    "model": _load_model,
    "self-check": _check_model,
}

if __name__ == "__main__":
    main()
