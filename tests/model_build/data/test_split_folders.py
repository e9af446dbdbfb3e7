"""`make split`: the build's splits as folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_build.data.dataset import scan
from model_build.data.split_folders import main
from tests.support import encoded, plain


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(30):
        for label, red in (("cats", 200), ("dogs", 100), ("other", 50)):
            path = tmp_path / "pictures" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(plain((red, number, 0))))
    return tmp_path / "pictures"


def test_the_folders_are_the_splits_of_the_build(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split"
    assert main(["--data", str(pictures), "--out", str(out)]) == 0

    before, after = scan(pictures), scan(out)
    assert not after.split_by_content
    for split in ("train", "validation", "test"):
        for of_split in (lambda data, split=split: data.splits[split], lambda data, split=split: data.others[split]):
            assert {e.sha256 for e in of_split(before)} == {e.sha256 for e in of_split(after)}
    assert f"written to {out}" in capsys.readouterr().out


def test_nothing_is_written_over_other_pictures(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(pictures), "--out", str(pictures)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["--data", str(pictures), "--out", str(tmp_path / "split")]) == 0
    assert main(["--data", str(tmp_path / "split"), "--out", str(tmp_path / "again")]) == 1
    assert "already" in capsys.readouterr().err
