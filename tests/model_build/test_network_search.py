"""The whole search on a base made by hand: five convolutions that pass colours on."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from PIL import Image

from model_build import export
from model_build.base import Base, on_rgb_pixels, sha256_of_values
from model_build.compression.network import Shape
from model_build.config import BuildConfig, HeadCandidate, Pooling
from model_build.data.dataset import Dataset, Example
from model_build.search import Network, SearchResult, search
from tests.support import encoded

LAYERS = 5  # each halves the picture: VGG16's stride of 32
# Kernels of the first layer, BGR -> channels: red, green and blue above and below the mean, and two mixtures.
COLOURS = np.float32([[0, 0, 0, 0, 1, -1, 1, 1], [0, 0, 1, -1, 0, 0, 1, -1], [1, -1, 0, 0, 0, 0, 0, 0]]) / 100
IMAGES = {"train": 40, "validation": 20, "test": 8}


def hand_made() -> Base:
    """A base whose features say how far colours are above and below ImageNet's mean."""
    flow = image = keras.Input((64, 64, 3))
    for number in range(LAYERS):
        layer = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{number}")
        flow = keras.layers.MaxPooling2D(name=f"pool{number}")(layer(flow))
        kernel = np.zeros(layer.kernel.shape, np.float32)
        if number:
            kernel[1, 1] = np.eye(8)
        else:
            kernel[1, 1] = COLOURS
        layer.set_weights([kernel, np.zeros(8, np.float32)])
    network = keras.Model(image, flow)
    return Base(on_rgb_pixels(network), "random", sha256_of_values(network))


@dataclass
class Searches:
    """The base's file, pictures that show their label at 64 pixels only, and what was to be quantised."""

    folder: Path
    base: Base
    data: Dataset
    config: BuildConfig
    quantised: list[tuple[str, str, float]] = field(default_factory=list)

    def search(self, **settings: object) -> SearchResult:
        """Search with other settings; INT8 is FP32 here."""
        self.quantised.clear()
        config = replace(self.config, **settings)  # type: ignore[arg-type]
        return search(self.base, self.folder / "base.onnx", self.data, config, self.quantise, self.folder / "search")

    def quantise(self, fp32: Path, int8: Path, config: BuildConfig) -> None:
        self.quantised.append((fp32.name, int8.name, config.speedup))
        shutil.copy(fp32, int8)


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Searches:
    folder = tmp_path_factory.mktemp("network-search")
    # A chequered red, which a picture of half the size averages away, is the label; colours differ at random.
    random, board = np.random.default_rng(0), np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1
    splits = {}
    for split, count in IMAGES.items():
        examples = []
        for number in range(count):
            pixels = np.full((64, 64, 3), random.integers(90, 160, 3))
            pixels[..., 0] += 60 * board * (number % 2)
            path = folder / f"{split}-{number}.png"
            path.write_bytes(encoded(Image.fromarray(pixels.astype(np.uint8))))
            label = (number + (number % 10 == 0)) % 2  # one of ten is wrong
            examples.append(Example(path, label, hashlib.sha256(path.read_bytes()).hexdigest()))
        splits[split] = tuple(examples)
    base = hand_made()
    export.export(base.network, export.IMAGE, export.FEATURES, folder / "base.onnx")
    config = BuildConfig(
        folder,
        image_size=64,
        cache=folder / "cache",
        speedup=1.0,
        sizes=(32, 64),
        speedups=(1.5,),
        guide_images=20,
        check_images=20,
        search_images=(20, 30),
        compress_step=4,
        compress_megapixels=0.05,
        heads=(HeadCandidate("average", Pooling.AVERAGE),),
        penalties=(1e-3,),
    )
    return Searches(folder, base, Dataset(folder, ("plain", "striped"), splits), config)


@pytest.fixture(scope="module")
def raced(searches: Searches) -> SearchResult:
    return searches.search(auto_size=True, auto_speedup=True)


def small_network(raced: SearchResult) -> Network:
    return next(network for network in raced.race.last() if network.name == "32 px, full")


def test_a_search_drops_the_size_that_hides_the_label_and_ships_the_fastest_that_is_no_worse(
    raced: SearchResult,
) -> None:
    # Only red tells, in two of the eight channels, so a third of the time can go. At 32 pixels it is a guess.
    assert raced.chosen.name == "64 px, 1.5x faster"
    judged = {images: {network.name for network in results} for images, results in raced.race.results.items()}
    assert set(judged) == {20, 30, 40}  # the samples of the settings, then all that do not guide
    assert judged[20] == {"64 px, full", "32 px, full"}
    assert {"64 px, 1.5x faster"} <= judged[40] <= judged[30] == {"64 px, full", "64 px, 1.5x faster"}
    right = {network.name: result.right.mean() for network, result in raced.race.results[40].items()}
    assert min(right.values()) >= 0.8  # of ten labels one is wrong
    assert raced.race.results[20][small_network(raced)].right.mean() <= 0.7
    assert not raced.measurably_worse


def test_each_network_of_a_search_takes_pictures_of_its_size_and_is_as_fast_as_it_says(raced: SearchResult) -> None:
    networks = {network.name: network for network in raced.race.last()}
    for network in networks.values():
        for file in (network.fp32, network.int8):
            graph = onnx.load(file).graph
            assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim[1:]] == [
                *(network.image_size,) * 2, 3,
            ]  # fmt: skip
    full, small, fast = networks["64 px, full"], networks["32 px, full"], networks["64 px, 1.5x faster"]
    assert full.shape == small.shape == Shape((8,) * LAYERS, (None,) * LAYERS, (True,) * LAYERS)
    assert full.cost == 4 * small.cost
    assert fast.cost <= full.cost / 1.5
    assert fast.shape.widths[-1] == 8  # the features stay
    assert set(raced.milliseconds) == set(networks.values())
    assert all(one > 0 and all_cores > 0 for one, all_cores in raced.milliseconds.values())
    # Of the exact features: four channels of eight carry all that the head hears, two do not.
    *hidden, features = raced.redundancy
    assert [layer.channels for layer in raced.redundancy] == [8] * LAYERS
    for layer in hidden:
        assert layer.half is not None
        assert layer.quarter is not None
        assert layer.half < 0.05 < layer.quarter
    assert (features.half, features.quarter, features.half_by_lasso) == (None, None, None)


def test_a_number_is_built_and_compared_with_the_full_network(searches: Searches, raced: SearchResult) -> None:
    asked = searches.search(speedup=1.5)
    assert asked.chosen == raced.chosen  # the same settings solve the same network
    judged = {images: {network.name for network in results} for images, results in asked.race.results.items()}
    assert judged == {20: {"64 px, full", "64 px, 1.5x faster"}}
    # INT8 is made once for each network, from its FP32 graph, with the settings for its speed.
    assert searches.quantised == [("base.onnx", "1x.int8.onnx", 1.0), ("1.5x.onnx", "1.5x.int8.onnx", 1.5)]


def test_a_size_alone_is_searched_without_smaller_networks(searches: Searches) -> None:
    result = searches.search(auto_size=True)
    assert result.chosen.name == "64 px, full"
    assert searches.quantised == [("base.onnx", "1x.int8.onnx", 1.0)]
    assert result.redundancy == []
    assert set(result.race.results[60]) == {result.chosen}
