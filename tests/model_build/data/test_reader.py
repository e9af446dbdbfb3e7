"""The decoder fingerprint, without which the cache would return stale features, and the reader of pictures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

import labeller
from labeller import decoder_process, images
from labeller.settings import DEFAULTS
from model_build import cache
from model_build.data import reader
from model_build.data.dataset import DataError, Example
from model_build.data.folders import sha256_of
from model_build.data.reader import PictureReader
from model_build.data.shifts import CHANGES, changed_copy

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


def example(path: Path, content: bytes) -> Example:
    path.write_bytes(content)
    return Example(path, 0, sha256_of(path))


def png(width: int, height: int) -> bytes:
    file = BytesIO()
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def test_thumbnails_have_the_pictures_proportions_and_unreadable_ones_have_none(tmp_path: Path) -> None:
    wide, broken = example(tmp_path / "wide.png", png(80, 40)), example(tmp_path / "broken.png", b"no picture")
    uris = reader.thumbnails([wide, broken], 64)
    assert list(uris) == [wide]
    with urlopen(uris[wide]) as file:
        width, height = Image.open(file).size
    assert width == 2 * height


def test_a_changed_copy_is_made_at_twice_the_networks_size(tmp_path: Path) -> None:
    content = png(400, 300)
    one = example(tmp_path / "one.png", content)
    expected = images.decode(changed_copy(content, one.sha256, 64), (32, 32), 10**6).pixels
    assert (reader.read(one, 32, CHANGES).pixels == expected).all()
    assert reader.read(one, 32).pixels.shape == (32, 32, 3)


def test_a_picture_that_is_gone_or_another_one_stops_the_build(tmp_path: Path) -> None:
    one = example(tmp_path / "one.png", png(8, 8))
    one.path.write_bytes(png(9, 9))
    with pytest.raises(DataError, match=r"one\.png changed while the build ran"):
        reader.read(one, 8)
    one.path.unlink()
    with pytest.raises(DataError, match=r"one\.png could be read when the build began, but not now"):
        reader.read(one, 8)


def test_pictures_are_read_in_their_order_and_no_more_ahead_than_memory_is_meant_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(source: PictureReader, one: Example) -> np.ndarray:
        begun.append(one)
        return read(source, one)

    begun: list[Example] = []
    read = PictureReader._read
    monkeypatch.setattr(PictureReader, "_read", counted)
    monkeypatch.setattr(reader, "AHEAD", 2)
    examples = [example(tmp_path / f"{side}.png", png(side, 8)) for side in range(1, 8)]
    examples.insert(3, example(tmp_path / "broken.png", b"no picture"))
    source = PictureReader(examples, 8)
    generator = source.batches(3)
    batches = [next(generator)]
    assert len(begun) <= 3 + 2
    batches += generator
    readable = [*examples[:3], *examples[4:]]
    assert [batch for batch, _ in batches] == [readable[:3], readable[3:6], readable[6:]]
    assert [pixels.shape for _, pixels in batches] == [(3, 8, 8, 3), (3, 8, 8, 3), (1, 8, 8, 3)]
    assert list(source.unreadable) == [examples[3]]
