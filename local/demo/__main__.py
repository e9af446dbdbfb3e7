"""Run the whole system on this machine, with Python alone: `make demo`.

    python -m local.demo [--data DIR] [--weights W] [--image-size S] [--shared DIR] [--mirror URL]

Photographs -> model -> template.yaml on a local AWS -> uploads -> S3's notifications in the queue -> the real classify
handler -> tags and rows -> the nightly report.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from labeller.results import OTHER
from local.aws.handler_process import HandlerFailed
from local.demo import contact_sheet
from local.demo.contact_sheet import Entry
from local.demo.inputs import QUICK_SIZE, DemoInputs, find_inputs, save_inputs
from local.demo.labelling import DemoRun, choose_uploads, label_uploads
from model_build.__main__ import run
from model_build.atomic_folder import OutputError
from model_build.config import BuildConfig, SettingsError
from model_build.data.dataset import DataError, Dataset, scan
from model_build.data.folders import require_folder
from model_build.fingerprint import build_fingerprint
from ops.cli import CommandError, command_parser, exit_status
from score.keys import LATEST, night_key

OUT = Path("build/demo")
MODELS = (Path("build/model"), OUT / "model")


def main(arguments: list[str] | None = None) -> int:
    """Run the demo. Returns the exit status: 0 if every upload has the result that it should."""
    parser = command_parser("local.demo", __doc__)
    parser.add_argument("--data", type=Path, help="folder with train/, validation/ and test/ [public photographs]")
    parser.add_argument("--weights", help="imagenet, random or an .h5 file [imagenet]")
    parser.add_argument("--image-size", type=int, help=f"side of the network's input in pixels [{QUICK_SIZE}]")
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared"), help="has both if nothing can be downloaded [../shared]"
    )
    parser.add_argument("--mirror", metavar="URL", help="another address of the photographs' archive")
    options = parser.parse_args(arguments)
    return exit_status(lambda: demonstrate(options), DataError, ModelError, OutputError, SettingsError, OSError)


def demonstrate(options: argparse.Namespace) -> int:
    """Build or find the model, label the uploads, write and print the results; returns the exit status."""
    start = time.perf_counter()
    require_named(options)
    inputs = choose_inputs(options)
    data = scan(Path(inputs.data))
    model = model_for(inputs, data)
    if model is None:
        return 1
    try:
        result = label_uploads(choose_uploads(data, options.shared / "others"), model, OUT)
    except HandlerFailed as error:
        raise CommandError(f"the nightly report failed: {error}. See {OUT}/score.log") from error
    print_table(result.entries)
    write_results(OUT, result.entries, inputs, model)
    return conclude(result, time.perf_counter() - start, model)


def require_named(options: argparse.Namespace) -> None:
    """Check what the user names before anything is downloaded. Raises SettingsError, DataError."""
    size = QUICK_SIZE if options.image_size is None else options.image_size
    config = BuildConfig(options.data or Path(), options.weights or "random", size)
    config.require_usable()
    require_folder(config.data)


def choose_inputs(options: argparse.Namespace) -> DemoInputs:
    """The inputs that the options name, that can be downloaded, or that this machine has."""
    drawn = OUT / "drawn-pictures"
    inputs = find_inputs(options.data, options.weights, options.image_size, options.shared, drawn, options.mirror)
    save_inputs(OUT / "inputs.json", inputs)
    print(f"The model is built from {inputs.description}. {inputs.caveat}".rstrip(), flush=True)
    return inputs


def model_for(inputs: DemoInputs, data: Dataset) -> Path | None:
    """The folder of a model built from exactly these inputs; a quick one is built if there is none. None if the build
    fails.

    A model in build/model with other inputs is kept; the demo's model then goes to build/demo/model.
    """
    config = BuildConfig(Path(inputs.data), inputs.weights, inputs.image_size)
    wanted = {build_fingerprint(settings, data) for settings in (config, config.quick())}
    for folder in MODELS:
        with suppress(OSError, ValueError):  # no report, or none of this build's
            if json.loads((folder / "report.json").read_bytes()).get("key") in wanted:
                print(f"{folder} has it already.", flush=True)
                return folder
    print(f"A quick build: one quantisation, one head. `make model DATA={inputs.data}` compares more.", flush=True)
    folder = next((folder for folder in MODELS if not folder.exists()), MODELS[-1])
    return None if run(replace(config.quick(), out=folder)) else folder


def print_table(entries: Sequence[Entry]) -> None:
    """One line for each object: its true class, its tag, its row."""
    print(f"\n{'true':<12}{'tag':<12}{'row':<24}{'confidence':>10}   key")
    for entry in entries:
        mark = "x" if entry.right is False else " "
        row = entry.reason or (entry.label if entry.status == "LABELLED" else entry.status) or ""
        confidence = "" if entry.confidence is None else f"{entry.confidence:.4f}"
        print(f"{entry.true or '-':<12}{entry.tag or '-':<12}{row:<24}{confidence:>10} {mark} {entry.key}")


def write_results(out: Path, entries: Sequence[Entry], inputs: DemoInputs, model: Path) -> None:
    """Write labels.json and the contact sheet to `out`."""
    fields = ("key", "true", "tag", "status", "label", "confidence", "reason", "right")
    rows = [{name: getattr(entry, name) for name in fields} for entry in entries]
    (out / "labels.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", "utf-8")
    manifest = Manifest.from_file(model / MANIFEST_FILE)
    accuracy = json.loads((model / "report.json").read_bytes())["accuracy"]["test"]["int8"]
    remarks = (
        f"The model is built from {inputs.description}.",
        f"Model {manifest.model_version}: {accuracy['accuracy']:.1%} of {accuracy['images']:,} test pictures right.",
    )
    title = f"{inputs.caveat} {tally(entries)}".strip()
    contact_sheet.write(out / "index.html", title, remarks, entries)


def conclude(result: DemoRun, total: float, model: Path) -> int:
    """Print the summary and the next steps; `total` is the demo's duration in seconds. Returns the exit status."""
    entries, delivery = result.entries, result.delivery
    rate = len(entries) / result.seconds if result.seconds else 0.0
    unreadable = sum(entry.true is None for entry in entries)
    print(
        f"\n{tally(entries)}.\n{tally_of_others(entries)}"
        f"{unreadable} uploads that are not pictures are UNREADABLE, with the reason.\n"
        f"The classify handler took {result.seconds:.1f} s: {rate:.0f} objects a second on "
        f"{len(os.sched_getaffinity(0))} cores.\n\n"
        f"The nightly report on the same {pictures(entries)} pictures:\n{result.night['headline']}.\n\n"
        f"  contact sheet   {OUT}/index.html\n  nightly report  {OUT}/{night_key(LATEST)}\n"
        f"  results         {OUT}/labels.json\n  logs            {OUT}/classify.log, {OUT}/score.log"
    )
    missing = {entry.key for entry in entries if entry.status == "MISSING" or entry.tag is None}
    wrong = {entry.key for entry in entries if (entry.status == "UNREADABLE") != (entry.true is None)}
    if missing or wrong or delivery.failed:
        print(
            f"error: uploads without a label or with the wrong status: {sorted(missing | wrong)}; "
            f"failed deliveries: {delivery.failed} {delivery.errors}. See {OUT}/classify.log",
            file=sys.stderr,
        )
        return 1
    print(
        f"\nDone in {total:.0f} s. Next:\n"
        "  make model DATA=your/pictures          train on your own classes; the folders' names are the labels\n"
        "  make layer build                       pack the model for Lambda\n"
        "  make invoke EVENT=events/s3-put.json   run the built function on this machine\n"
        "  make deploy GUIDED=1                   deploy to your AWS account"
    )
    if model != MODELS[0]:
        print(f"The demo's model is in {model}. `make layer` packs {MODELS[0]}, which is another model.")
    return 0


def tally(entries: Sequence[Entry]) -> str:
    """How many pictures are labelled right, wrong and not at all, in a sentence."""
    known = [entry for entry in entries if entry.true not in (None, OTHER)]
    right, wrong = (sum(entry.right is verdict for entry in known) for verdict in (True, False))
    rest = ""
    for status, measure in (("UNSURE", "confidence"), ("UNKNOWN", "familiarity")):
        if number := sum(entry.status == status for entry in known):
            rest += f", {number} {status} ({measure} below the model's threshold)"
    return f"{right} of {len(known)} pictures labelled right, {wrong} wrong{rest}"


def tally_of_others(entries: Sequence[Entry]) -> str:
    """A line on the pictures of none of the labels; empty without any."""
    statuses = [entry.status for entry in entries if entry.true == OTHER]
    unknown, unsure, labelled = (statuses.count(status) for status in ("UNKNOWN", "UNSURE", "LABELLED"))
    if not statuses:
        return ""
    return (
        f"{unknown + unsure} of {len(statuses)} pictures of none of the labels got no label ({unknown} UNKNOWN, "
        f"{unsure} UNSURE), {labelled} got one.\n"
    )


def pictures(entries: Sequence[Entry]) -> int:
    """How many of the uploads are pictures of the labels."""
    return sum(entry.true not in (None, OTHER) for entry in entries)


if __name__ == "__main__":
    sys.exit(main())
