"""The desk for a data set: answers move files, the log knows, undo moves them back."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from labeller.pipeline import WorkerPool
from model_build.data.dataset import scan
from model_build.suspects import Suspect
from ops.review.desk import NotFound
from ops.review.files import Files
from ops.review.model import ReviewModel
from tests.support import encoded, plain

NAMES = ["train/cats/a.png", "validation/dogs/album/b.png", "test/cats/c.png"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(plain((number, 0, 0), 64, 32)))
    return tmp_path


def desk(root: Path, names: list[str] = NAMES) -> Files:
    suspects = {}
    for name in names:
        split, label = name.split("/")[:2]
        digest = hashlib.sha256(encoded(plain((NAMES.index(name), 0, 0), 64, 32))).hexdigest()
        suspects[digest] = Suspect(split, name, digest, label, "dogs" if label == "cats" else "cats", 0.1, 0.9)
    return Files(root, ("cats", "dogs"), suspects, WorkerPool(1, "cpu"), ReviewModel(root), by="Ann")


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


def waiting(files: Files) -> list[str]:
    items, _ = asyncio.run(asyncio.run(files.open("SUSPECTS", "")).items(0, 24))
    return [item.name for item in items]


def test_an_answer_moves_the_file_within_its_split(root: Path) -> None:
    here = desk(root)
    first, second, third = here.suspects
    assert waiting(here) == NAMES

    for item, label in ((first, "dogs"), (second, "other"), (third, "cats")):
        assert asyncio.run(here.answer(item, label, "SUSPECTS"))["answer"] == "ACCEPTED"

    assert files(root) == ["test/cats/c.png", "train/dogs/a.png", "validation/other/album/b.png"]
    assert waiting(desk(root)) == []  # the log knows
    log = [json.loads(line) for line in (root / ".review.jsonl").read_text().splitlines()]
    assert [(entry["by"], entry["from"], entry["to"]) for entry in log] == [
        ("Ann", "train/cats/a.png", "train/dogs/a.png"),
        ("Ann", "validation/dogs/album/b.png", "validation/other/album/b.png"),
        ("Ann", "test/cats/c.png", "test/cats/c.png"),
    ]
    assert asyncio.run(here.open("SUSPECTS", "")).figures() == "2 moved, 1 confirmed"


def test_strange_pictures_have_a_queue_of_their_own(root: Path) -> None:
    here = desk(root)
    first = next(iter(here.suspects.values()))
    stranger = replace(first, suggested="other", probability=None, suggested_probability=None, familiarity=0.002)
    here.suspects = {**here.suspects, first.sha256: stranger}
    assert waiting(here) == NAMES[1:]
    ((item,), _) = asyncio.run(asyncio.run(here.open("STRANGERS", "")).items(0, 24))
    assert (item.name, item.label, item.confidence) == (NAMES[0], "cats", None)
    assert item.status == "train: labelled cats, perhaps none of the labels"
    assert (list(item.scores), list(item.details)) == ([], [("familiarity", "0.002")])


def test_undo_moves_the_file_back_also_in_another_run(root: Path) -> None:
    item = next(iter(desk(root).suspects))
    at = asyncio.run(desk(root).answer(item, "dogs", "SUSPECTS"))["at"]

    assert asyncio.run(desk(root).undo(item, "another time"))["answer"] == "OVERTAKEN"
    assert asyncio.run(desk(root).undo(item, at))["answer"] == "ACCEPTED"

    assert files(root) == sorted(NAMES)
    assert waiting(desk(root)) == NAMES


def test_a_second_answer_moves_the_file_on(root: Path) -> None:
    here = desk(root)
    item = next(iter(here.suspects))
    asyncio.run(here.answer(item, "dogs", "SUSPECTS"))
    asyncio.run(here.answer(item, "other", "SUSPECTS"))

    assert "train/other/a.png" in files(root)


def test_no_file_is_overwritten(root: Path) -> None:
    (root / "train/dogs").mkdir()
    (root / "train/dogs/a.png").write_bytes(encoded(plain((9, 9, 9))))
    item = next(iter(desk(root).suspects))

    asyncio.run(desk(root).answer(item, "dogs", "SUSPECTS"))

    assert "train/dogs/a (2).png" in files(root)
    assert sha256(root / "train/dogs/a (2).png") == item


def test_a_picture_that_changed_or_lies_elsewhere_is_left_alone(root: Path, tmp_path: Path) -> None:
    item = next(iter(desk(root).suspects))
    (root / NAMES[0]).write_bytes(b"other")
    with pytest.raises(NotFound, match="has changed"):
        asyncio.run(desk(root).answer(item, "dogs", "SUSPECTS"))
    with pytest.raises(NotFound, match="no label"):
        asyncio.run(desk(root).answer(item, "../../etc", "SUSPECTS"))
    outside = Files(
        root / "train",
        ("cats",),
        {"x": Suspect("train", "../test/cats/c.png", "x", "", "", 0, 0)},
        WorkerPool(1, ""),
        ReviewModel(root),
    )
    with pytest.raises(NotFound):
        asyncio.run(outside.picture("x"))


def test_a_picture_is_shown_in_its_own_size(root: Path) -> None:
    item = next(iter(desk(root).suspects))
    with Image.open(io.BytesIO(asyncio.run(desk(root).picture(item)))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 32))


def test_the_log_is_no_picture_of_the_data_set(tmp_path: Path) -> None:
    for number in range(20):
        for label in ("cats", "dogs"):
            path = tmp_path / label / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encoded(plain((number, 100 if label == "cats" else 0, 0))))
    before = scan(tmp_path).digest
    (tmp_path / ".review.jsonl").write_text("{}")

    assert scan(tmp_path).digest == before
    assert scan(tmp_path).left_out == {}
