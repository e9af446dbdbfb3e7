"""From the start of the built function to its first label, with AWS's runtime client and emulator.

    make layer build && python -m bench.cold_start

Another process plays S3, DynamoDB and EventBridge over TLS and answers after 20 ms. Each round starts a new runtime and
sends one photograph, then another one. Processor time is that of the runtime's process; unlike the rest it does not
depend on the machine's load. The stages are measured in a process of their own, one after the other; the function makes
its clients while it loads the model, and its self-check while it labels the first picture. Peak memory is that of a
function that gets batches of 12-megapixel photographs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bench.canned_aws import FIRST_BYTE, CannedAws
from bench.events import classify_function, upload_batch
from bench.photographs import enlarged, photographs
from bench.sources import BenchError, Sources, run_part
from bench.timing import spread
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from layers import ROOT, PackagingError
from layers.runtime_python import ensure_runtime
from local.runtime.emulator import Report, RuntimeEmulator, runtime_environment
from local.runtime.sam_build import BUILD, SamBuild, merge_layers, read_build

STAGES = Path(__file__).with_name("cold_start_parts.py")
MODEL_LAYER = ROOT / "build" / "layers" / "model"
BATCH = 10
PEAK_INVOCATIONS = 3


def measure(sources: Sources, options: argparse.Namespace) -> dict[str, Any]:
    """The part `cold_start` of bench.json. Raises CommandError, PackagingError."""
    require_model(sources.manifest.model_version)
    built = read_build(options.build)
    function = classify_function("/opt/model", sources.threads)
    python = ensure_runtime(built.runtime.removeprefix("python"))
    (photograph,) = photographs(sources.photographs, 1)
    rounds = sources.round_count(9)
    starts: list[dict[str, float]] = []
    stages: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as temporary:
        opt = merge_layers(built.layers, Path(temporary) / "opt")

        def runtime(aws: CannedAws) -> RuntimeEmulator:
            return RuntimeEmulator(
                function, task_root=built.task_root, python=python, opt=opt, environment=aws.environment
            )

        with CannedAws([photograph], tls=True) as aws:
            environment = {
                **runtime_environment(function, built.task_root.resolve(), opt.resolve()),
                **aws.environment,
            }
            for _ in range(rounds + 1):  # the first round reads all files from disk and does not count
                starts.append(_start(runtime(aws)))
                stages.append(_stages(python, built, environment))
        with CannedAws([enlarged(photograph, 12)] * BATCH, tls=True) as aws, runtime(aws) as started:
            peaks = [_label(started, BATCH).peak_bytes or 0 for _ in range(PEAK_INVOCATIONS)]
    return {
        "rounds": rounds,
        "first_byte_ms": FIRST_BYTE * 1000,
        "processors": function.environment["ONNX_THREADS"],
        **{name: spread([start[name] for start in starts[1:]]) for name in starts[0]},
        "parts_ms": {name: spread([stage[name] for stage in stages[1:]]) for name in stages[0]},
        "peak_megabytes_12_megapixels": round(max(peaks) / 1e6),
    }


def require_model(version: str) -> None:
    """Raise BenchError unless the layer holds the model `version`, which the other parts measure."""
    try:
        packed = Manifest.from_file(MODEL_LAYER / "model" / MANIFEST_FILE).model_version
    except ModelError as error:
        raise BenchError("there are no layers: make layer build") from error
    if packed != version:
        raise BenchError(f"the layer holds model {packed}, the other parts measure {version}: make layer build")


def _start(emulator: RuntimeEmulator) -> dict[str, float]:
    """One cold start, and a picture after it."""
    with emulator as runtime:
        first = _label(runtime, 1)
        cpu = _cpu_milliseconds(runtime.pid)
        next_label = _label(runtime, 1).wall_ms  # the time of the first picture, had the function been warm
        return {
            "import_ms": first.init_ms or 0.0,
            "first_label_ms": first.wall_ms,
            "next_label_ms": next_label,
            "until_ready_ms": first.wall_ms - next_label,
            "cpu_ms": cpu,
        }


def _label(runtime: RuntimeEmulator, pictures: int) -> Report:
    response, report = runtime.invoke(upload_batch(pictures))
    if response != {"batchItemFailures": []}:
        raise BenchError("the function did not label its pictures:\n" + "\n".join(report.log))
    return report


def _stages(python: Path, built: SamBuild, environment: Mapping[str, str]) -> dict[str, float]:
    command = [str(python), "-c", STAGES.read_text("utf-8")]
    done = subprocess.run(
        command, cwd=built.task_root, env=dict(environment), check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def _cpu_milliseconds(emulator: int) -> float:
    """Processor time of the runtime: of the emulator's child processes."""
    times = [process.cpu_times() for process in psutil.Process(emulator).children(recursive=True)]
    return 1000 * sum(time.user + time.system for time in times)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--build", type=Path, default=BUILD, help="folder of `sam build` [.aws-sam/build]")


if __name__ == "__main__":
    sys.exit(run_part("cold_start", measure, PackagingError, add_arguments=_add_arguments))
