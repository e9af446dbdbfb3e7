"""The pictures of the loop: nothing is learned, uploaded and tested at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import loop


def test_no_picture_is_in_two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 40), ("validation", 20), ("test", 10)):
        for label in ("cats", "dogs"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / split / label / f"{split}{number}.jpg").write_text(f"{split}/{label}/{number}")
    monkeypatch.setattr(loop, "KNOWN", {"train": 6, "validation": 4})
    monkeypatch.setattr(loop, "UPLOADS", 50)
    monkeypatch.setattr(loop, "TESTED", 60)
    out = tmp_path / "out"

    data, uploads = loop.prepare(tmp_path, out)

    learned = {path.read_text() for split in ("train", "validation") for path in (data / split).rglob("*.jpg")}
    tested = {path.read_text() for path in (out / "tested").rglob("*.jpg")}
    uploaded = {path.read_text() for path in uploads.values()}
    assert (len(learned), len(uploaded), len(tested)) == (20, 50, 60)
    assert len(learned | uploaded | tested) == 130
    assert {path.read_text() for path in (data / "test").rglob("*.jpg")} < tested
    assert all(path.read_text().split("/")[1] == key.split("/")[0] for key, path in uploads.items())
