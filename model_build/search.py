"""Choose the picture's size and the network's compression together: each candidate in INT8, with a head of its own,
judged by cross-validation on growing samples of the training and validation images. The test images are not used here.

A large picture through a thin network can cost less than a small one through the full network, and be judged better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from labeller.classifier import open_session
from model_build import export, head, selection
from model_build.base import Base
from model_build.compression import smaller
from model_build.compression.network import Shape, from_keras
from model_build.compression.smaller import LayerRedundancy
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example, nested_sample
from model_build.data.reader import CORES
from model_build.features import Features, extract
from model_build.selection import EvaluatedHead, paired_difference

TIMED = 7
"""Timed images per graph. The graphs take turns, so that other load on the machine affects all alike."""

SIGNIFICANCE = 1.645
"""Standard errors that a paired mean exceeds by chance in one of twenty cases."""

RULE = (
    "the fastest network whose log loss in a cross-validation on training and validation pictures is not measurably "
    "above the lowest (paired picture by picture, one-sided 5%), or a faster one that is no worse than that one"
)

Quantise = Callable[[Path, Path, BuildConfig], object]
"""Writes the first graph, image -> features, in INT8 to the second path."""


@dataclass(frozen=True, slots=True)
class Network:
    """A base for pictures of `image_size`, `speedup` times as fast as the full one at that size by `Shape.cost`."""

    image_size: int
    speedup: float
    shape: Shape
    fp32: Path
    int8: Path

    @property
    def name(self) -> str:
        """In words, such as `320 px, 3x faster`."""
        return f"{self.image_size} px, {f'{self.speedup:g}x faster' if self.speedup > 1 else 'full'}"

    @property
    def cost(self) -> int:
        """Estimated time of one image, in multiply-accumulates."""
        return self.shape.cost(self.image_size)


Judge = Callable[[Network, int], EvaluatedHead]
"""Cross-validates a network on that many images: `nested_sample`, so that a larger sample holds the smaller ones."""


@dataclass(slots=True)
class Race:
    """The networks judged so far, by the number of images; the same answer is never computed twice."""

    judge: Judge
    results: dict[int, dict[Network, EvaluatedHead]] = field(default_factory=dict)

    def measure(self, network: Network, images: int) -> EvaluatedHead:
        """The network's answers on `images` images."""
        results = self.results.setdefault(images, {})
        if network not in results:
            results[network] = self.judge(network, images)
            loss, right = results[network].losses.mean(), results[network].right.mean()
            print(
                f"      {network.name:<22}{network.cost / 1e9:6.1f} G, {images} pictures: right {right:.1%}, "
                f"log loss {loss:.4f}",
                flush=True,
            )
        return results[network]

    def best(self, images: int, among: Iterable[Network] | None = None) -> Network:
        """The network of the lowest log loss on `images` images, of those `among` that were judged on them, or of all;
        the fastest of equal ones."""
        results = self.results[images]
        judged = results if among is None else (network for network in among if network in results)
        return min(judged, key=lambda network: (float(results[network].losses.mean()), network.cost))

    def excess(self, network: Network, images: int) -> tuple[float, float]:
        """Mean log loss above the lowest on `images` images, picture by picture, and its standard error."""
        results = self.results[images]
        return paired_difference(results[network].losses, results[self.best(images)].losses)

    def may_win(self, network: Network, images: int) -> bool:
        """Whether the log loss on `images` images is not measurably above the lowest there."""
        excess, error = self.excess(network, images)
        return excess <= SIGNIFICANCE * error

    def contenders(self, images: int) -> list[Network]:
        """The networks, the fastest first, whose log loss on `images` images is not measurably above that of any that
        is as slow or slower.

        A faster network that is better drops none: it knows its guides (`split_guides`), which counts for more the
        fewer images a head learns from.
        """
        results = self.results[images]
        kept: list[Network] = []
        lowest: np.ndarray | None = None
        for network in sorted(results, key=lambda network: -network.cost):
            losses = results[network].losses
            if lowest is None or losses.mean() <= lowest.mean():
                lowest = losses
            excess, error = paired_difference(losses, lowest)
            if excess <= SIGNIFICANCE * error:
                kept.insert(0, network)
        return kept

    def no_worse(self, network: Network, images: int) -> Network:
        """The fastest network whose log loss on `images` images is at most that of `network`.

        It may be measurably above the lowest where `network` is not: differences of like networks vary less.
        """
        results = self.results[images]
        limit = results[network].losses.mean()
        return min((one for one in results if results[one].losses.mean() <= limit), key=lambda one: one.cost)

    def last(self) -> dict[Network, int]:
        """Every network, and the largest number of images it was judged on."""
        return {network: images for images in sorted(self.results) for network in self.results[images]}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search: the network to ship, every network judged, milliseconds of one image by network (on one
    thread and on all cores), and each layer's redundancy if networks were compressed."""

    chosen: Network
    race: Race
    milliseconds: Mapping[Network, tuple[float, float]]
    redundancy: Sequence[LayerRedundancy]

    @property
    def measurably_worse(self) -> bool:
        """Whether the chosen network, which the settings may fix, has a measurably higher log loss than another."""
        return not self.race.may_win(self.chosen, self.race.last()[self.chosen])


def search(
    base: Base, fp32: Path, data: Dataset, config: BuildConfig, quantise: Quantise, folder: Path
) -> SearchResult:
    """Find the network that the settings ask for. `fp32` is the full base exported for `config.image_size`, the size at
    which smaller networks are solved and the ranges of INT8 are taken. Writes files to `folder`. Raises StructureError.
    """
    folder.mkdir(exist_ok=True)
    smaller_ones = [speedup for speedup in config.speedups_to_try if speedup > 1]
    guides, judged = split_guides(data.known, config.guide_images) if smaller_ones else ([], list(data.known))
    samples = [min(images, len(judged)) for images in (*config.search_images, len(judged))]
    race = Race(lambda network, images: _evaluate(network, nested_sample(judged, images), data, config))
    full = _at_sizes(fp32, 1.0, from_keras(base.network).shape, config, quantise, folder)
    families = {1.0: full}
    redundancy: list[LayerRedundancy] = []
    if smaller_ones:
        trained = _guiding_head(full[config.image_size], guides, data, config)
        solved, redundancy = smaller.solve_networks(base, trained, smaller_ones, folder, data, config)
        for speedup, one in zip(smaller_ones, solved, strict=True):
            families[speedup] = _at_sizes(one.fp32, speedup, one.shape, config, quantise, folder)
    tried = [families[speedup] for speedup in config.speedups_to_try]
    if config.searches:
        chosen = run_race(race, tried, samples)
    else:
        chosen = tried[0][config.image_size]
        for network in (full[config.image_size], chosen):
            race.measure(network, min(config.check_images, len(judged)))
    return SearchResult(chosen, race, time_graphs(race.last()), redundancy)


def split_guides(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """`count` examples, at most a third of all, that guide how networks are made smaller, and the others, which judge.

    A smaller network keeps what tells the labels of its guides apart, chance included. Judged on them, the smallest
    networks of VGG16 came first: with a log loss of 0.049 on 400 guides, and of 0.089 with 600 other pictures.
    """
    guides = nested_sample(examples, min(count, len(examples) // 3))
    chosen = set(guides)
    return guides, [example for example in examples if example not in chosen]


def rule(config: BuildConfig) -> str:
    """The rule that chose the network, in words."""
    return RULE if config.searches else "the one that was asked for"


def run_race(race: Race, families: Sequence[Mapping[int, Network]], samples: Sequence[int]) -> Network:
    """Judge the networks on growing samples, drop those that cannot win, and return the one that RULE picks.

    `families`: networks by size, from the slowest family to the fastest. The slowest family says which sizes may win,
    on every sample but the last; then the faster ones of these sizes join. On the last sample, the best of the slowest
    family is judged, and then, from the fastest on, each network, against ever slower ones of its size while RULE
    allows it. The estimated cost decides what is fast: measured times differ from run to run, and the model must not.
    """
    slowest, (*parts, last) = families[0], samples
    sizes = list(slowest)
    for images in parts:
        for size in sizes:
            race.measure(slowest[size], images)
        sizes = [size for size in sizes if race.may_win(slowest[size], images)]
    for family in families[1:]:
        for size in sizes:
            race.measure(family[size], parts[-1])
    race.measure(race.best(parts[-1], slowest.values()), last)
    contenders = race.contenders(parts[-1])
    for index, network in enumerate(contenders):
        race.measure(network, last)
        for slower in contenders[index + 1 :]:  # but for full networks, whose best is judged already
            if slower.image_size == network.image_size and slower.speedup > 1 and race.may_win(network, last):
                race.measure(slower, last)
        if race.may_win(network, last):
            return race.no_worse(network, last)
    return race.best(last)


def time_graphs(networks: Iterable[Network]) -> dict[Network, tuple[float, float]]:
    """Milliseconds of one image, on one thread and on all cores: the medians of TIMED."""
    sessions = {
        (network, threads): open_session(network.int8.read_bytes(), network.int8, threads)
        for network in networks
        for threads in {1, CORES}
    }
    times: dict[tuple[Network, int], list[float]] = {key: [] for key in sessions}
    for number in range(TIMED + 1):
        for (network, threads), session in sessions.items():
            pixels = np.zeros((1, network.image_size, network.image_size, 3), np.uint8)
            start = time.perf_counter()
            session.run(None, {export.IMAGE: pixels})
            if number:  # the first call also allocates memory
                times[network, threads].append((time.perf_counter() - start) * 1000)
    medians = {key: float(np.median(values)) for key, values in times.items()}
    return {network: (medians[network, 1], medians[network, CORES]) for network, _ in sessions}


def _at_sizes(
    fp32: Path, speedup: float, shape: Shape, config: BuildConfig, quantise: Quantise, folder: Path
) -> dict[int, Network]:
    """A base at each size to try: quantised once, because ranges of activations hardly depend on the size."""
    int8 = folder / f"{speedup:g}x.int8.onnx"
    quantise(fp32, int8, replace(config, speedup=speedup))
    networks = {}
    for size in dict.fromkeys((config.image_size, *config.sizes_to_try)):
        graphs = []
        for graph in (fp32, int8):
            resized = folder / f"{speedup:g}x-{size}px{'.int8' if graph is int8 else ''}.onnx"
            export.resize(graph, size, resized)
            graphs.append(resized)
        networks[size] = Network(size, speedup, shape, *graphs)
    return networks


def _evaluate(network: Network, examples: Sequence[Example], data: Dataset, config: BuildConfig) -> EvaluatedHead:
    """Cross-validate the simplest head on a network's features."""
    return selection.evaluate_head(config.heads[0], _features(network, examples, config), len(data.labels), config)


def _guiding_head(
    network: Network, examples: Sequence[Example], data: Dataset, config: BuildConfig
) -> head.TrainedHead:
    """The head whose gradients say which channels of the full network matter."""
    features, labels = _features(network, examples, config), len(data.labels)
    candidate = selection.evaluate_head(config.heads[0], features, labels, config).candidate
    return head.train(candidate, features.values, features.labels, labels, config)


def _features(network: Network, examples: Sequence[Example], config: BuildConfig) -> Features:
    return extract(network.int8, examples, replace(config, image_size=network.image_size))
