"""How the processors are used best: one image in several threads, or several images in one thread each.

    python -m bench.scaling [--model build/model] [--quick] [--json FILE]

The finished model, the same images in each way, in turn. It decides how the handler uses its processors (see
classify.app). Processor time tells what spinning threads cost the work beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench.sources import BenchError, add_options, read
from bench.spread import ratio, spread, turns
from bench.table import scaling_table
from labeller.manifest import INPUT_NAME, MODEL_FILE, OUTPUT_NAME, ModelError

IMAGES = 8
REFERENCE = "one image at a time, 1 thread"


def session(content: bytes, threads: int, **entries: str) -> onnxruntime.InferenceSession:
    """The model with some of onnxruntime's configuration entries set."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def ways(model: Path, pixels: NDArray[np.uint8], threads: int) -> Mapping[str, Callable[[], object]]:
    """Ways to infer all of the pictures, by name."""
    content = (model / MODEL_FILE).read_bytes()
    single, several = session(content, 1), session(content, threads)
    sleeping = session(content, threads, **{"session.intra_op.allow_spinning": "0"})
    no_arena = onnxruntime.SessionOptions()
    no_arena.intra_op_num_threads, no_arena.inter_op_num_threads, no_arena.enable_cpu_mem_arena = 1, 1, False
    without = onnxruntime.InferenceSession(content, no_arena, providers=["CPUExecutionProvider"])
    images = [picture[np.newaxis] for picture in pixels]
    pool = ThreadPoolExecutor(threads)

    def run(network: onnxruntime.InferenceSession, batch: NDArray[np.uint8]) -> object:
        return network.run([OUTPUT_NAME], {INPUT_NAME: batch})

    def each(network: onnxruntime.InferenceSession) -> object:
        return [run(network, image) for image in images]

    return {
        REFERENCE: partial(each, single),
        f"one image at a time, {threads} threads": partial(each, several),
        f"one image at a time, {threads} threads that do not spin": partial(each, sleeping),
        f"{threads} images at a time, 1 thread each": lambda: list(pool.map(partial(run, single), images)),
        "the same without the memory arena": lambda: list(pool.map(partial(run, without), images)),
        f"a batch of {len(pixels)}, {threads} threads": partial(run, several, pixels),
    }


def measure(model: Path, side: int, threads: int, rounds: int) -> dict[str, Any]:
    """The part `scaling` of bench.json."""
    pixels = np.random.default_rng(7).integers(0, 256, (IMAGES, side, side, 3), np.uint8)
    contenders = ways(model, pixels, threads)
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for order in turns(list(contenders), rounds + 1):
        for name in order:
            processor, start = time.process_time(), time.perf_counter()
            contenders[name]()
            wall[name].append(1000 * (time.perf_counter() - start) / IMAGES)
            time.sleep(0.03)  # what threads spin after the last call is the call's cost too
            cpu[name].append(1000 * (time.process_time() - processor) / IMAGES)
    return {
        "threads": threads,
        "side": side,
        "ways": {
            name: {
                "milliseconds": spread(wall[name][1:]).to_json(),
                "cpu_milliseconds": spread(cpu[name][1:]).to_json(),
                "rate": ratio(wall[REFERENCE][1:], wall[name][1:]).to_json(),
            }
            for name in contenders
        },
    }


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__.split("\n")[0])
    add_options(parser)
    chosen = parser.parse_args()
    try:
        sources = read(chosen)
    except (BenchError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = measure(sources.model, sources.side, chosen.threads, 2 if chosen.quick else 14)
    print(scaling_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
