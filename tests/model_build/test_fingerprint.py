from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import metrics
from labeller import classifier, colours, manifest
from model_build import fingerprint as module
from model_build.config import BuildConfig
from model_build.data.dataset import scan
from model_build.fingerprint import PACKAGES, build_fingerprint
from tests.model_build.data.test_dataset import make


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    (tmp_path / "w.h5").write_bytes(b"weights")
    return BuildConfig(make(tmp_path / "data"), str(tmp_path / "w.h5"), 64)


def key(config: BuildConfig) -> str:
    return build_fingerprint(config, scan(config.data))


def test_the_same_inputs_in_another_place_have_the_same_key(config: BuildConfig, tmp_path: Path) -> None:
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
        lambda c: Path(c.weights).write_bytes(b"other weights") and c,
        lambda c: (c.data / "train/a/0.gif").write_bytes(b"another picture") and c,
    ],
    ids=["image size", "seed", "kind of weights", "content of the weight file", "a picture"],
)
def test_whatever_the_model_depends_on_changes_the_key(config: BuildConfig, change) -> None:
    before = key(config)
    assert key(change(config)) != before


@pytest.mark.parametrize("source", [colours, classifier, manifest, metrics])
def test_the_source_that_the_functions_share_counts(
    config: BuildConfig, source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(config)
    (tmp_path / "edited.py").write_bytes(Path(source.__file__).read_bytes() + b"# edited\n")
    monkeypatch.setattr(source, "__file__", str(tmp_path / "edited.py"))
    assert key(config) != before


@pytest.mark.parametrize("name", PACKAGES)
def test_the_version_of_every_package_counts(config: BuildConfig, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(config)
    version = module.version
    monkeypatch.setattr(module, "version", lambda each: "0" if each == name else version(each))
    assert key(config) != before
