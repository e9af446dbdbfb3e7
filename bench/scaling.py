"""How to use the processors: one image in several threads, or several images in one thread each.

    python -m bench.scaling

The finished model runs on the same images in each way, in turn. The result decides how the handler uses its processors.
Processor time includes what spinning threads cost.
"""

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.sources import run_part
from bench.timing import SPINNING, ratio, spread, take_turns, timed
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME

IMAGES = 8
REFERENCE = "one image at a time, 1 thread"


def measure(model: Path, side: int, threads: int, rounds: int) -> dict[str, Any]:
    """The part `scaling` of bench.json."""
    pixels = np.random.default_rng(7).integers(0, 256, (IMAGES, side, side, 3), np.uint8)
    contenders = {name: partial(timed, way, SPINNING) for name, way in ways(model, pixels, threads).items()}
    timings = take_turns(contenders, rounds)
    wall = {name: [1000 * timing.seconds / IMAGES for timing in timings[name]] for name in contenders}
    cpu = {name: [1000 * timing.cpu_seconds / IMAGES for timing in timings[name]] for name in contenders}
    return {
        "threads": threads,
        "side": side,
        "ways": {
            name: {
                "milliseconds": spread(wall[name]),
                "cpu_milliseconds": spread(cpu[name]),
                "rate": ratio(wall[REFERENCE], wall[name]),
            }
            for name in contenders
        },
    }


def ways(model: Path, pixels: NDArray[np.uint8], threads: int) -> Mapping[str, Callable[[], object]]:
    """Ways to run the network on all pictures, by name."""
    content = (model / MODEL_FILE).read_bytes()
    single, several = session(content, 1), session(content, threads)
    sleeping = session(content, threads, spin=False)
    without_arena = session(content, 1, arena=False)
    images = [picture[np.newaxis] for picture in pixels]
    pool = ThreadPoolExecutor(threads)

    def run(network: onnxruntime.InferenceSession, batch: NDArray[np.uint8]) -> object:
        return network.run([OUTPUT_NAME], {INPUT_NAME: batch})

    def one_by_one(network: onnxruntime.InferenceSession) -> object:
        return [run(network, image) for image in images]

    return {
        REFERENCE: partial(one_by_one, single),
        f"one image at a time, {threads} threads": partial(one_by_one, several),
        f"one image at a time, {threads} threads that do not spin": partial(one_by_one, sleeping),
        f"{threads} images at a time, 1 thread each": lambda: list(pool.map(partial(run, single), images)),
        "the same without the memory arena": lambda: list(pool.map(partial(run, without_arena), images)),
        f"a batch of {len(pixels)}, {threads} threads": partial(run, several, pixels),
    }


def session(content: bytes, threads: int, spin: bool = True, arena: bool = True) -> onnxruntime.InferenceSession:
    """The model with some of onnxruntime's options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena = arena
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    sys.exit(
        run_part(
            "scaling", lambda sources, _: measure(sources.model, sources.side, sources.threads, sources.round_count(14))
        )
    )
