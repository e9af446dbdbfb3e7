"""Every figure of docs/performance.md in one run on one machine: `make bench`.

    python -m bench [--quick] [--only PART ...] [--data DIR] [--weights PATH] [--model DIR]

Each part runs in a process of its own. Writes build/bench/bench.json and table.txt:

machine      processor, vnni (null if unknown), cores, python, versions, load_before, load_after (1 minute)
model        version, input_size, weights; quick: true if the figures are none
inference    contenders: name -> batch_1, batch_8 (milliseconds and cpu_milliseconds of an image; times_ours and
             cpu_times_ours, the ratios to this project), correct of so many photographs with its 95 % interval (absent
             if their labels are unknown), labelled_otherwise than by Keras in FP32, largest_difference of a probability
             from its
decoding     of 12-megapixel JPEGs, reduced and in_full: cpu_milliseconds of each, times_reduced, likeliest_changed
             (labels), answers_changed (a label or UNSURE), mean_difference and largest_difference of a probability
handler      rows, each batch of photographs typical or of 12 megapixels: bare and handler (a_second,
             cpu_milliseconds), share of the bare rate, share_server_apart, cpu_share, stages_ms,
             server_cpu_ms, peak_megabytes
cold_start   import_ms, first_label_ms, next_label_ms, until_ready_ms, cpu_ms, parts_ms,
             peak_megabytes_12_megapixels
build        seconds by stage and reused (report.json); article: seconds scaled, times_ours if nothing was reused;
             picture: through the base once
nightly      seconds of the whole night, scoring_seconds, thousand_seconds
image        what ops.capacity reckons with (workload.Image), from the handler's row of 10 typical photographs;
             empty if the figures are none
scaling      ways: name -> milliseconds, cpu_milliseconds, rate against one thread

Every timing is {median, low, high, rounds}: quartiles over the rounds. Ratios are taken round by round. A part that
could not be measured is {"error": why}, and the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from bench import table
from bench.sources import OUT, BenchError, add_options, read
from evaluation.processor import this_processor
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from local import ROOT

PARTS = ("inference", "decoding", "handler", "cold_start", "build", "nightly", "scaling")
TABLES = {
    "inference": table.inference_table,
    "decoding": table.decoding_table,
    "handler": table.handler_table,
    "cold_start": table.cold_start_table,
    "build": table.build_table,
    "nightly": table.nightly_table,
    "scaling": table.scaling_table,
}
TYPICAL = 10
"""Photographs in a batch of the queue's (template.yaml, BatchSize)."""

HANDLED = ((1, None), (TYPICAL, None), (40, None), (1, 12), (10, 12))
"""Photographs in a batch, and megapixels if they are enlarged."""

LAYER = ROOT / "build" / "layers" / "model"

PACKAGES = ("numpy", "onnxruntime", "tensorflow", "keras", "pillow", "boto3")


def main() -> int:
    """Measure all parts, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args()
    try:
        sources = read(chosen)
    except (BenchError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    shared = ["--model", str(sources.model), "--threads", str(chosen.threads), *(["--quick"] * chosen.quick)]
    shared += [*(["--data", str(sources.data)] if not sources.drawn else [])]
    shared += [*(["--weights", sources.weights] if sources.weights else [])]
    pictures = ["--photographs", str(sources.photographs)]
    rounds = ["--rounds", "2"] if chosen.quick else []
    machine: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    found: dict[str, Any] = {}
    for part in chosen.only:
        print(f"-- {part} ...", file=sys.stderr, flush=True)
        if part == "handler":
            given = [*pictures, *rounds, "--model", str(sources.model), "--processors", str(chosen.threads)]
            found[part] = [_handler(batch, megapixels, given) for batch, megapixels in HANDLED]
        elif part == "cold_start":
            found[part] = _cold_start(sources.manifest.model_version, [*pictures, *rounds])
        else:
            found[part] = run("build_time" if part == "build" else part, shared)
    processor, vnni = this_processor()
    machine |= {
        "processor": processor,
        "vnni": vnni,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES} | found.get("inference", {}).get("versions", {}),
        "load_after": os.getloadavg()[0],
    }
    manifest = sources.manifest
    model = {"version": manifest.model_version, "input_size": manifest.input_size, "weights": manifest.build["weights"]}
    whole = {
        "machine": machine,
        "model": model,
        "quick": chosen.quick,
        **found,
        "image": {} if chosen.quick else image(found),
    }
    text = compose(whole)
    (OUT / "bench.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (OUT / "table.txt").write_text(text + "\n", "utf-8")
    print(f"\n{text}\n\nWritten to {OUT.relative_to(ROOT)}/bench.json and table.txt")
    return 1 if any("error" in each for each in _rows(found)) else 0


def image(found: Mapping[str, Any]) -> dict[str, float]:
    """Processor time of an image in members of ops.capacity.workload.Image; empty if no batch was measured."""
    rows = [row for row in found.get("handler", []) if row.get("photographs") == TYPICAL and not row["megapixels"]]
    if not rows:
        return {}
    inference, whole = (rows[0][way]["cpu_milliseconds"]["median"] for way in ("bare", "handler"))
    decoding = rows[0]["decode_cpu_ms"]
    return {
        "side": rows[0]["side"],
        "inference_vcpu_ms": inference,
        "decode_vcpu_ms": decoding,
        "overhead_vcpu_ms": round(max(whole - inference - decoding, 0.0), 2),
    }


def compose(whole: dict[str, Any]) -> str:
    """The table of all that was measured."""
    blocks = [table.machine_table(whole["machine"])]
    if whole["quick"]:
        blocks.append("QUICK: too few rounds for figures; this only shows that everything runs")
    for part in (part for part in PARTS if part in whole):
        for row in _rows({part: whole[part]}):
            blocks.append(f"{part}: not measured: {row['error']}" if "error" in row else TABLES[part](row))
    return "\n\n".join(blocks)


def run(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a part found, or {"error": why there is nothing}."""
    path = OUT / f"{module}.json"
    path.unlink(missing_ok=True)
    ended = subprocess.run(
        [sys.executable, "-m", f"bench.{module}", *arguments, "--json", str(path)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if ended.returncode or not path.is_file():
        last = (ended.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"error": last.removeprefix("error: ")}
    return dict(json.loads(path.read_text("utf-8")))


def _handler(batch: int, megapixels: int | None, shared: Sequence[str]) -> dict[str, Any]:
    size = ["--megapixels", str(megapixels)] if megapixels else []
    return run("throughput", ["--batch", str(batch), *size, *shared]) | {"megapixels": megapixels}


def _cold_start(model_version: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Of the built function, which loads the model of its layer: no figure if that is another one."""
    try:
        deployed = Manifest.from_file(LAYER / "model" / MANIFEST_FILE).model_version
    except ModelError:
        return {"error": "there are no layers: make layer build"}
    if deployed != model_version:
        return {"error": f"the layer holds model {deployed}, the other parts are of {model_version}: make layer build"}
    return run("cold_start", arguments)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for part in found.values() for row in (part if isinstance(part, list) else [part])]


if __name__ == "__main__":
    sys.exit(main())
