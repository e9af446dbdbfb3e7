"""From reviews to a verdict: where reviewed pictures go, what is left out, when a candidate is deployed."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boto3.dynamodb.types import TypeSerializer
from PIL import Image

from evaluation.comparison import Comparison
from labeller.events import ObjectRef
from labeller.manifest import Manifest
from labeller.records import item_for
from labeller.results import Prediction, Result, Status, Tagging
from labeller.reviews import following
from labeller.storage import Fetched
from local.aws.moto import LocalAws
from local.aws.stack import Stack
from model_build.data.dataset import scan
from ops import learn
from ops.learn import SIDE, Added, Reviewed, add_pictures, scene_of, verdict
from tests.support import colour_network, encoded, write_model

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def scene(number: int, size: tuple[int, int] = (64, 48), tint: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """A picture of random tiles; `tint` makes the colour of the whole."""
    tiles = np.random.default_rng(number).integers(0, 120, (8, 9, 3), dtype=np.uint8) + np.array(tint, np.uint8)
    return Image.fromarray(tiles).resize(size, Image.Resampling.NEAREST)


def pixels(image: Image.Image) -> Any:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def test_a_scene_is_the_same_in_other_sizes_and_qualities() -> None:
    original = scene(1, (640, 480))
    buffer = io.BytesIO()
    original.resize((160, 120), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=60)
    small = Image.open(buffer)

    same = scene_of(pixels(original)) ^ scene_of(pixels(small))
    other = scene_of(pixels(original)) ^ scene_of(pixels(scene(2, (640, 480))))

    assert same.bit_count() <= learn.NEAR
    assert other.bit_count() > 16


def reviewed(number: int, label: str = "cats", queue: str = "UNSURE", **picture: Any) -> Reviewed:
    image = scene(number, **picture)
    row = {"human_label": label, "reviews": [{"queue": queue}], "format": "PNG", "status": "UNSURE"}
    return Reviewed(row, Fetched(encoded(image), None, "e"), scene_of(pixels(image)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pictures of each label and split, numbered from 1000 on."""
    number = 1000
    for split in ("train", "validation", "test"):
        for label in ("cats", "dogs"):
            (tmp_path / split / label).mkdir(parents=True)
            for _ in range(20):
                (tmp_path / split / label / f"{number}.png").write_bytes(encoded(scene(number)))
                number += 1
    return tmp_path


def added_to(root: Path, pictures: Sequence[Reviewed]) -> tuple[list[str], dict[str, int]]:
    data, added = scan(root), Added()
    before = set(root.rglob("*.png"))
    add_pictures(data, learn._scenes(data), pictures, added)
    new = sorted(path.parent.relative_to(root).as_posix() for path in set(root.rglob("*.png")) - before)
    assert sum(added.added.values()) == len(new)
    return new, dict(added.left_out)


def test_the_random_sample_measures_and_all_others_teach(data: Path) -> None:
    pictures = [reviewed(1), reviewed(2, "dogs"), reviewed(3, "other"), reviewed(4, queue="SAMPLE")]

    new, left_out = added_to(data, pictures)

    assert new == ["test/cats", "train/cats", "train/dogs", "train/other"]
    assert left_out == {}


def test_nothing_is_learned_and_tested(data: Path) -> None:
    pictures = [
        reviewed(5, queue="SAMPLE"),
        reviewed(5, size=(128, 96)),  # the same scene, larger
        reviewed(1080, size=(128, 96)),  # resembles a test picture
        reviewed(1000, queue="SAMPLE", size=(128, 96)),  # a measuring one that resembles a training picture
        reviewed(1001),  # there already
        reviewed(1002, size=(128, 96)),  # resembles a training picture, and is one
        reviewed(6, "birds"),
    ]

    new, left_out = added_to(data, pictures)

    assert new == ["test/cats", "train/cats"]
    assert left_out == {
        "resembles a picture of test": 2,
        "resembles a picture of train": 1,
        "there already": 1,
        "the data set has no label birds": 1,
    }
    again, _ = added_to(data, pictures)
    assert again == []


def comparison(before: int, now: int, p_value: float) -> Comparison:
    return Comparison("x", "m", True, 100, before, 100, now, None, None, p_value)


BETTER, SAME, WORSE = comparison(80, 95, 0.001), comparison(80, 82, 0.6), comparison(80, 60, 0.001)


@pytest.mark.parametrize(
    ("test_set", "sample", "deploy", "reason"),
    [
        (BETTER, None, True, "measurably better: 95 of 100 right on the test set, 80 before (p = 0.001)"),
        (SAME, BETTER, True, "measurably better: 95 of 100 right on the random sample"),
        (WORSE, BETTER, False, "measurably worse: 60 of 100 right on the test set"),
        (BETTER, WORSE, False, "measurably worse: 60 of 100 right on the random sample"),
        (SAME, SAME, False, "no measurable difference"),
        (None, None, False, "neither a test set nor"),
    ],
)
def test_a_candidate_is_deployed_if_it_is_better_somewhere_and_worse_nowhere(
    test_set: Comparison | None, sample: Comparison | None, deploy: bool, reason: str
) -> None:
    decided, why = verdict(test_set, sample)
    assert decided is deploy
    assert reason in why


# ---- on a stack -------------------------------------------------------------------------------------------


RED, BLUE = (135, 0, 0), (0, 0, 135)


def upload(aws: LocalAws, stack: Stack, key: str, image: Image.Image, said: str, human: str, queue: str) -> None:
    """An upload that the deployed model called `said` and a person `human`."""
    etag = aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=key, Body=encoded(image))["ETag"].strip('"')
    result = Result(Status.LABELLED, "m", Prediction(said, 0.9, {said: 0.9}), 64, 48, "PNG")
    review = following(None, human, "Ann", NOON.isoformat(timespec="microseconds"), etag, queue=queue)
    ref = ObjectRef(stack.uploads_bucket, key)
    item = item_for(ref, result, Tagging.WRITTEN, etag=etag, size=1, classified_at=NOON, ttl_days=0, review=review)
    serialise = TypeSerializer().serialize
    row = {name: serialise(value) for name, value in item.items()}
    aws.client("dynamodb").put_item(TableName=stack.results_table, Item=row)


def run(stack: Stack, data: Path, model: Path, candidate: Path) -> int:
    arguments = ["--stack", stack.name, "--data", str(data), "--model", str(model), "--candidate", str(candidate)]
    return learn.main(arguments)


@pytest.mark.parametrize(("gain", "exit_status", "word"), [(1 / 25.5, 0, "deploy"), (-1 / 25.5, 3, "keep")])
def test_the_loop_ends_with_a_verdict(
    aws: LocalAws,
    stack: Stack,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gain: float,
    exit_status: int,
    word: str,
) -> None:
    """The candidate knows red from blue, or, poisoned, takes one for the other. The deployed model got half right."""
    for split in ("train", "validation", "test"):
        for old, new in (("cats", "red"), ("dogs", "blue")):
            (data / split / old).rename(data / split / new)
    for number in range(24):
        truth, tint = ("red", RED) if number % 2 else ("blue", BLUE)
        upload(aws, stack, f"{number}.png", scene(number, tint=tint), "red" if number < 16 else truth, truth, "SAMPLE")
    upload(aws, stack, "unsure.png", scene(50, tint=RED), "blue", "red", "UNSURE")
    model, candidate = write_model(data.parent / f"{data.name}-model"), data.parent / f"{data.name}-candidate"
    (model / "report.json").write_text(json.dumps({"settings": {"image_size": 8, "speedup": 1.0}}))
    network = colour_network((8, 8), gain)
    monkeypatch.setattr(learn, "_build", lambda *_: write_model(candidate, network, model_version="candidate-1"))

    assert run(stack, data, model, candidate) == exit_status

    printed = capsys.readouterr().out
    assert f"\n{word}: the candidate is measurably" in printed
    # The deployed model is right on the 8 reds and 8 of the 16 blues of its 24 answers: 16.
    assert "16 before" in printed
    assert "12 to test/blue" in printed
    assert "1 to train/red" in printed
    version, deployed = (Manifest.from_file(one / "manifest.json").model_version for one in (candidate, model))
    if word == "deploy":  # the command that it prints puts the candidate in the deployed model's place, and keeps that
        replacing, then = next(line for line in printed.splitlines() if str(candidate) in line).split(
            " && make deploy ENV="
        )
        assert then == "NAME, then make backfill STALE_ONLY=1"
        subprocess.run(replacing, shell=True, check=True)
        assert Manifest.from_file(model / "manifest.json").model_version == version == "candidate-1"
        assert not candidate.exists()
        (kept,) = model.parent.glob(f"{model.name}.*")
        assert Manifest.from_file(kept / "manifest.json").model_version == deployed


def test_a_data_set_without_splits_is_refused(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        for label in ("cats", "dogs"):
            path = tmp_path / "unsplit" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(scene(number + 100 * len(label) + (label == "dogs") * 500)))

    assert run(stack, tmp_path / "unsplit", tmp_path, tmp_path) == 1
    assert "make split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("search", "asked_for"),
    [
        (None, ["--image-size", "224", "--compress", "none"]),
        ({"chosen": "320 px, 2x faster"}, ["--image-size", "320", "--compress", "2"]),
        ({"chosen": "320 px, full"}, ["--image-size", "320", "--compress", "none"]),
    ],
)
def test_the_candidate_has_the_network_that_the_build_of_the_deployed_model_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any] | None, asked_for: list[str]
) -> None:
    networks = [
        {"name": "320 px, 2x faster", "image_size": 320, "speedup": 2.0},
        {"name": "320 px, full", "image_size": 320, "speedup": 1.0},
    ]
    report: dict[str, Any] = {"settings": {"image_size": 224, "speedup": 1.0}}
    if search:
        report["search"] = search | {"networks": networks}
    (tmp_path / "report.json").write_text(json.dumps(report))
    commands: list[list[str]] = []

    def run_build(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(learn.subprocess, "run", run_build)

    learn._build(argparse.Namespace(data="pictures", candidate="candidate", weights="imagenet"), tmp_path)

    assert commands[0][-4:] == asked_for
