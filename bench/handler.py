"""The handler's rate against that of bare inference, on photographs as they come from S3.

    python -m bench.handler [--batch 10] [--megapixels 12] [--delay 20]

The real handler gets real SQS events in this process; another process plays S3, DynamoDB and EventBridge and answers
after 20 ms. Bare inference: the same network on decoded pixels, in as many threads as there are processors. Both take
turns.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from bench.canned_aws import FIRST_BYTE, CannedAws
from bench.events import classify_function, upload_batch
from bench.photographs import enlarged, photographs
from bench.sources import Sources, run_part
from bench.timing import Timing, ratio, spread, take_turns, timed
from local.aws.poller import lambda_context

STAGES = ("fetch_ms", "decode_ms", "inference_ms", "write_ms", "publish_ms")


def measure(sources: Sources, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the part `handler` of bench.json."""
    objects = photographs(sources.photographs, options.batch)
    if options.megapixels:
        objects = [enlarged(data, options.megapixels) for data in objects]
    with CannedAws(objects, options.delay / 1000) as aws:
        function = classify_function(str(sources.model), sources.threads)
        os.environ.update(aws.environment, **function.environment, POWERTOOLS_TRACE_DISABLED="true")
        return compare(objects, aws, sources.round_count(7), sources.threads)


def compare(objects: Sequence[bytes], aws: CannedAws, rounds: int, processors: int) -> dict[str, Any]:
    """The handler and bare inference in turn."""
    from classify import app
    from labeller.images import decode
    from labeller.observability import logger

    labeller = app.get_ready_labeller()
    side, count = labeller.classifier.input_size, len(objects)
    decode(objects[0], side, 10**9)  # Pillow imports its plugins at the first picture
    pixels: list[Any] = []
    decoding = timed(lambda: pixels.extend(decode(data, side, 10**9).pixels[np.newaxis] for data in objects))
    pool = ThreadPoolExecutor(processors)
    event, function = upload_batch(count), classify_function("", processors)
    log = io.StringIO()
    logger.registered_handler.stream = log  # type: ignore[attr-defined]

    def handle() -> None:
        with redirect_stdout(io.StringIO()):  # metrics
            response = app.lambda_handler(event, lambda_context(function))
        assert response == {"batchItemFailures": []}, log.getvalue()

    work = {
        "handler": lambda: timed(handle),
        "bare": lambda: timed(lambda: list(pool.map(labeller.classifier.predict, pixels))),
    }
    take_turns(work, rounds=1, warm_up=0)  # opens connections, starts threads
    log.truncate(0)
    peak_megabytes(reset=True)
    served = aws.cpu_seconds()
    timings = take_turns(work, rounds, warm_up=0)
    served = (aws.cpu_seconds() - served) / rounds / count
    # The processor time that the server takes from the handler, as if it had blocked it throughout: in Lambda, AWS runs
    # elsewhere.
    blocked = served * count / processors
    lines = [json.loads(line) for line in log.getvalue().lstrip("\0").splitlines()]
    seconds = {name: [timing.seconds for timing in timings[name]] for name in work}
    cpu_seconds = {name: [timing.cpu_seconds for timing in timings[name]] for name in work}
    return {
        "photographs": count,
        "kilobytes": round(sum(map(len, objects)) / count / 1000),
        "model": labeller.classifier.version,
        "side": side[0],
        "processors": processors,
        "first_byte_ms": aws.delay * 1000,
        "bare": _rate(timings["bare"], count),
        "handler": _rate(timings["handler"], count),
        "share": ratio(seconds["bare"], seconds["handler"]),
        "share_server_apart": ratio(seconds["bare"], [value - blocked for value in seconds["handler"]]),
        "cpu_share": ratio(cpu_seconds["bare"], cpu_seconds["handler"]),
        "stages_ms": {
            stage.removesuffix("_ms"): spread([line[stage] for line in lines if stage in line]) for stage in STAGES
        },
        "decode_cpu_ms": round(1000 * decoding.cpu_seconds / count, 2),
        "server_cpu_ms": round(served * 1000, 1),
        "peak_megabytes": round(peak_megabytes()),
    }


def peak_megabytes(reset: bool = False) -> float:
    """Peak resident memory of this process since the last reset (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def _rate(timings: Sequence[Timing], count: int) -> dict[str, Any]:
    """Photographs per second, and processor time of each."""
    return {
        "a_second": spread([count / timing.seconds for timing in timings]),
        "cpu_milliseconds": spread([1000 * timing.cpu_seconds / count for timing in timings]),
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=10, help="photographs in a batch [10]")
    parser.add_argument("--delay", type=float, default=1000 * FIRST_BYTE, help="ms to the first byte of AWS [20]")
    parser.add_argument("--megapixels", type=float, help="enlarge the photographs to this size")


if __name__ == "__main__":
    sys.exit(run_part("handler", measure, add_arguments=_add_arguments))
