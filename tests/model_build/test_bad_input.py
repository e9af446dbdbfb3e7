"""Builds that cannot be finished: one line that says why, exit status 1, the previous model byte for byte as it was."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from model_build.__main__ import INTERRUPTED, run
from model_build.config import BuildConfig
from tests.model_build.narrow import load_narrow

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command builds with a narrow network."""
    from model_build import build as module

    monkeypatch.setattr(module, "build", partial(module.build, load_base=load_narrow))


@pytest.fixture
def short(config: BuildConfig, tmp_path: Path) -> BuildConfig:
    """A build of seconds, over a model that was there before."""
    heads = (replace(config.heads[0], epochs=2),)
    return replace(config, out=old_model(tmp_path), cache=tmp_path / "cache", heads=heads)


def old_model(folder: Path) -> Path:
    out = folder / "model"
    (out / "figures").mkdir(parents=True)
    (out / "manifest.json").write_text("old")
    (out / "model.onnx").write_bytes(b"old" * 1000)
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name != "cache")


def fails(config: BuildConfig, capsys: pytest.CaptureFixture[str], status: int = 1) -> str:
    """The one line that the build says when it fails."""
    before = content(config.out)
    assert run(config) == status
    assert content(config.out) == before
    assert beside(config.out) == ["model"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("      ")]
    assert len(lines) == 1, lines
    return lines[0]


# Where a disk of so many kilobytes is full: writing the exported base; while quantising, where Python writes; where
# native code does, which says nothing and leaves half a file.
@pytest.mark.parametrize("small_disk", [12, 150, 300], indirect=True)
def test_a_full_disk_is_told_wherever_it_shows(short: BuildConfig, small_disk: Path, capsys) -> None:
    line = fails(replace(short, out=old_model(small_disk)), capsys)
    assert line.startswith(f"error: {small_disk}/model")
    assert "No space left on device. No model was made; what was in" in line


def test_an_interrupted_build_says_so(short: BuildConfig, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_build import build as module

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "build", partial(module.build, load_base=interrupted))
    line = fails(short, capsys, INTERRUPTED)
    assert line == f"error: interrupted. No model was made; what was in {short.out} before is as it was"


def test_a_weight_file_that_is_damaged_is_told(short: BuildConfig, tmp_path: Path, capsys, monkeypatch) -> None:
    from model_build import base
    from model_build import build as module

    monkeypatch.setattr(module, "build", partial(module.build, load_base=base.load))
    damaged = tmp_path / "elsewhere" / "w.h5"
    damaged.parent.mkdir()
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    line = fails(replace(short, weights=str(damaged), out=old_model(tmp_path / "place")), capsys)
    assert line.startswith(f"error: {damaged} does not hold the weights of VGG16 without its top")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: shutil.rmtree(data), "it does not exist"),
        (lambda data: shutil.rmtree(data / "validation"), "no folder .*validation beside"),
        (lambda data: empty(data / "test/day"), "too few pictures of 'day' in test"),
        (
            lambda data: spoil(data / "train/day", keep=9),
            "'day' in train .*: 9 where at least 10 .*; 31 more cannot be",
        ),
        (lambda data: spoil(data / "test/day", keep=3), "'day' in test .*: 3 where at least 5 .*; 17 more cannot be"),
        (lambda data: spoil_all(data / "train"), "none of 16 pictures can be read, such as .*train/.*NOT_AN_IMAGE"),
        (lambda data: spoil_all(data / "validation"), "none of 9 pictures can be read, such as .*validation/"),
        (lambda data: spoil_all(data / "test"), "'day' in test .*: 0 where at least 5 .*; 20 more cannot be"),
    ],
    ids=[
        "no folder",
        "no split",
        "an empty label",
        "unreadable in training",
        "unreadable in test",
        "nothing to train on",
        "nothing to validate on",
        "nothing to test on",
    ],
)
def test_data_that_cannot_be_used_are_told(
    short: BuildConfig, drawn_data: Path, tmp_path: Path, capsys, damage: Callable[[Path], None], message: str
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    damage(data)
    (tmp_path / "place").mkdir()
    out = old_model(tmp_path / "place")
    assert re.search(message, fails(replace(short, data=data, out=out), capsys))


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def spoil_all(split: Path) -> None:
    for folder in split.iterdir():
        spoil(folder, keep=0)


def spoil(folder: Path, keep: int) -> None:
    """All but `keep` pictures are none any more."""
    for path in sorted(folder.iterdir())[keep:]:
        path.write_text(f"was {path}")
