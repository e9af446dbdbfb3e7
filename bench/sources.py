"""What the benchmarks run on, and the command line that all parts share."""

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.table import table
from labeller.manifest import MANIFEST_FILE, Manifest, ModelError
from layers import ROOT
from local.demo.drawn import draw_dataset
from model_build.data.folders import SPLITS
from ops.cli import CommandError, command_parser, exit_status

MODEL = ROOT / "build" / "model"
DEMO_INPUTS = ROOT / "build" / "demo" / "inputs.json"
OUT = ROOT / "build" / "bench"


class BenchError(CommandError):
    """A part cannot be measured; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The model, its data and weights, and how to measure."""

    model: Path
    manifest: Manifest
    data: Path
    drawn: bool  # there are no photographs; the pictures are drawn
    weights: str | None  # None if nobody named any
    threads: int
    quick: bool
    rounds: int | None  # None: the part's default

    @property
    def side(self) -> int:
        """Side of the network's input in pixels."""
        return self.manifest.input_size[0]

    @property
    def photographs(self) -> Path:
        """Folder of the test pictures, or of all pictures if the data set has no splits."""
        return self.data / "test" if (self.data / "test").is_dir() else self.data

    def round_count(self, default: int, quick: int = 2) -> int:
        """The number of rounds: as named, else `quick` or the part's `default`."""
        return self.rounds or (quick if self.quick else default)


def run_part(
    name: str,
    measure: Callable[[Sources, argparse.Namespace], dict[str, Any]],
    *errors: type[Exception],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """The command of one part, `python -m bench.NAME`: measure, print, write with --json; returns the exit status.

    `errors`, besides BenchError and ModelError, are those that `measure` raises.
    """
    parser = command_parser(f"bench.{name}", f"Measure the part {name} of `make bench`.")
    add_options(parser)
    add_arguments(parser)
    options = parser.parse_args()

    def command() -> int:
        results = measure(read(options), options)
        print(table(name, results))
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
        return 0

    return exit_status(command, ModelError, *errors)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every part."""
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the built model [build/model]")
    parser.add_argument("--data", type=Path, help="data set [the demo's, else drawn pictures]")
    parser.add_argument("--weights", help="imagenet, random or an .h5 file [the demo's]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[as many as cores]")
    parser.add_argument("--rounds", type=int, help="rounds to measure [the part's own number]")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, gives no figures")
    parser.add_argument("--json", type=Path, help="write the results to this file")


def read(options: argparse.Namespace) -> Sources:
    """The sources that the options name. Raises ModelError, BenchError."""
    if not (options.model / MANIFEST_FILE).is_file():
        raise BenchError(f"no model in {options.model}: make one first (`make model`, `make demo`), or name it: MODEL=")
    demo = demo_inputs()
    named = options.data or demo.get("data")
    data = (ROOT / named) if named else None
    drawn = data is None or not data.is_dir()
    if options.data and drawn:
        raise BenchError(f"there is no folder {options.data}")
    if data is None or drawn:
        data = _drawn()
    manifest = Manifest.from_file(options.model / MANIFEST_FILE)
    origin = manifest.build.get("weights")
    # "imagenet" names the values: they may have come from a file, and Keras may be unable to download them here.
    weights = options.weights or ("random" if origin == "random" else demo.get("weights"))
    weights = weights or ("imagenet" if origin == "imagenet" else None)
    if weights and weights not in ("imagenet", "random"):
        weights = str(ROOT / weights)
    return Sources(options.model, manifest, data, drawn, weights, options.threads, options.quick, options.rounds)


def demo_inputs() -> dict[str, str]:
    """Data and weights of the demo's model (local.demo.inputs), relative to the checkout; empty if no demo was run."""
    try:
        return dict(json.loads(DEMO_INPUTS.read_text("utf-8"))["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _drawn() -> Path:
    """A complete drawn data set. One without all splits, left by a run that was killed, is drawn again."""
    folder, partial = OUT / "drawn", OUT / "drawn.partial"
    if not all((folder / split).is_dir() for split in SPLITS):
        for old in (folder, partial):
            shutil.rmtree(old, ignore_errors=True)
        draw_dataset(partial).rename(folder)
    return folder
