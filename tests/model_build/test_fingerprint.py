import re
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import pages
from labeller import colours
from labeller.manifest import Manifest
from local import ROOT
from model_build import fingerprint as module
from model_build.config import BuildConfig
from model_build.data.dataset import scan
from model_build.fingerprint import (
    PACKAGE,
    PACKAGES,
    SHARED,
    WITHOUT_EFFECT,
    build_fingerprint,
    source_files,
    version_of,
)
from tests.model_build.data.test_dataset import make
from tests.support import write_glance_model


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    (tmp_path / "w.h5").write_bytes(b"weights")
    return BuildConfig(make(tmp_path / "data"), str(tmp_path / "w.h5"), 64)


def key(config: BuildConfig) -> str:
    return build_fingerprint(config, scan(config.data))


def test_the_same_inputs_at_other_paths_have_the_same_fingerprint(config: BuildConfig, tmp_path: Path) -> None:
    moved = tmp_path / "moved.h5"
    moved.write_bytes(b"weights")
    other = replace(config, data=make(tmp_path / "other"), weights=str(moved), out=tmp_path / "out")
    assert key(other) == key(config)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, image_size=96),
        lambda c: replace(c, seed=2),
        lambda c: replace(c, weights="random"),
        lambda c: replace(c, weights="imagenet"),
        lambda c: Path(c.weights).write_bytes(b"other weights") and c,
        lambda c: (c.data / "train/a/0.gif").write_bytes(b"another picture") and c,
    ],
    ids=["image size", "seed", "random weights", "Keras' weights", "content of the weight file", "a picture"],
)
def test_every_input_of_the_model_changes_the_fingerprint(config: BuildConfig, change) -> None:
    before = key(config)
    assert key(change(config)) != before


@pytest.mark.parametrize("source", [colours, *SHARED], ids=lambda module: module.__name__)
def test_the_source_that_the_functions_share_counts(
    config: BuildConfig, source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(config)
    (tmp_path / "edited.py").write_bytes(Path(source.__file__).read_bytes() + b"# edited\n")
    monkeypatch.setattr(source, "__file__", str(tmp_path / "edited.py"))
    assert key(config) != before


def test_all_of_the_package_and_the_templates_count_but_not_command_line_disk_and_terminal() -> None:
    own = {path.relative_to(PACKAGE).as_posix() for path in map(Path, source_files()) if path.is_relative_to(PACKAGE)}
    assert {"build.py", "data/reader.py", "compression/solve.py", "report/card.py", "report/templates/card.html"} <= own
    assert not own & WITHOUT_EFFECT
    assert all((PACKAGE / name).is_file() for name in WITHOUT_EFFECT)  # none has moved
    assert str(pages.TEMPLATES / "base.html") in source_files()


def test_the_packages_have_their_names_in_the_package_index() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    assert set(PACKAGES) <= pinned


@pytest.mark.parametrize("name", PACKAGES)
def test_the_version_of_every_package_counts(config: BuildConfig, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(config)
    version = module.version
    monkeypatch.setattr(module, "version", lambda package: "0" if package == name else version(package))
    assert key(config) != before


def test_the_version_follows_from_all_that_decides_the_answers(tmp_path: Path) -> None:
    manifest = Manifest.from_file(write_glance_model(tmp_path) / "manifest.json")
    assert manifest.glance is not None
    others = [
        replace(manifest, labels=("rouge", "bleu")),
        replace(manifest, temperature=1.5),
        replace(manifest, confidence_threshold=0.6),
        replace(manifest, familiarity_threshold=0.02),
        replace(manifest, glance=replace(manifest.glance, confidence=0.96)),
        replace(manifest, glance=replace(manifest.glance, sha256="0" * 64)),
        replace(manifest, glance=None),
    ]
    assert len({version_of(one) for one in (manifest, *others)}) == 8
    assert version_of(replace(manifest, model_version="x", build={"data_sha256": "y"})) == version_of(manifest)
