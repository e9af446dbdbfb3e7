"""The frozen base and the search of smaller networks, on a narrow VGG16."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from model_build import search
from model_build.base import Base
from model_build.config import BuildConfig, QuantisationCandidate, Ranges
from model_build.data.dataset import Dataset
from model_build.export import IMAGE
from model_build.frozen import FrozenBase, load_frozen, search_from
from model_build.verify import VerificationError
from tests.model_build.colours import pictures
from tests.model_build.narrow import load_narrow

PERCENTILE = QuantisationCandidate("percentile", Ranges.PERCENTILE, 8, 99.0)
MINMAX = QuantisationCandidate("minmax", Ranges.MINMAX, 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder, colours = tmp_path_factory.mktemp("frozen"), np.random.default_rng(4).integers(0, 256, (24, 3))
    splits = {"train": pictures(folder, "train", colours[:12], [0, 1] * 6)}
    splits["validation"] = pictures(folder, "validation", colours[12:], [0, 1] * 6)
    return Dataset(folder, ("a", "b"), splits)


@pytest.fixture
def config(data: Dataset, tmp_path: Path) -> BuildConfig:
    return BuildConfig(
        data.root, weights="random", image_size=64, seed=7, cache=tmp_path / "cache", speedup=1.0, largest_error=1.0
    )


def test_the_base_is_loaded_by_the_settings_and_exported(data: Dataset, config: BuildConfig, tmp_path: Path) -> None:
    asked, network = [], load_narrow("random", 64, 7)

    def load(weights: str, image_size: int, seed: int) -> Base:
        asked.append((weights, image_size, seed))
        return network

    frozen = load_frozen(config, data, load, tmp_path / "base.onnx")

    assert asked == [("random", 64, 7)]
    assert frozen == FrozenBase(network, tmp_path / "base.onnx")
    pixels = np.random.default_rng(5).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    (features,) = onnxruntime.InferenceSession(frozen.fp32).run(None, {IMAGE: pixels})
    np.testing.assert_allclose(features, network.network(pixels), rtol=1e-3, atol=1e-3)


def test_an_export_that_is_not_the_network_stops_the_build(data: Dataset, config: BuildConfig, tmp_path: Path) -> None:
    one, other = (load_narrow("random", 64, seed) for seed in (1, 2))
    load_frozen(config, data, lambda *_: one, tmp_path / "base.onnx")

    again = tmp_path / "again"
    again.mkdir()
    mistaken = replace(other, sha256=one.sha256)  # under which the cache has the file of the first one
    with pytest.raises(VerificationError, match="the exported base and Keras differ"):
        load_frozen(config, data, lambda *_: mistaken, again / "base.onnx")


def test_a_search_quantises_by_the_first_way_of_the_settings_alone(
    data: Dataset, config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = load_frozen(config, data, load_narrow, tmp_path / "base.onnx")
    searches: list[Any] = []
    monkeypatch.setattr(search, "search", lambda *arguments: searches.append(arguments))

    search_from(config, data, frozen, tmp_path / "search")

    ((*given, quantise, folder),) = searches
    assert given == [frozen.base, frozen.fp32, data, config]
    assert folder == tmp_path / "search"
    digests = {}
    for name, ways in {"both": (PERCENTILE, MINMAX), "first": (PERCENTILE,), "second": (MINMAX,)}.items():
        (tmp_path / name).mkdir()
        quantise(frozen.fp32, tmp_path / name / "int8.onnx", replace(config, quantisations=ways))
        digests[name] = hashlib.sha256((tmp_path / name / "int8.onnx").read_bytes()).hexdigest()
    assert digests["both"] == digests["first"] != digests["second"]
