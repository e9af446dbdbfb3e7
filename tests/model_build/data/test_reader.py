"""The decoder fingerprint, without which the cache would return stale features, and the reader of pictures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import labeller
from labeller import decoder_process
from labeller.settings import DEFAULTS
from model_build import cache
from model_build.data import reader
from model_build.data.dataset import Example
from model_build.data.folders import sha256_of
from model_build.data.reader import PictureReader

PACKAGE = Path(labeller.__file__).parent


def imported(source: Path) -> Iterator[Path]:
    """The module and all `labeller` modules that it imports, directly or not."""
    yield source
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("labeller"):
            continue
        beneath = [node.module] if node.module != "labeller" else [f"labeller.{each.name}" for each in node.names]
        for name in beneath:
            yield from imported(PACKAGE / f"{str(name).removeprefix('labeller.')}.py")


def test_the_decoder_fingerprint_covers_every_module_of_decoding() -> None:
    assert {Path(str(module.__file__)) for module in reader.DECODING} == set(imported(Path(decoder_process.__file__)))


@pytest.mark.parametrize("module", reader.DECODING)
def test_a_changed_module_changes_the_fingerprint(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.key_of(reader.decoder_fingerprint())
    edited = tmp_path / "edited.py"
    edited.write_bytes(Path(str(module.__file__)).read_bytes() + b"# another filter\n")
    monkeypatch.setattr(module, "__file__", str(edited))
    assert cache.key_of(reader.decoder_fingerprint()) != before


@pytest.mark.parametrize("limit", ["MAX_BYTES", "DEFAULT_MAX_IMAGE_PIXELS"])
def test_another_limit_changes_the_fingerprint(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key_of(reader.decoder_fingerprint())
    monkeypatch.setattr(reader, limit, 1)
    assert cache.key_of(reader.decoder_fingerprint()) != before


@pytest.mark.parametrize("name", reader.DECODERS)
def test_another_decoder_version_changes_the_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key_of(reader.decoder_fingerprint())
    version = reader.version
    monkeypatch.setattr(reader, "version", lambda package: "0" if package == name else version(package))
    assert cache.key_of(reader.decoder_fingerprint()) != before


def test_a_file_above_the_functions_limit_is_left_out_unread(tmp_path: Path) -> None:
    limit = int(DEFAULTS["MAX_IMAGE_BYTES"])
    for name, size in (("film.jpg", limit + 1), ("large.jpg", limit)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # a sparse file: large without filling the disk
    reader = PictureReader(
        [Example(tmp_path / name, 0, sha256_of(tmp_path / name)) for name in ("film.jpg", "large.jpg")], 8
    )
    assert list(reader.batches(1)) == []
    assert [str(reason) for reason in reader.unreadable.values()] == [
        "TOO_LARGE: 26214401 bytes, more than the limit of 26214400",
        "NOT_AN_IMAGE: the first bytes are not those of a known picture format",
    ]
