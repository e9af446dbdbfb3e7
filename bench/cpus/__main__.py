"""The command line of the comparison: `python -m bench.cpus --help` (make verify-cpus)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.cpus import plain, sysroot
from bench.cpus.compare import ARM64_TOLERANCE, Run, compare, report, table, target_met
from bench.cpus.machines import CPUINFO, EMULATED, Machine, MissingTools, native, require_tools
from bench.cpus.runs import Measurement, MeasurementError, measure_all, measure_natively, measure_on_arm64
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from layers import ROOT, PackagingError
from model_build.data import dataset
from model_build.data.dataset import DataError, Example
from model_build.data.reader import PictureReader

OURS, PLAIN = "7-bit kernels (build/model)", "plain U8S8"
DEMO_INPUTS = ROOT / "build" / "demo" / "inputs.json"

TARGET_MISSED, CANNOT_RUN, TOOLS_MISSING, INTERRUPTED = 1, 2, 3, 130  # exit statuses


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns 0 when the target is met, 1 when it is missed, 2 for an error, 3 for missing tools."""
    parser = argparse.ArgumentParser(prog="python -m bench.cpus", description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "model", help="folder of the built model")
    parser.add_argument("--data", type=Path, help="data set, of which the test photographs are taken [the demo's]")
    parser.add_argument("--weights", help="base weights the model was made of: imagenet, random, a file [the demo's]")
    parser.add_argument("--photographs", type=int, default=40, help="test photographs, spread over the classes [40]")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cpus", help="folder of what this makes")
    options = parser.parse_args(arguments)
    if options.photographs < 1:
        parser.error("--photographs must be at least 1")
    try:
        require_tools()
        chosen = _chosen_by_demo()
        data, weights = options.data or chosen.get("data"), options.weights or chosen.get("weights")
        if not data:
            raise DataError("no photographs: name the data set with --data (make: DATA=...)")
        return run(options.model, ROOT / data, weights, options.photographs, options.out)
    except MissingTools as error:
        print(f"verify-cpus: {error}", file=sys.stderr)
        return TOOLS_MISSING
    except (DataError, ModelError, PackagingError, MeasurementError, sysroot.SysrootError) as error:
        print(f"verify-cpus: {error}", file=sys.stderr)
        return CANNOT_RUN
    except OSError as error:
        print(f"verify-cpus: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return CANNOT_RUN
    except KeyboardInterrupt:
        print("verify-cpus: interrupted; the next run goes on from here", file=sys.stderr)
        return INTERRUPTED


def run(model: Path, data: Path, weights: str | None, photographs: int, out: Path) -> int:
    """Measure, print the table, write cpus.json; returns the exit status."""
    if not (model / MANIFEST_FILE).is_file():
        raise ModelError(f"no model in {model}: make one first (`make model`, `make demo`), or name it with --model")
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    paths = readable(dataset.scan(data).splits["test"], photographs, manifest.input_size[0])
    python = sysroot.prepare(out / "arm64")
    models = {OURS: model}
    try:
        if not weights:
            raise plain.PlainModelError("name the base weights with --weights (make: WEIGHTS=...)")
        models[PLAIN] = _plain(model, manifest, weights, out)
    except plain.PlainModelError as error:
        print(f"No comparison with a plain model: {error}")
    here = native(CPUINFO.read_text("utf-8"))
    print(f"{len(paths)} test photographs on {len(EMULATED) + 1} CPUs, {len(models)} models ...", flush=True)
    measurements = [
        _measurement(name, folder, machine, paths, python, out / "arm64")
        for machine in (here, *EMULATED)
        for name, folder in models.items()
    ]
    runs = measure_all(measurements, plain.write_probe(out / "probe.onnx"), out / "answers")
    natively = {run.model: run for run in runs if run.machine is here}
    rows = [compare(natively[name], run) for name in models for run in runs if run.model == name]
    details = {
        "model_version": manifest.model_version,
        "image_size": manifest.input_size[0],
        "onnxruntime": version("onnxruntime"),
        "native": here.title,
    }
    text = json.dumps(report(rows, OURS, details), indent=2, ensure_ascii=False) + "\n"
    (out / "cpus.json").write_text(text, encoding="utf-8")
    print(f"\n{table(rows)}\n")
    _explain(natively)
    if not target_met(rows, OURS):
        print(
            f"verify-cpus: {manifest.model_version} does not give the same answers everywhere (allowed: identical on "
            f"x86_64, the same label and {ARM64_TOLERANCE} in probability on arm64)",
            file=sys.stderr,
        )
        return TARGET_MISSED
    print(f"{manifest.model_version} gives the same answers on all of them; {out / 'cpus.json'} has the figures.")
    return 0


def readable(examples: Sequence[Example], count: int, image_size: int) -> list[Path]:
    """At most `count` of the pictures that can be read, spread over the classes. DataError if there are none."""
    usable = list(examples)
    while chosen := dataset.spread(usable, count):
        reader = PictureReader(chosen, image_size)
        for _ in reader.batches(1):
            pass
        if not reader.unreadable:
            return [example.path.absolute() for example in chosen]
        usable = [example for example in usable if example not in reader.unreadable]
    raise DataError("none of the test pictures can be read")


def _plain(model: Path, manifest: Manifest, weights: str, out: Path) -> Path:
    folder = out / f"plain-{manifest.model_sha256[:12]}"
    if not (folder / MANIFEST_FILE).is_file():  # written last
        print("plain: the same model with 8-bit kernels is made, for comparison ...", flush=True)
        plain.make(model, weights, folder)
    return folder


def _measurement(
    name: str, folder: Path, machine: Machine, photographs: Sequence[Path], python: Path, arm64: Path
) -> Measurement:
    step = round(1 / machine.share)
    some = photographs[::step]
    if machine.architecture == "x86_64":
        return measure_natively(name, folder, machine, some)
    return measure_on_arm64(name, folder, machine, some, python, arm64 / "site", sysroot.cpu_root(arm64, machine))


def _explain(natively: dict[str, Run]) -> None:
    print(
        "Each row is compared with the native one of its model. products: what the CPU's U8S8 kernel makes of sums of "
        "255 x 127;\nself-check: whether a function would start there."
    )
    if any("without VNNI" in run.machine.title for run in natively.values()):
        print("This CPU saturates itself, so the plain model's native row is already wrong; arm64 shows by how much.")


def _chosen_by_demo() -> dict[str, str]:
    """Data and weights of the demo's model (local.demo.inputs), relative to the checkout, if there was a demo."""
    try:
        return dict(json.loads(DEMO_INPUTS.read_text("utf-8"))["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


if __name__ == "__main__":
    sys.exit(main())
