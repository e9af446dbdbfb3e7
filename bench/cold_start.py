"""From the start of the built function to its first label, under AWS's runtime client and emulator.

    make layer build && python -m bench.cold_start [--rounds 5]

S3, DynamoDB and EventBridge are played by a process that answers after 20 ms. Each round starts a runtime anew and
sends a photograph, and then another one. Processor time is what the runtime's process took: unlike the rest it says
the same on a busy machine. The parts are measured in processes of their own, one after the other; in the function the
clients are made while the model is loaded. At last, the most memory of a function that gets batches of photographs of
12 megapixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.canned_aws import FIRST_BYTE, CannedAws
from bench.spread import spread
from bench.table import cold_start_table
from bench.throughput import enlarged, photographs
from layers import PackagingError
from layers.runtime_python import ensure_runtime
from local import ROOT
from local.aws.stack import Function
from local.runtime.emulator import Report, RuntimeEmulator, runtime_environment, session_members
from local.runtime.sam_build import BUILD, SamBuild, merge_layers, read_build
from ops.cli import CommandError
from tests.support import notification, record, sqs_batch

BATCH = 10
PEAK_INVOCATIONS = 3

PARTS = """
import json, time
begin = time.perf_counter()
found = {}

def part(name):
    global begin
    found[name] = 1000 * (time.perf_counter() - begin)
    begin = time.perf_counter()

import numpy, onnxruntime
part("import onnxruntime, numpy")
import aws_lambda_powertools, botocore.session, PIL.Image
part("import Powertools, botocore, Pillow")
from classify import app
part("import the function")
import os, pathlib
from labeller import storage
from labeller import classifier
from labeller.settings import Settings
settings = Settings.from_env(os.environ)
storage.connect(settings.results_table, settings.event_bus)
part("AWS clients")
check, classifier.Classifier.check_itself = classifier.Classifier.check_itself, lambda self: 0.0
classifier = classifier.load_classifier(settings.model_dir, threads=1)
part("model")
check(classifier)
part("self-check")
print(json.dumps(found))
"""
"""Run by the runtime's Python, its paths as in the function."""


class NotLabelled(Exception):
    """The function did not label its pictures; the message is its log."""


def main() -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    chosen = parser.parse_args()
    try:
        found = measure(read_build(chosen.build), chosen.photographs, chosen.rounds)
    except (CommandError, PackagingError, NotLabelled) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(cold_start_table(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


def measure(built: SamBuild, folder: Path | None, rounds: int) -> dict[str, Any]:
    """The part `cold_start` of bench.json. Raises CommandError, NotLabelled."""
    function = _function(built, len(os.sched_getaffinity(0)))
    python = ensure_runtime(built.runtime.removeprefix("python"))
    (photograph,) = photographs(folder, 1)
    camera = [enlarged(photograph, 4000, 3000)] * BATCH
    starts: list[dict[str, float]] = []
    parts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as temporary:
        opt = merge_layers(built.layers, Path(temporary) / "opt")

        def runtime(aws: CannedAws) -> RuntimeEmulator:
            return RuntimeEmulator(
                function, task_root=built.task_root, python=python, opt=opt, environment=aws.environment
            )

        with CannedAws([photograph]) as aws:
            environment = runtime_environment(function, built.task_root.resolve(), opt.resolve()) | dict(
                aws.environment
            )
            for _ in range(rounds + 1):  # the first one reads all files from disk, and does not count
                starts.append(_start(runtime(aws)))
                parts.append(_parts(python, built.task_root, environment))
        with CannedAws(camera) as aws, runtime(aws) as started:
            peaks = [_label(started, BATCH).peak_bytes or 0 for _ in range(PEAK_INVOCATIONS)]
    return {
        "rounds": rounds,
        "first_byte_ms": FIRST_BYTE * 1000,
        "processors": function.environment["ONNX_THREADS"],
        **{name: spread([start[name] for start in starts[1:]]).to_json() for name in starts[0]},
        "parts_ms": {name: spread([part[name] for part in parts[1:]]).to_json() for name in parts[0]},
        "peak_megabytes_12_megapixels": round(max(peaks) / 1e6),
    }


def _function(built: SamBuild, processors: int) -> Function:
    return Function(
        name="classify",
        arn="arn:aws:lambda:eu-central-1:123456789012:function:classify",
        handler="classify.app.lambda_handler",
        runtime=built.runtime,
        architecture="x86_64",
        timeout=60,
        memory=3008,
        log_group="/aws/lambda/classify",
        environment={
            "RESULTS_TABLE": "results",
            "MODEL_DIR": "/opt/model",
            "ONNX_THREADS": str(processors),
            "POWERTOOLS_SERVICE_NAME": "classify",
            "POWERTOOLS_METRICS_NAMESPACE": "Bench",
        },
    )


def _start(emulator: RuntimeEmulator) -> dict[str, float]:
    """One cold start, and a picture after it."""
    with emulator as runtime:
        first = _label(runtime, 1)
        cpu = _cpu_milliseconds(runtime.pid)
        init = first.init_ms or 0.0
        # The second picture takes what the first one would have taken, had the function been warm.
        second = _label(runtime, 1).wall_ms
        return {
            "import_ms": init,
            "first_label_ms": first.wall_ms,
            "next_label_ms": second,
            "until_ready_ms": first.wall_ms - second,
            "cpu_ms": cpu,
        }


def _label(runtime: RuntimeEmulator, pictures: int) -> Report:
    event = sqs_batch(*(notification(record(f"{number}.jpg")) for number in range(pictures)))
    answer, report = runtime.invoke(event)
    if answer != {"batchItemFailures": []}:
        raise NotLabelled("\n".join(report.log))
    return report


def _parts(python: Path, task_root: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """What a cold start is made of, one after the other in a fresh process, from what was built."""
    ended = subprocess.run(
        [str(python), "-c", PARTS],
        cwd=task_root,
        env=dict(environment),
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(ended.stdout))


def _cpu_milliseconds(emulator: int) -> float:
    """Processor time of the runtime: of the processes in the emulator's session, without the emulator."""
    times = [process.cpu_times() for process in session_members(emulator)]
    return 1000 * sum(time.user + time.system for time in times)


if __name__ == "__main__":
    sys.exit(main())
