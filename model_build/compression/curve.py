"""How much accuracy a faster network costs: smaller networks, and the full one on smaller pictures, each quantised and
with a head of its own, measured by cross-validation. One of them is shipped. The test pictures are not used here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.metrics import mcnemar_test
from labeller.classifier import open_session
from model_build import export, selection
from model_build.base import Base
from model_build.compression import candidates as plans
from model_build.compression import network
from model_build.compression.candidates import Kind, LayerRedundancy, NetworkCandidate
from model_build.compression.network import Shape
from model_build.config import BuildConfig, HeadCandidate
from model_build.data.dataset import Dataset, spread
from model_build.data.reader import CORES
from model_build.features import Features, extract
from model_build.head import TrainedHead
from model_build.selection import EvaluatedHead, TrainedNetwork, paired_difference

ROUNDS = 15
"""Timed images per graph. The graphs take turns, so that other load on the machine affects all alike."""

SIGNIFICANCE = 1.645
"""Standard errors that a paired mean exceeds by chance in one of twenty cases."""

RULE = (
    "the fastest network whose log loss in a cross-validation on training and validation pictures is not measurably "
    "above the full one's (paired picture by picture, one-sided 5%)"
)

Quantise = Callable[[Path, Path, Features, BuildConfig], object]
"""Writes the first graph in INT8 to the second path; the features are those of FP32 on some validation pictures."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A measured network: its base, in FP32 and INT8, and the head cross-validated on its features."""

    name: str
    kind: Kind
    image_size: int
    shape: Shape
    fp32: Path
    int8: Path
    head: EvaluatedHead

    @property
    def cost(self) -> int:
        """Estimated time of one image, in multiply-accumulates."""
        return self.shape.cost(self.image_size)


@dataclass(frozen=True, slots=True)
class FullComparison:
    """Test pictures that the full and the shipped network get right, with the McNemar p-value."""

    images: int
    full_correct: int
    correct: int
    only_full: int
    only_shipped: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The full network first, then the others; milliseconds of one image by name; each layer's redundancy; the network
    that is shipped."""

    points: list[CurvePoint]
    milliseconds: Mapping[str, float]
    redundancy: list[LayerRedundancy]
    chosen: CurvePoint


def full_point(base: Base, config: BuildConfig, full: TrainedNetwork) -> CurvePoint:
    """The full network as a point of the curve. Raises StructureError."""
    shape = network.from_keras(base.network).shape
    return CurvePoint(Kind.FULL, Kind.FULL, config.image_size, shape, full.fp32, full.int8, full.head)


def measure_curve(
    base: Base,
    full: CurvePoint,
    head: TrainedHead,
    data: Dataset,
    config: BuildConfig,
    quantise: Quantise,
    folder: Path,
) -> Curve:
    """Build and measure every network of the settings, and write their files to `folder`. `head` is the full one's."""
    candidates = plans.plan_candidates(config)
    redundancy = plans.solve_candidates(base, head, candidates, folder, data, config)
    points = [full]
    for candidate in candidates:
        settings = replace(config, image_size=candidate.image_size)
        points.append(_measured(candidate, full.head.candidate, folder, data, settings, quantise))
        _print(points[-1], full)
    milliseconds = time_graphs({point.name: (point.int8, point.image_size) for point in points})
    name = None if config.compress == "auto" else plans.candidate_name(float(config.compress))
    return Curve(points, milliseconds, redundancy, choose_network(points, name))


def choose_network(points: Sequence[CurvePoint], name: str | None) -> CurvePoint:
    """The network called `name`; for None the one that RULE picks. The first point is the full network.

    The estimated cost decides: measured times differ from run to run, and the model must not. Networks for smaller
    pictures are never picked, because the user chooses the image size.
    """
    if name is not None:
        return next(point for point in points if point.name == name)
    full = points[0]
    allowed = [
        point for point in points if point.image_size == full.image_size and excess_loss(point, full) <= SIGNIFICANCE
    ]
    return min(allowed, key=lambda point: point.cost)


def excess_loss(point: CurvePoint, full: CurvePoint) -> float:
    """Mean log loss above the full network's, picture by picture, in standard errors of that mean; 0 if both agree."""
    excess, error = paired_difference(point.head.losses, full.head.losses)
    return excess / error if error else 0.0


def compare_with_full(test: Features, full: TrainedHead, right: np.ndarray) -> FullComparison:
    """Compare on test: `test` are the features of the full network's INT8 base, `right` bool [n] says where the shipped
    network is right."""
    full_right = full.logits(test.values).argmax(axis=1) == test.labels
    only_full, only_shipped = int((full_right & ~right).sum()), int((right & ~full_right).sum())
    p_value = round(mcnemar_test(only_full, only_shipped), 4)
    return FullComparison(len(right), int(full_right.sum()), int(right.sum()), only_full, only_shipped, p_value)


def time_graphs(graphs: Mapping[str, tuple[Path, int]]) -> dict[str, float]:
    """Milliseconds of one image on all cores, by name: the median of ROUNDS. `graphs`: path and image size by name."""
    sessions = {
        name: (open_session(path.read_bytes(), path, CORES), np.zeros((1, side, side, 3), np.uint8))
        for name, (path, side) in graphs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(ROUNDS + 1):
        for name, (session, pixels) in sessions.items():
            start = time.perf_counter()
            session.run(None, {export.IMAGE: pixels})
            if number:  # the first call also allocates memory
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: float(np.median(values)) for name, values in times.items()}


def curve_rule(config: BuildConfig) -> str:
    """The rule that chose the network, in words."""
    return RULE if config.compress == "auto" else "the one that was asked for"


def _measured(
    candidate: NetworkCandidate,
    head: HeadCandidate,
    folder: Path,
    data: Dataset,
    config: BuildConfig,
    quantise: Quantise,
) -> CurvePoint:
    """Quantise the solved base, extract features and cross-validate the head on them."""
    fp32, shape_file = candidate.files(folder)
    int8 = fp32.with_suffix(".int8.onnx")
    unseen = spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))
    quantise(fp32, int8, extract(fp32, unseen, config), config)
    evaluated = selection.evaluate_head(head, extract(int8, data.known, config), len(data.labels), config)
    shape = Shape(**{name: tuple(values) for name, values in json.loads(shape_file.read_text("utf-8")).items()})
    return CurvePoint(candidate.name, candidate.kind, config.image_size, shape, fp32, int8, evaluated)


def _print(point: CurvePoint, full: CurvePoint) -> None:
    head, multiplications = point.head, point.shape.multiplications(point.image_size) / 1e9
    print(
        f"      {point.name:<28}{multiplications:6.2f} G multiplications, estimated {full.cost / point.cost:.2f}x "
        f"faster, right {head.right.mean():.1%}, log loss {head.losses.mean():.4f}",
        flush=True,
    )
