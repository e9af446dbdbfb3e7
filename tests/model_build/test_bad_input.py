"""Builds that fail: one line with the reason, exit status 1, and the previous model unchanged byte for byte."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_build import __main__ as command
from model_build.__main__ import INTERRUPTED, run
from model_build.config import BuildConfig
from tests.model_build.narrow import load_narrow
from tests.support import encoded, plain

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command build a narrow network."""
    from model_build import build as module

    monkeypatch.setattr(module, "build", partial(module.build, load_base=load_narrow))


@pytest.fixture
def short(config: BuildConfig, tmp_path: Path) -> BuildConfig:
    """A build that takes seconds, over an existing model."""
    return replace(config, out=old_model(tmp_path), cache=tmp_path / "cache", heads=config.heads[:1])


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
    """The one line that a failed build prints."""
    before = content(config.out)
    assert run(config) == status
    assert content(config.out) == before
    assert beside(config.out) == ["model"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("      ")]
    assert len(lines) == 1, lines
    return lines[0]


# A disk of this many kilobytes fills up while the exported base is written; during quantisation, when Python writes;
# and when native code writes, which reports nothing and leaves half a file.
@pytest.mark.parametrize("small_disk", [12, 150, 300], indirect=True)
def test_a_full_disk_is_reported_at_any_stage(short: BuildConfig, small_disk: Path, capsys) -> None:
    line = fails(replace(short, out=old_model(small_disk)), capsys)
    assert line.startswith(f"error: {small_disk}/model")
    assert "No space left on device. No model was built; " in line


def test_an_interrupted_build_is_reported(short: BuildConfig, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_build import build as module

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "build", partial(module.build, load_base=interrupted))
    line = fails(short, capsys, INTERRUPTED)
    assert line == f"error: interrupted. No model was built; {short.out} is unchanged"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"data": Path("/nope")}, "no folder /nope: it does not exist"),
        ({"weights": "/nope.h5"}, "no weight file at /nope.h5. Name an .h5 file"),
        ({"image_size": 7}, "--image-size (make: IMAGE_SIZE) is 7; it must be 32 to 512 pixels"),
        ({"image_size": 0}, "--image-size (make: IMAGE_SIZE) is 0; it must be 32 to 512 pixels"),
        ({"image_size": 100_000}, "--image-size (make: IMAGE_SIZE) is 100000; it must be 32 to 512 pixels"),
        ({"image_size": 31, "data": Path("/nope")}, "--image-size (make: IMAGE_SIZE) is 31"),
    ],
)
def test_wrong_settings_are_refused_before_tensorflow_is_imported(
    short: BuildConfig, capsys, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(command, "quiet_start", lambda: pytest.fail("TensorFlow is imported"))
    assert fails(replace(short, **wrong), capsys).startswith(f"error: {message}")


def test_a_damaged_weight_file_is_reported(short: BuildConfig, tmp_path: Path, capsys, monkeypatch) -> None:
    from model_build import base
    from model_build import build as module

    monkeypatch.setattr(module, "build", partial(module.build, load_base=base.load))
    damaged = tmp_path / "elsewhere" / "w.h5"
    damaged.parent.mkdir()
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    line = fails(replace(short, weights=str(damaged), out=old_model(tmp_path / "output")), capsys)
    assert line.startswith(f"error: {damaged} does not hold the weights of VGG16 without its top")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: shutil.rmtree(data), "it does not exist"),
        (lambda data: shutil.rmtree(data / "validation"), "no folder .*validation beside"),
        (lambda data: empty(data / "test/day"), "too few pictures of 'day' in test"),
        (
            lambda data: spoil(data / "train/day", keep=9),
            "'day' in train .*: 9 where at least 10 .*; 31 more cannot be read, such as train/day/.*: NOT_AN_IMAGE",
        ),
        (
            lambda data: spoil(data / "test/day", keep=3),
            "'day' in test .*: 3 where at least 5 .*; 17 more cannot be read, such as test/day/.*: NOT_AN_IMAGE",
        ),
        (lambda data: spoil_all(data / "train"), "none of 16 pictures can be read, such as .*train/.*NOT_AN_IMAGE"),
        (lambda data: spoil_all(data / "validation"), "none of 9 pictures can be read, such as .*validation/"),
        (
            lambda data: paint_all(data / "validation"),
            "the same features for all 9 validation pictures .*, such as validation/day/000.jpg: check",
        ),
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
        "one colour",
        "nothing to test on",
    ],
)
def test_unusable_data_is_reported(
    short: BuildConfig, drawn_data: Path, tmp_path: Path, capsys, damage: Callable[[Path], None], message: str
) -> None:
    data = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    damage(data)
    (tmp_path / "output").mkdir()
    out = old_model(tmp_path / "output")
    assert re.search(message, fails(replace(short, data=data, out=out), capsys))


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def spoil_all(split: Path) -> None:
    for folder in split.iterdir():
        spoil(folder, keep=0)


def paint_all(split: Path) -> None:
    """One colour for all pictures, in files that differ."""
    for number, path in enumerate(sorted(split.rglob("*.jpg"))):
        path.write_bytes(encoded(plain((90, 90, 90), 40 + number, 40), "PNG"))


def spoil(folder: Path, keep: int) -> None:
    """Make all but `keep` pictures unreadable."""
    for path in sorted(folder.iterdir())[keep:]:
        path.write_text(f"was {path}")
