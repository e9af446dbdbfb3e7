"""Compares the finished model's answers on several CPUs: `make verify-cpus`."""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.cpus import VerifyError, plain, sysroot
from bench.cpus.compare import ARM64_TOLERANCE, FAMILIARITY_TOLERANCE, Run, compare, report, target_met
from bench.cpus.machines import EMULATED, Machine, require_tools, this_machine
from bench.cpus.runs import Measurement, measure_all, measure_natively, measure_on_arm64
from bench.sources import MODEL, demo_inputs
from bench.table import table
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from layers import ROOT, PackagingError
from model_build.data import dataset
from model_build.data.dataset import DataError, Example
from model_build.data.reader import PictureReader
from ops.cli import INTERRUPTED, command_parser, positive

OURS, PLAIN = "7-bit kernels (build/model)", "plain U8S8"

TARGET_MISSED, CANNOT_RUN, TOOLS_MISSING = 1, 2, 3  # exit statuses


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns 0 if the target is met, 1 if it is missed, 2 for an error, 3 for missing tools."""
    parser = command_parser("bench.cpus", __doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the built model [build/model]")
    parser.add_argument("--data", type=Path, help="data set, of which the test photographs are used [the demo's]")
    parser.add_argument("--photographs", type=positive, default=40, help="number of test photographs [40]")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cpus", help="output folder [build/cpus]")
    options = parser.parse_args(arguments)
    try:
        require_tools()
        data = options.data or demo_inputs().get("data")
        if not data:
            raise DataError("no photographs: name the data set with --data (make: DATA=...)")
        return run(options.model, ROOT / data, options.photographs, options.out)
    except (VerifyError, DataError, ModelError, PackagingError) as error:
        print(f"verify-cpus: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, VerifyError) else CANNOT_RUN
    except OSError as error:
        print(f"verify-cpus: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return CANNOT_RUN
    except KeyboardInterrupt:
        print("verify-cpus: interrupted; the next run continues from here", file=sys.stderr)
        return INTERRUPTED


def run(model: Path, data: Path, photographs: int, out: Path) -> int:
    """Measure, print the table, write cpus.json; returns the exit status."""
    if not (model / MANIFEST_FILE).is_file():
        raise ModelError(f"no model in {model}: make one first (`make model`, `make demo`), or name it with --model")
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    paths = readable(dataset.scan(data).splits["test"], photographs, manifest.input_size[0])
    python = sysroot.prepare(out / "arm64")
    models = {OURS: model, PLAIN: _plain(model, manifest, out)}
    here = this_machine()
    print(f"{len(paths)} test photographs on {len(EMULATED) + 1} CPUs, {len(models)} models ...", flush=True)
    measurements = [
        _measurement(name, folder, machine, paths, python, out / "arm64")
        for machine in (here, *EMULATED)
        for name, folder in models.items()
    ]
    runs = measure_all(measurements, plain.write_probe(out / "probe.onnx"), out / "answers")
    native_runs = {run.model: run for run in runs if run.machine is here}
    rows = [compare(native_runs[name], run) for name in models for run in runs if run.model == name]
    details = {
        "model_version": manifest.model_version,
        "image_size": manifest.input_size[0],
        "onnxruntime": version("onnxruntime"),
        "native": here.title,
    }
    text = json.dumps(report(rows, OURS, details), indent=2, ensure_ascii=False) + "\n"
    (out / "cpus.json").write_text(text, encoding="utf-8")
    widths = {f"{name}_width": max(len(getattr(row, name)) for row in rows) for name in ("model", "cpu")}
    print(f"\n{table('cpus', {'rows': rows, **widths})}\n")
    _explain(native_runs)
    if not target_met(rows, OURS):
        print(
            f"verify-cpus: {manifest.model_version} does not give the same answers everywhere (allowed: identical on "
            f"x86_64, the same label and {ARM64_TOLERANCE} in probability on arm64, "
            f"{FAMILIARITY_TOLERANCE} in familiarity)",
            file=sys.stderr,
        )
        return TARGET_MISSED
    print(f"{manifest.model_version} gives the same answers on all CPUs; the figures are in {out / 'cpus.json'}.")
    return 0


def readable(examples: Sequence[Example], count: int, image_size: int) -> list[Path]:
    """At most `count` of the readable pictures, spread over the classes. Raises DataError if there are none."""
    usable = list(examples)
    while chosen := dataset.spread(usable, count):
        reader = PictureReader(chosen, image_size)
        for _ in reader.batches(1):
            pass
        if not reader.unreadable:
            return [example.path.absolute() for example in chosen]
        usable = [example for example in usable if example not in reader.unreadable]
    raise DataError("none of the test pictures can be read")


def _plain(model: Path, manifest: Manifest, out: Path) -> Path:
    folder = out / f"plain-{manifest.model_sha256[:12]}"
    if not (folder / MANIFEST_FILE).is_file():  # written last
        print("building the same model with 8-bit kernels, for comparison ...", flush=True)
        plain.make(model, folder)
    return folder


def _measurement(
    name: str, folder: Path, machine: Machine, photographs: Sequence[Path], python: Path, arm64: Path
) -> Measurement:
    sample = photographs[:: round(1 / machine.share)]
    if machine.architecture == "x86_64":
        return measure_natively(name, folder, machine, sample)
    return measure_on_arm64(name, folder, machine, sample, python, arm64 / "site", sysroot.cpu_root(arm64, machine))


def _explain(native_runs: Mapping[str, Run]) -> None:
    print(
        "Each row is compared with the native row of its model. products: the CPU's U8S8 kernel adds up 255 x 127;\n"
        "self-check: whether a function would start on that CPU."
    )
    if any("without VNNI" in run.machine.title for run in native_runs.values()):
        print("This CPU saturates too, so the plain model's native row is already wrong; arm64 shows by how much.")


if __name__ == "__main__":
    sys.exit(main())
