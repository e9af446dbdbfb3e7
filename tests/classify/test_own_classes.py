"""Somebody's own classes, from a heap of pictures to labels: no train/, validation/ and test/, names as people give
them, every format, a few files that are no pictures."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from classify import app
from model_build.config import BuildConfig
from model_build.data.dataset import scan
from tests.model_build import quick
from tests.support import encoded, notification

pytestmark = pytest.mark.slow

LABELS = {"<b>red", 'green & "g\'een"', "青 🐳"}
HUES = dict(zip(sorted(LABELS), ((200, 60, 50), (60, 170, 70), (50, 80, 200)), strict=True))
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
TAGS = {"<b>red": "_b_red", 'green & "g\'een"': "green _ _g_een_", "青 🐳": "青 _"}  # by hand, from S3's list


def draw(label: str, chance: random.Random) -> Image.Image:
    """A blot of the label's colour on a ground of any colour."""
    image = Image.new("RGB", (96, 72), tuple(chance.randrange(110, 140) for _ in range(3)))
    x, y, radius = chance.randrange(20, 76), chance.randrange(20, 52), chance.randrange(24, 36)
    colour = tuple(value + chance.randrange(-30, 30) for value in HUES[label])
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


@pytest.fixture(scope="module")
def heap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, chance = tmp_path_factory.mktemp("heap"), random.Random(3)
    for label in HUES:
        (root / label / "more of them").mkdir(parents=True)
        for index in range(56):
            kind = FORMATS[index % len(FORMATS)]
            folder = root / label / ("more of them" if index % 2 else "")
            (folder / f"{index} ünï.{kind.lower()}").write_bytes(encoded(draw(label, chance), kind))
        (root / label / "Thumbs.db").write_bytes(b"the same in every folder")
    return root


@pytest.fixture(scope="module")
def model(heap: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_build.build import build
    from tests.model_build.narrow import load_narrow

    folder = tmp_path_factory.mktemp("own")
    config = BuildConfig(heap, "random", 64, out=folder / "model", cache=folder / "cache", speedup=1.0)
    small = replace(config, quantisations=quick.QUANTISATIONS, heads=quick.HEADS, yardstick=quick.YARDSTICK)
    return build(small, load_narrow)


def test_own_classes_are_built_and_labelled_by_the_handler(
    heap: Path, model: Path, service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(model))
    app.get_labeller.cache_clear()
    data = scan(heap)
    assert data.split_by_content
    uploads = {data.name(e): data.labels[e.label] for e in data.splits["test"] if e.path.name != "Thumbs.db"}
    assert {Path(key).suffix for key in uploads} >= {".jpeg", ".png", ".webp", ".gif", ".bmp", ".tiff", ".avif"}
    answer = service.invoke(notification(*(service.upload(key, (heap / key).read_bytes()) for key in uploads)))
    assert not (answer or {}).get("batchItemFailures")
    rows = service.rows()
    assert set(rows) == set(uploads)
    right = [rows[key]["label"] == label for key, label in uploads.items()]
    assert sum(right) / len(right) > 0.7  # a third would be guessing
    assert {row["label"] for row in rows.values()} == LABELS
    for key, row in rows.items():
        assert set(row["scores"]) == LABELS
        shown = TAGS[row["label"]] if row["status"] == "LABELLED" else row["status"]
        assert service.tags(key)["image-label"] == shown


def test_the_report_of_own_classes_counts_them_and_lists_skipped_files(heap: Path, model: Path) -> None:
    report = json.loads((model / "report.json").read_text("utf-8"))
    assert set(report["labels"]) == LABELS
    assert {sum(count.values()) for count in zip_by_label(report["images"])} == {57}
    assert sorted(report["unreadable"]) == sorted(f"{label}/Thumbs.db" for label in LABELS)
    assert report["split_by_content"] is True


def zip_by_label(images: dict[str, dict[str, int]]) -> list[dict[str, int]]:
    return [{split: counts[label] for split, counts in images.items()} for label in sorted(LABELS)]
