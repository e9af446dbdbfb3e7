"""Learn from reviews: `make learn STACK=name DATA=pictures`.

    python -m ops.learn --data DIR [--stack NAME] [--weights W] [--candidate DIR] [--model DIR]

Adds the reviewed pictures to the data set in DIR, builds a candidate from it with the settings of the deployed model,
and compares the two. Prints one verdict, deploy or keep, with the reason.

- Pictures of the random sample go to test/, all others to train/. So no picture is in both, and pictures that were
  reviewed because the model hesitates do not make the test set harder unnoticed.
- A picture that resembles one of another split is left out: it would be learned and tested. A picture whose content is
  there already is not added again.
- The candidate is compared on the stack's test set, and on the random sample: is the label that the deployed model
  gave, or the candidate's, the person's? It is deployed if it is measurably better on one (McNemar's test) and
  measurably worse on none.

Exit status: 0 deploy; 1 it could not be done; 2 wrong arguments; 3 keep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from numpy.typing import NDArray

from evaluation.comparison import Comparison, Outcome, compare_pictures
from evaluation.predictions import Scored
from evaluation.storage import ReportStorage, row_of
from labeller.aws_errors import AwsFailure, Gone
from labeller.classifier import load_classifier
from labeller.images import Unreadable
from labeller.inference import decode_fetched, infer
from labeller.manifest import ModelError
from labeller.records import ref_of
from labeller.results import OTHER, Status
from labeller.settings import SettingsError
from labeller.storage import Fetched, connect
from labeller.text import printable
from model_build.data.dataset import Dataset, scan
from model_build.data.folders import DataError
from model_build.data.reader import PictureReader
from ops.cli import CommandError, add_stack_argument, command_parser, exit_status, folder
from ops.local_stack import model_folder
from ops.review.uploads import SAMPLE
from ops.shadow import Shadow, settings_of
from ops.stack import StackDescription, describe_stack
from score.testset import InvalidTestSet

KEEP = 3  # exit status
SIDE = 72  # pixels of a picture whose scene is computed: 8 x 9
NEAR = 5  # bits of 64 that two pictures may differ in to count as the same scene; Krawetz: up to 10 is a variation
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An upload with a person's label."""

    row: Mapping[str, Any]
    fetched: Fetched
    scene: int  # see `scene_of`

    @property
    def content(self) -> bytes:
        """The file."""
        return self.fetched.data or b""

    @property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def label(self) -> str:
        """The person's."""
        return str(self.row["human_label"])

    @property
    def measures(self) -> bool:
        """Whether the picture was drawn at random, so that it may measure."""
        return any(entry.get("queue") == SAMPLE for entry in self.row.get("reviews", ()))

    @property
    def split(self) -> str:
        """Where the picture belongs."""
        return "test" if self.measures else "train"


@dataclass(slots=True)
class Added:
    """What became of the reviewed pictures."""

    added: Counter[tuple[str, str]] = field(default_factory=Counter)  # split and label -> pictures
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> pictures

    def lines(self) -> list[str]:
        """For people."""
        counts = [f"  {count} to {split}/{printable(label)}" for (split, label), count in sorted(self.added.items())]
        reasons = [f"  {count} left out: {reason}" for reason, count in self.left_out.most_common()]
        return [f"{self.added.total()} reviewed pictures added:", *counts, *reasons]


def reviewed_rows(dynamodb: Any, table: str) -> Iterator[dict[str, Any]]:
    """The rows with a person's label. Reads the whole table: half a read unit for each 4 KB of all rows."""
    for page in dynamodb.get_paginator("scan").paginate(
        TableName=table, FilterExpression="attribute_exists(human_label)"
    ):
        yield from map(row_of, page["Items"])


def fetch(shadow: Shadow, rows: Iterable[Mapping[str, Any]], added: Added) -> list[Reviewed]:
    """The reviewed pictures, in the order of their content's SHA-256. Raises AwsFailure."""
    reviewed = []
    for row in rows:
        ref = ref_of(row)
        try:
            fetched = shadow.pictures.fetch(ref, shadow.settings.max_image_bytes)
            if fetched.etag != row["reviewed_etag"]:
                raise Gone(ref.path)
            pixels = decode_fetched(fetched, (SIDE, SIDE), shadow.settings).pixels
        except Gone:
            added.left_out["deleted or replaced since"] += 1
        except Unreadable:
            added.left_out["not a picture"] += 1
        else:
            reviewed.append(Reviewed(row, fetched, scene_of(pixels)))
    return sorted(reviewed, key=lambda one: one.sha256)


def scene_of(pixels: NDArray[np.uint8]) -> int:
    """64 bits that are nearly the same for a picture and its copies in other sizes and qualities.

    Each says whether a pixel of the picture at 9 x 8 is brighter than its right neighbour (difference hash, N. Krawetz,
    "Kind of Like That", 2013). `pixels`: uint8 [SIDE, SIDE, 3].
    """
    grey = pixels.astype(np.int64).reshape(8, SIDE // 8, 9, SIDE // 9, 3).sum(axis=(1, 3, 4))
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def add_pictures(data: Dataset, scenes: Mapping[str, int], reviewed: Sequence[Reviewed], added: Added) -> None:
    """Write the pictures into the data set's folders. `scenes`: by SHA-256, of the pictures that are there already."""
    homes = {e.sha256: split for split, es in data.splits.items() for e in (*es, *data.others.get(split, ()))}
    split_of_scene = [(scene, homes[sha256]) for sha256, scene in scenes.items()]
    # Pictures that measure come first, so that one that resembles them is not learned.
    for one in sorted(reviewed, key=lambda one: not one.measures):
        if one.label not in (*data.labels, OTHER):
            added.left_out[f"the data set has no label {printable(one.label)}"] += 1
        elif one.sha256 in homes:
            added.left_out["there already"] += 1
        elif resembled := {split for scene, split in split_of_scene if _is_near(scene, one.scene)} - {one.split}:
            added.left_out[f"resembles a picture of {', '.join(sorted(resembled))}"] += 1
        else:
            target = data.root / one.split / one.label / f"live-{one.sha256[:16]}{_suffix(one)}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(one.content)
            homes[one.sha256] = one.split
            split_of_scene.append((one.scene, one.split))
            added.added[one.split, one.label] += 1


def compare_on_sample(shadow: Shadow, reviewed: Sequence[Reviewed]) -> Comparison | None:
    """The deployed model's labels and the candidate's for the pictures that measure; None without any."""
    scored, before = [], {}
    for one in reviewed:
        if one.measures and one.label in shadow.candidate.labels and one.row["status"] == Status.LABELLED:
            inference = infer(one.fetched, shadow.candidate, shadow.settings, {})
            answer = Scored(one.row["object"], one.label, one.sha256, inference.prediction, inference.result.status)
            scored.append(answer)
            before[answer.identity] = one.row["label"]
    return compare_pictures("the random sample of uploads", "deployed", before, scored)


def verdict(test_set: Comparison | None, sample: Comparison | None) -> tuple[bool, str]:
    """Whether to deploy the candidate, and why."""
    named = [(name, one) for name, one in (("test set", test_set), ("random sample of uploads", sample)) if one]
    if not named:
        return False, "there is neither a test set nor a reviewed random sample to compare on"
    words = {
        name: f"{one.correct_now} of {one.pictures_now} right on the {name}, {one.correct_before} before "
        f"(p = {one.p_value:.3g})"
        for name, one in named
    }
    worse = [words[name] for name, one in named if one.outcome is Outcome.WORSE]
    better = [words[name] for name, one in named if one.outcome is Outcome.BETTER]
    if worse:
        return False, f"the candidate is measurably worse: {'; '.join(worse)}"
    if better:
        return True, f"the candidate is measurably better: {'; '.join(better)}"
    return False, f"no measurable difference: {'; '.join(words.values())}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("ops.learn", __doc__)
    add_stack_argument(parser)
    parser.add_argument("--data", type=folder, required=True, help="the data set, with train/, validation/ and test/")
    parser.add_argument("--weights", default="imagenet", help="as for the build [imagenet]")
    parser.add_argument("--candidate", type=Path, default=Path("build/candidate"), help="[build/candidate]")
    parser.add_argument("--model", type=Path, help="the deployed model [build/model]")
    options = parser.parse_args(arguments)
    return exit_status(lambda: learn(options), ModelError, AwsFailure, SettingsError, DataError, OSError)


def learn(options: argparse.Namespace) -> int:
    """Add, build, compare; returns the exit status."""
    model, added = model_folder(options.model), Added()
    data = scan(options.data)
    if data.split_by_content:
        raise CommandError(f"{options.data} has no folders train, validation and test: make split DATA=... writes them")
    stack = describe_stack(options.stack)
    shadow = _shadow(stack, model)
    reviewed = fetch(shadow, reviewed_rows(boto3.client("dynamodb"), stack.output("ResultsTableName")), added)
    add_pictures(data, _scenes(data), reviewed, added)
    print("\n".join(added.lines()), flush=True)
    _build(options, model)
    shadow = _shadow(stack, options.candidate)
    try:
        test_set, _ = shadow.compare_on_test_set(model)
    except InvalidTestSet:
        test_set = None
    deploy, reason = verdict(test_set, compare_on_sample(shadow, reviewed))
    print(f"\n{'deploy' if deploy else 'keep'}: {reason}")
    if deploy:
        old, new = (shlex.quote(str(path)) for path in (model, options.candidate))
        replace = f"mv -T --backup=numbered {new} {old}"  # the earlier model stays, as model.~1~
        print(f"{replace} && make deploy ENV=NAME, then make backfill STALE_ONLY=1")
    return 0 if deploy else KEEP


def _shadow(stack: StackDescription, model: Path) -> Shadow:
    table = stack.output("ResultsTableName")
    return Shadow(
        load_classifier(model, threads=1),
        settings_of(table, stack.parameters),
        connect(table),
        ReportStorage(stack.output("ReportsBucketName"), table),
    )


def _build(options: argparse.Namespace, model: Path) -> None:
    """Build the candidate in a process of its own: TensorFlow stays out of this one. Raises CommandError."""
    size, speedup = _network_of(model)
    command = [sys.executable, "-m", "model_build", "--data", str(options.data), "--out", str(options.candidate)]
    command += ["--weights", options.weights, "--image-size", str(size)]
    command += ["--compress", f"{speedup:g}" if speedup > 1 else "none"]
    if status := subprocess.run(command, check=False).returncode:
        raise CommandError(f"the build of the candidate failed with exit status {status}; the deployed model stays")


def _network_of(model: Path) -> tuple[int, float]:
    """Size of the pictures and speed-up of a model's network: what its build chose, or else was asked for."""
    report = json.loads((model / "report.json").read_text("utf-8"))
    search = report.get("search") or {"networks": []}
    shipped = [one for one in search["networks"] if one["name"] == search["chosen"]]
    network = shipped[0] if shipped else report["settings"]
    return network["image_size"], network["speedup"]


def _scenes(data: Dataset) -> dict[str, int]:
    """The scene of each readable picture of the data set, by SHA-256."""
    scenes: dict[str, int] = {}
    every = [e for split, es in data.splits.items() for e in (*es, *data.others.get(split, ()))]
    for batch, pixels in PictureReader(every, SIDE).batches(64):
        for example, picture in zip(batch, pixels, strict=True):
            scenes[example.sha256] = scene_of(picture)
    return scenes


def _is_near(one: int, other: int) -> bool:
    return (one ^ other).bit_count() <= NEAR


def _suffix(one: Reviewed) -> str:
    return _SUFFIXES.get(str(one.row.get("format")), ".bin")


if __name__ == "__main__":
    sys.exit(main())
