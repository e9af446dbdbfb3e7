"""How much of the bare inference rate the handler reaches, on photographs as they come from S3.

    python -m bench.throughput [--model build/model] [--photographs folder] [--batch 10] [--rounds 7]

The real handler on real SQS events, in this process; S3, DynamoDB and EventBridge are played by a process that
answers after 20 ms. Bare inference: the same network, as many threads as processors, on pixels already decoded.
Both take turns in one run of several rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
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

from bench.canned_aws import CannedAws
from bench.spread import ratio, spread, turns
from bench.table import handler_table
from local import ROOT
from local.demo.drawn import draw_dataset
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
        """As much as a timeout of a minute leaves."""
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
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "model")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processors", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--delay", type=float, default=20, help="ms until the first byte of each answer of AWS")
    parser.add_argument("--megapixels", type=float, help="enlarge the photographs to so many, 4:3")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    chosen = parser.parse_args()
    objects = photographs(chosen.photographs, chosen.batch)
    if chosen.megapixels:
        height = round((chosen.megapixels * 1e6 * 3 / 4) ** 0.5)
        objects = [enlarged(data, height * 4 // 3, height) for data in objects]
    with CannedAws(objects, chosen.delay / 1000) as aws:
        os.environ.update(aws.environment, RESULTS_TABLE="results", MODEL_DIR=str(chosen.model))
        os.environ.update(ONNX_THREADS=str(chosen.processors), POWERTOOLS_SERVICE_NAME="classify")
        os.environ.update(POWERTOOLS_METRICS_NAMESPACE="Bench", POWERTOOLS_TRACE_DISABLED="true")
        found = compare(objects, aws, chosen.rounds, chosen.processors)
    print(handler_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


def compare(objects: Sequence[bytes], aws: CannedAws, rounds: int, processors: int) -> dict[str, Any]:
    """Handler and bare inference in turn: one row of the part `handler` of bench.json."""
    from classify import app
    from labeller.images import decode
    from labeller.observability import logger

    labeller = app.get_labeller()
    side = labeller.classifier.input_size
    decode(objects[0], side, 10**9)  # Pillow's plugins are imported at the first picture
    pixels: list[Any] = []
    decoding = timed(lambda: pixels.extend(decode(data, side, 10**9).pixels[np.newaxis] for data in objects))
    pool = ThreadPoolExecutor(processors)
    event = sqs_batch(*(notification(record(f"{number}.jpg")) for number in range(len(objects))))
    log = io.StringIO()
    logger.registered_handler.stream = log  # type: ignore[attr-defined]

    def handle() -> None:
        with redirect_stdout(io.StringIO()):  # where metrics go
            answer = app.lambda_handler(event, Context())
        assert answer == {"batchItemFailures": []}, log.getvalue()

    def infer() -> None:
        list(pool.map(labeller.classifier.predict, pixels))

    handle()
    infer()  # connections, threads
    log.truncate(0)
    peak_megabytes(reset=True)
    served = aws.cpu_seconds()
    work = {"handler": handle, "bare": infer}
    timings: dict[str, list[Timing]] = {name: [] for name in work}
    for order in turns(list(work), rounds):
        for name in order:
            timings[name].append(timed(work[name]))
    served = (aws.cpu_seconds() - served) / rounds / len(objects)
    handled, inferred = timings["handler"], timings["bare"]
    # What the server takes from the processors that it shares with the handler, as if it had stood in its way
    # throughout: Lambda has AWS elsewhere.
    in_the_way = served * len(objects) / processors
    lines = [json.loads(line) for line in log.getvalue().lstrip("\0").splitlines()]
    number = len(objects)
    return {
        "photographs": number,
        "kilobytes": round(sum(map(len, objects)) / number / 1000),
        "model": labeller.classifier.version,
        "side": side[0],
        "processors": processors,
        "first_byte_ms": aws.delay * 1000,
        "bare": _rate(inferred, number),
        "handler": _rate(handled, number),
        "share": ratio([each.seconds for each in inferred], [each.seconds for each in handled]).to_json(),
        "share_server_apart": ratio(
            [each.seconds for each in inferred], [each.seconds - in_the_way for each in handled]
        ).to_json(),
        "cpu_share": ratio([each.cpu_seconds for each in inferred], [each.cpu_seconds for each in handled]).to_json(),
        "stages_ms": {
            stage.removesuffix("_ms"): spread([line[stage] for line in lines if stage in line]).to_json()
            for stage in STAGES
        },
        "decode_cpu_ms": round(1000 * decoding.cpu_seconds / number, 2),
        "server_cpu_ms": round(served * 1000, 1),
        "peak_megabytes": round(peak_megabytes()),
    }


def _rate(timings: Sequence[Timing], number: int) -> dict[str, Any]:
    """Photographs a second, and processor time of each."""
    return {
        "a_second": spread([number / timing.seconds for timing in timings]).to_json(),
        "cpu_milliseconds": spread([1000 * timing.cpu_seconds / number for timing in timings]).to_json(),
    }


if __name__ == "__main__":
    sys.exit(main())
