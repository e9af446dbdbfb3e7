"""From the start of the built function to its first label, under AWS's runtime client and emulator.

    make layer build && python -m tests.bench.cold_start [--rounds 5]

S3, DynamoDB and EventBridge are played by a process that answers after 20 ms. Each round starts a runtime anew and
sends one photograph; the middle value of the rounds is printed. Processor time is what the runtime's process took:
unlike the rest it says the same on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from local import ROOT
from local.built import BUILD, lay_out, read_build
from local.processes import session_of
from local.runtime import RuntimeEmulator
from local.runtime_python import ensure_runtime, find_runtime_python
from local.stack import Function
from tests.bench.canned_aws import FIRST_BYTE, CannedAws
from tests.bench.throughput import photographs
from tests.support import notification, record, sqs_batch


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cold_start", description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    built = read_build(chosen.build)
    processors = len(os.sched_getaffinity(0))
    function = Function(
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
    python = ensure_runtime(find_runtime_python(built.runtime.removeprefix("python")))
    photograph = photographs(None, 1)
    event = sqs_batch(notification(record("0.jpg")))
    rounds: list[tuple[float, float, float, float]] = []
    with CannedAws(photograph) as aws, tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        opt = lay_out(built.layers, Path(folder) / "opt")
        for _ in range(chosen.rounds + 1):  # the first one reads all files from disk, and does not count
            with RuntimeEmulator(
                function, task_root=built.task_root, python=python, opt=opt, environment=aws.environment
            ) as runtime:
                answer, report = runtime.invoke(event)
                if answer != {"batchItemFailures": []}:
                    print("\n".join(report.log), file=sys.stderr)
                    return 1
                cpu = _cpu_milliseconds(runtime.pid)
                again = runtime.invoke(event).report.wall_ms
                rounds.append((report.init_ms or 0.0, report.wall_ms, again, cpu))
                peak = (report.peak_bytes or 0) / 1e6
    init, total, warm, cpu = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    print(
        f"from start to first label {total:.0f} ms ({min(r[1] for r in rounds[1:]):.0f} to "
        f"{max(r[1] for r in rounds[1:]):.0f}), {init:.0f} ms of it until the handler is imported; "
        f"{cpu:.0f} ms of processor time\n"
        f"the next picture {warm:.0f} ms; {peak:.0f} MB; {FIRST_BYTE * 1000:.0f} ms to the first byte of AWS's answers"
    )
    return 0


def _cpu_milliseconds(emulator: int) -> float:
    """Processor time of the runtime: of what runs in the emulator's session, the emulator aside (proc(5), stat)."""
    ticks = 0
    for pid in set(session_of(emulator)) - {emulator}:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
