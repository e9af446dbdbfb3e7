from pathlib import Path

import numpy as np
from PIL import Image

from local.demo.drawn import CLASSES, draw_dataset


def test_a_drawn_data_set_has_three_splits_of_two_classes(tmp_path: Path) -> None:
    draw_dataset(tmp_path, {"train": 3, "validation": 2, "test": 1})
    counts = {
        split: {label: len(list((tmp_path / split / label).iterdir())) for label in CLASSES}
        for split in ("train", "validation", "test")
    }
    assert counts == {
        "train": {"day": 3, "night": 3},
        "validation": {"day": 2, "night": 2},
        "test": {"day": 1, "night": 1},
    }


def test_no_two_drawn_pictures_are_the_same_and_a_seed_gives_the_same_ones(tmp_path: Path) -> None:
    first, again = (draw_dataset(tmp_path / name, {"train": 10}) for name in ("first", "again"))
    contents = [path.read_bytes() for path in sorted(first.rglob("*.jpg"))]
    assert len(set(contents)) == 20
    assert contents == [path.read_bytes() for path in sorted(again.rglob("*.jpg"))]


def test_days_are_brighter_than_nights(tmp_path: Path) -> None:
    draw_dataset(tmp_path, {"train": 10})
    brightness = {
        label: [np.asarray(Image.open(path)).mean() for path in (tmp_path / "train" / label).iterdir()]
        for label in CLASSES
    }
    assert min(brightness["day"]) > max(brightness["night"])
