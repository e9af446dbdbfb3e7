"""How much of the bare inference rate the handler reaches, on photographs as they come from S3.

    python -m tests.bench.throughput [--model build/model] [--photographs folder] [--batch 10] [--rounds 7]

The real handler on real SQS events, in this process; S3, DynamoDB and EventBridge are played by a process that
answers after 20 ms. Bare inference: the same network, as many threads as processors, on pixels already decoded.
Both take turns in one run, and the middle value of several rounds is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from local import ROOT
from local.pictures import draw_dataset
from tests.bench.canned_aws import CannedAws
from tests.support import notification, record, sqs_batch

STAGES = ("fetch_ms", "decode_ms", "inference_ms", "write_ms", "publish_ms")


@dataclass(frozen=True)
class Timing:
    """One way of working through a batch, once."""

    seconds: float
    cpu_seconds: float  # of this process, all threads


class Context:
    """What the handler asks of Lambda's context."""

    function_name, memory_limit_in_mb, aws_request_id = "classify", 3008, "00000000-0000-4000-8000-000000000000"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:classify"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def photographs(folder: Path | None, number: int) -> list[bytes]:
    """Files of `folder`, evenly taken from all of it; drawn pictures if there is none."""
    folder = folder or ROOT.parent / "shared" / "cats-and-dogs" / "test"
    if not folder.is_dir():
        folder = ROOT / "build" / "bench" / "drawn"
        if not folder.is_dir():
            draw_dataset(folder, {"test": number})
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [path.read_bytes() for path in files[:: max(1, len(files) // number)][:number]]


def enlarged(photograph: bytes, width: int, height: int) -> bytes:
    """The photograph as a camera's JPEG of `width` x `height`."""
    with Image.open(io.BytesIO(photograph)) as image:
        buffer = io.BytesIO()
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def timed(work: Callable[[], Any]) -> Timing:
    """How long `work` takes."""
    cpu, start = time.process_time(), time.perf_counter()
    work()
    return Timing(time.perf_counter() - start, time.process_time() - cpu)


def peak_megabytes(reset: bool = False) -> float:
    """The most resident memory of this process since the last reset (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "model")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processors", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--delay", type=float, default=20, help="ms until the first byte of each answer of AWS")
    parser.add_argument("--megapixels", type=float, help="enlarge the photographs to so many, 4:3")
    chosen = parser.parse_args()
    objects = photographs(chosen.photographs, chosen.batch)
    if chosen.megapixels:
        height = round((chosen.megapixels * 1e6 * 3 / 4) ** 0.5)
        objects = [enlarged(data, height * 4 // 3, height) for data in objects]
    with CannedAws(objects, chosen.delay / 1000) as aws:
        os.environ.update(aws.environment, RESULTS_TABLE="results", MODEL_DIR=str(chosen.model))
        os.environ.update(ONNX_THREADS=str(chosen.processors), POWERTOOLS_SERVICE_NAME="classify")
        os.environ.update(POWERTOOLS_METRICS_NAMESPACE="Bench", POWERTOOLS_TRACE_DISABLED="true")
        print(compare(objects, aws, chosen.rounds, chosen.processors))
    return 0


def compare(objects: Sequence[bytes], aws: CannedAws, rounds: int, processors: int) -> str:
    """Handler and bare inference in turn; the lines to print."""
    from classify import app
    from labeller.images import decode
    from labeller.observability import logger

    labeller = app.get_labeller()
    pixels = [decode(data, labeller.classifier.input_size, 10**9).pixels[np.newaxis] for data in objects]
    pool = ThreadPoolExecutor(processors)
    event = sqs_batch(*(notification(record(f"{number}.jpg")) for number in range(len(objects))))
    log = io.StringIO()
    logger.registered_handler.stream = log  # type: ignore[attr-defined]

    def handle() -> None:
        with redirect_stdout(io.StringIO()):  # where metrics go
            answer = app.lambda_handler(event, Context())  # type: ignore[arg-type]
        assert answer == {"batchItemFailures": []}, log.getvalue()

    def infer() -> None:
        list(pool.map(labeller.classifier.predict, pixels))

    handle(), infer()  # connections, threads
    log.truncate(0)
    peak_megabytes(reset=True)
    served = aws.cpu_seconds()
    turns = [(timed(handle), timed(infer)) for _ in range(rounds)]
    served = (aws.cpu_seconds() - served) / rounds / len(objects)
    handled, inferred = ([turn[side] for turn in turns] for side in (0, 1))
    lines = [json.loads(line) for line in log.getvalue().lstrip("\0").splitlines()]
    stages = {stage: statistics.median(line[stage] for line in lines if stage in line) for stage in STAGES}
    number = len(objects)
    side = " x ".join(map(str, labeller.classifier.input_size))
    size = sum(map(len, objects)) / number / 1000
    return "\n".join(
        [
            f"{number} photographs of {size:.0f} kB, network {labeller.classifier.version} at {side}, "
            f"{processors} processors, {aws.delay * 1000:.0f} ms to the first byte; {rounds} rounds",
            f"  bare inference  {_rate(inferred, number)}",
            f"  handler         {_rate(handled, number)}",
            f"  handler / bare  {_ratio(handled, inferred):.3f} of the rate; "
            f"{_cpu(inferred) / _cpu(handled):.3f} of the handler's processor time is inference",
            f"  an object       {', '.join(f'{stage[:-3]} {value:.1f} ms' for stage, value in stages.items())}",
            f"  server          {served * 1000:.1f} ms of processor time an object, not in the above",
            f"  most memory     {peak_megabytes():.0f} MB",
        ]
    )


def _rate(timings: Sequence[Timing], number: int) -> str:
    rates = [number / timing.seconds for timing in timings]
    return (
        f"{statistics.median(rates):6.1f} a second ({min(rates):.1f} to {max(rates):.1f}), "
        f"{_cpu(timings) / number * 1000:.1f} ms of processor time each"
    )


def _cpu(timings: Sequence[Timing]) -> float:
    return statistics.median(timing.cpu_seconds for timing in timings)


def _ratio(handled: Sequence[Timing], inferred: Sequence[Timing]) -> float:
    return statistics.median(bare.seconds / handler.seconds for handler, bare in zip(handled, inferred, strict=True))


if __name__ == "__main__":
    sys.exit(main())
