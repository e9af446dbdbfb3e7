"""Every figure of docs/performance.md in one run on one machine: `make bench`.

    python -m bench [--quick] [--only PART ...] [--data DIR] [--weights PATH] [--model DIR]

Each part runs in a process of its own. Writes build/bench/bench.json and table.txt:

machine      processor, vnni (null if unknown), cores, python, versions, load_before, load_after (1 minute)
model        version, input_size, weights; quick: true if there were too few rounds for figures
inference    contenders: name -> batch_1, batch_8 (milliseconds and cpu_milliseconds per image; times_ours and
             cpu_times_ours, the ratios to this project), correct of `photographs` with its 95% interval (absent if
             their labels are unknown), labelled_otherwise than by Keras in FP32, largest_difference of a probability
             from its
decoding     of 12-megapixel JPEGs, reduced and in_full: cpu_milliseconds per JPEG, times_reduced, likeliest_changed
             (labels), answers_changed (a label or UNSURE), mean_difference and largest_difference of a probability
handler      rows, each for batches of photographs as they are or of 12 megapixels: bare and handler (a_second,
             cpu_milliseconds), share of the bare rate, share_server_apart, cpu_share, stages_ms, server_cpu_ms,
             peak_megabytes
cold_start   import_ms, first_label_ms, next_label_ms, until_ready_ms, cpu_ms, parts_ms,
             peak_megabytes_12_megapixels
build        seconds by stage and reused (report.json); article: seconds scaled, times_ours if nothing was reused;
             picture: through the base once
nightly      seconds of the whole night, scoring_seconds, thousand_seconds
image        the input of ops.capacity (workload.Image), from the handler's row of 10 photographs as they are; empty if
             that row was not measured, or quick
scaling      ways: name -> milliseconds, cpu_milliseconds, rate against one thread

Every timing is {median, low, high, rounds}: quartiles over the rounds. Ratios are taken round by round. A part that
could not be measured is {"error": why}, and the exit status is 1.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from bench.sources import OUT, add_options, read
from bench.table import table
from evaluation.processor import this_processor
from labeller.manifest import ModelError
from layers import ROOT
from ops.cli import command_parser, exit_status

PARTS = ("inference", "decoding", "handler", "cold_start", "build", "nightly", "scaling")
TYPICAL = 10
"""Photographs in a batch of the queue (template.yaml, BatchSize)."""

BATCHES = ((1, None), (TYPICAL, None), (40, None), (1, 12), (10, 12))
"""Of the handler: photographs in a batch, and megapixels if they are enlarged."""

PACKAGES = ("numpy", "onnxruntime", "tensorflow", "keras", "pillow", "boto3")


def main() -> int:
    """Measure all parts, print and write; returns the exit status."""
    parser = command_parser("bench", __doc__)
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()

    def command() -> int:
        sources = read(options)
        OUT.mkdir(parents=True, exist_ok=True)
        arguments = ["--model", str(sources.model), "--threads", str(sources.threads)]
        arguments += ["--quick"] * sources.quick + (["--rounds", str(sources.rounds)] if sources.rounds else [])
        arguments += [] if sources.drawn else ["--data", str(sources.data)]
        arguments += ["--weights", sources.weights] if sources.weights else []
        load_before = os.getloadavg()[0]
        parts: dict[str, Any] = {}
        for part in options.only:
            print(f"-- {part} ...", file=sys.stderr, flush=True)
            parts[part] = handler_rows(arguments) if part == "handler" else run(part, arguments)
        manifest = sources.manifest
        results = {
            "machine": machine(load_before, parts.get("inference", {}).get("versions", {})),
            "model": {
                "version": manifest.model_version,
                "input_size": manifest.input_size,
                "weights": manifest.build["weights"],
            },
            "quick": sources.quick,
            **parts,
            "image": {} if sources.quick else image(parts),
        }
        text = compose(results)
        (OUT / "bench.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (OUT / "table.txt").write_text(text + "\n", "utf-8")
        print(f"\n{text}\n\nWritten to {OUT.relative_to(ROOT)}/bench.json and table.txt")
        return 1 if any("error" in row for part in parts.values() for row in rows(part)) else 0

    return exit_status(command, ModelError)


def machine(load_before: float, versions: Mapping[str, str]) -> dict[str, Any]:
    """The machine, and the versions of the packages that compute, with those of the contenders."""
    processor, vnni = this_processor()
    return {
        "processor": processor,
        "vnni": vnni,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES} | dict(versions),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }


def image(parts: Mapping[str, Any]) -> dict[str, float]:
    """Processor time per image as members of ops.capacity.workload.Image; empty without a batch to take it from."""
    typical = [
        row for row in parts.get("handler", []) if row.get("photographs") == TYPICAL and row["megapixels"] is None
    ]
    if not typical:
        return {}
    inference, handler = (typical[0][way]["cpu_milliseconds"]["median"] for way in ("bare", "handler"))
    decoding = typical[0]["decode_cpu_ms"]
    return {
        "side": typical[0]["side"],
        "inference_vcpu_ms": inference,
        "decode_vcpu_ms": decoding,
        "overhead_vcpu_ms": round(max(handler - inference - decoding, 0.0), 2),
    }


def compose(results: Mapping[str, Any]) -> str:
    """The tables of everything that was measured."""
    blocks = [table("machine", results["machine"])]
    if results["quick"]:
        blocks.append("QUICK: too few rounds for figures; this only shows that everything runs")
    for part in (part for part in PARTS if part in results):
        for row in rows(results[part]):
            blocks.append(table("error", {"part": part, **row}) if "error" in row else table(part, row))
    return "\n\n".join(blocks)


def rows(part: Any) -> list[dict[str, Any]]:
    """The results of a part as a list; only the handler has several."""
    return part if isinstance(part, list) else [part]


def handler_rows(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The results of the part `handler`, by batch."""
    results = []
    for batch, megapixels in BATCHES:
        size = ["--megapixels", str(megapixels)] if megapixels else []
        results.append(run("handler", ["--batch", str(batch), *size, *arguments]) | {"megapixels": megapixels})
    return results


def run(part: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The results of a part in a process of its own, or {"error": why there are none}."""
    path = OUT / f"{part}.json"
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{part}", *arguments, "--json", str(path)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode or not path.is_file():
        last = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        return {"error": last.removeprefix("error: ")}
    return dict(json.loads(path.read_text("utf-8")))


if __name__ == "__main__":
    sys.exit(main())
