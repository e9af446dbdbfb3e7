"""Every figure of docs/performance.md in one run on one machine: `make bench`.

    python -m bench [--quick] [--only PART ...] [--data DIR] [--weights PATH] [--model DIR] [--strangers DIR]

Each part runs in a process of its own. Writes build/bench/bench.json, whose members docs/performance.md lists, and
table.txt. A part that could not be measured is {"error": why}, and the exit status is 1.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.sources import OUT, add_options, read
from bench.table import table
from evaluation.processor import this_processor
from labeller.manifest import ModelError
from layers import ROOT
from ops.cli import command_parser, exit_status

PARTS = (
    "inference",
    "glance",
    "decoding",
    "damage",
    "strangers",
    "handler",
    "cold_start",
    "build",
    "nightly",
    "scaling",
)
TYPICAL = 10
"""Photographs in a batch of the queue (template.yaml, UploadsToClassify)."""

BATCHES = ((1, None), (TYPICAL, None), (40, None), (1, 12), (10, 12))
"""Of the handler: photographs in a batch, and megapixels if they are enlarged."""

PACKAGES = ("numpy", "onnxruntime", "tensorflow", "keras", "pillow", "boto3")


def main() -> int:
    """Measure all parts, print and write; returns the exit status."""
    parser = command_parser("bench", __doc__)
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--strangers", type=Path, help="photographs of none of the labels [../shared/others]")
    options = parser.parse_args()

    def command() -> int:
        sources = read(options)
        OUT.mkdir(parents=True, exist_ok=True)
        passed_on = ("model", "data", "weights", "threads", "rounds")
        arguments = [f"--{name}={vars(options)[name]}" for name in passed_on if vars(options)[name]]
        arguments += ["--quick"] * options.quick
        own = {"strangers": [f"--strangers={options.strangers.absolute()}"] if options.strangers else []}
        load_before = os.getloadavg()[0]
        parts: dict[str, Any] = {}
        for part in options.only:
            print(f"-- {part} ...", file=sys.stderr, flush=True)
            parts[part] = handler_rows(arguments) if part == "handler" else run(part, [*own.get(part, []), *arguments])
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
    """Processor time per image as members of ops.capacity.workload.Image; empty without a batch to take it from.

    With a glance network the time depends on the picture, so that the mean of the part `glance`, of all test
    photographs on one thread, counts if it was measured.
    """
    typical = [
        row for row in parts.get("handler", []) if row.get("photographs") == TYPICAL and row["megapixels"] is None
    ]
    if not typical:
        return {}
    inference, handler = (typical[0][way]["cpu_milliseconds"]["median"] for way in ("bare", "handler"))
    decoding = typical[0]["decode_cpu_ms"]
    mean = parts.get("glance", {}).get("milliseconds", {}).get("both", {}).get("median", inference)
    return {
        "side": typical[0]["side"],
        "inference_vcpu_ms": mean,
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
