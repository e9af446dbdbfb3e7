"""What the benchmarks are run on: the finished model, and the pictures and weights it was made from."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from labeller.manifest import MANIFEST_FILE, Manifest
from local import ROOT
from local.demo.drawn import draw_dataset
from model_build.data.folders import SPLITS

MODEL = ROOT / "build" / "model"
DEMO_INPUTS = ROOT / "build" / "demo" / "inputs.json"
OUT = ROOT / "build" / "bench"


class BenchError(Exception):
    """A figure cannot be measured; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Sources:
    """`weights` is None if nobody named any; `drawn` if there are no photographs, and pictures were drawn instead."""

    model: Path
    manifest: Manifest
    data: Path
    drawn: bool
    weights: str | None

    @property
    def side(self) -> int:
        """Of the network's input, in pixels."""
        return self.manifest.input_size[0]

    @property
    def photographs(self) -> Path:
        """Folder of the test pictures; of all of them, where the data set comes without splits."""
        return self.data / "test" if (self.data / "test").is_dir() else self.data


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `read` takes, and those every part has."""
    parser.add_argument("--model", type=Path, default=MODEL, help="what `make model` made (default: build/model)")
    parser.add_argument("--data", type=Path, help="data set (default: what the demo remembers, else drawn pictures)")
    parser.add_argument("--weights", help="imagenet, random or an .h5 file (default: what the demo remembers)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="(default: as many as cores)")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not for figures")
    parser.add_argument("--json", type=Path, help="write what was found to this file")


def read(chosen: argparse.Namespace) -> Sources:
    """The sources that the options name. Raises ModelError, BenchError."""
    if not (chosen.model / MANIFEST_FILE).is_file():
        raise BenchError(f"no model in {chosen.model}: make one first (`make model`, `make demo`), or name it: MODEL=")
    remembered = _remembered()
    named = chosen.data or remembered.get("data")
    data = (ROOT / named) if named else None
    drawn = data is None or not data.is_dir()
    if chosen.data and drawn:
        raise BenchError(f"there is no folder {chosen.data}")
    if data is None or drawn:
        data = _drawn()
    manifest = Manifest.from_file(chosen.model / MANIFEST_FILE)
    origin = manifest.build.get("weights")
    weights = chosen.weights or (origin if origin in ("imagenet", "random") else remembered.get("weights"))
    if weights and weights not in ("imagenet", "random"):
        weights = str(ROOT / weights)
    return Sources(chosen.model, manifest, data, drawn, weights)


def _drawn() -> Path:
    """A drawn data set, whole: not what a run that was killed, or a part that needs test pictures alone, left there."""
    folder, new = OUT / "drawn", OUT / "drawn.partial"
    if not all((folder / split).is_dir() for split in SPLITS):
        for old in (folder, new):
            shutil.rmtree(old, ignore_errors=True)
        draw_dataset(new).rename(folder)
    return folder


def _remembered() -> dict[str, str]:
    try:
        return dict(json.loads(DEMO_INPUTS.read_text("utf-8"))["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
