"""How much less arithmetic costs how much accuracy: networks with fewer channels and lower ranks, and the full one on
smaller pictures, each quantised, with a head of its own, measured on validation. One of them is shipped. Test is not
looked at here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import mcnemar_test
from labeller.classifier import open_session
from model_build import export, selection
from model_build.base import Base
from model_build.compression import candidates
from model_build.compression.candidates import Kind, Variant
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, spread
from model_build.data.reader import CORES
from model_build.features import Features, extract
from model_build.selection import EvaluatedHead

ROUNDS = 15
"""Images that each graph gets when they are timed, in turn, so that what else the machine does hits all alike."""

CHANCE = 1.645
"""Standard errors by which a paired mean exceeds 0 in one of twenty cases by chance."""

RULE = (
    "the one that takes least time of those with which at most {loss:.1%} fewer of the validation pictures are right "
    "than with the full network, and the log loss there is not higher by more than chance (paired, one-sided 5 %)"
)
"""Both: a thousand pictures tell a point of accuracy from none only just, and their log losses much sooner."""

Quantise = Callable[[Path, Path, Features, BuildConfig], object]
"""Writes a graph, as INT8, to a second path, given what the first says of some validation pictures."""


@dataclass(frozen=True, slots=True)
class Network:
    """One point of the curve: a base, in FP32 and INT8, and the head trained on its features.

    `widths` and `ranks` are those of each layer, `multiplications` and `cost` (`chain.layer_cost`) of the base for one
    image; `log_losses` [n] of the validation pictures.
    """

    name: str
    kind: Kind
    image_size: int
    widths: tuple[int, ...]
    ranks: tuple[int | None, ...]
    multiplications: int
    cost: int
    fp32: Path
    int8: Path
    head: EvaluatedHead
    log_losses: np.ndarray


@dataclass(frozen=True, slots=True)
class Curve:
    """The full network first, then the others; milliseconds of one image by name; the one that is shipped."""

    networks: list[Network]
    milliseconds: Mapping[str, float]
    redundancy: list[dict[str, Any]]
    chosen: Network


def explore(frozen: Base, full: Network, data: Dataset, config: BuildConfig, quantise: Quantise, folder: Path) -> Curve:
    """Make and measure every network of the settings; `folder` takes their files."""
    planned = candidates.planned(config)
    redundancy = candidates.make(frozen, full.head, planned, folder, data, config)
    networks = [full]
    for variant in planned:
        settings = replace(config, image_size=variant.image_size, heads=(full.head.candidate,))
        networks.append(_trained(variant, folder, data, settings, quantise))
        _print(networks[-1], full)
    milliseconds = timed({each.name: (each.int8, each.image_size) for each in networks})
    wanted = None if config.compress == "auto" else candidates.name_of(float(config.compress))
    return Curve(networks, milliseconds, redundancy, choose(networks, config.compress_loss, wanted))


def choose(networks: Sequence[Network], loss: float, wanted: str | None) -> Network:
    """The one called `wanted`; without, RULE against the first, which is the full one. What counts is the reckoned
    cost, not measured time, which differs from run to run: the model must not. The image size is the user's choice, so
    networks for smaller pictures are not taken."""
    if wanted is not None:
        return next(each for each in networks if each.name == wanted)
    full = networks[0]
    least = full.head.validation.correct - math.floor(loss * full.head.validation.images + 1e-9)
    allowed = [
        each
        for each in networks
        if each.head.validation.correct >= least and each.image_size == full.image_size and excess(each, full) <= CHANCE
    ]
    return min(allowed, key=lambda each: each.cost)


def excess(network: Network, full: Network) -> float:
    """By how many standard errors of the mean difference the network's log loss is above the full one's, picture by
    picture. 0 where there is no difference at all."""
    difference = network.log_losses - full.log_losses
    error = float(difference.std()) / math.sqrt(len(difference))
    return float(difference.mean()) / error if error else 0.0


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64 [n]: of each picture, temperature 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])


def against_full(test: Features, full: EvaluatedHead, right: np.ndarray) -> dict[str, Any]:
    """The shipped network and the full one on the same test pictures, with the McNemar p-value. `test` are the features
    of the full network's INT8 base, `right` [n] whether the shipped one is right on each."""
    full_right = full.trained.logits(test.values).argmax(axis=1) == test.labels
    only_full, only_shipped = int((full_right & ~right).sum()), int((right & ~full_right).sum())
    return {
        "images": len(right),
        "full_correct": int(full_right.sum()),
        "correct": int(right.sum()),
        "only_full": only_full,
        "only_shipped": only_shipped,
        "p_value": round(mcnemar_test(only_full, only_shipped), 4),
    }


def timed(graphs: Mapping[str, tuple[Path, int]]) -> dict[str, float]:
    """Milliseconds of one image, alone, on all cores, by name: the median of ROUNDS, the graphs taking turns."""
    sessions = {
        name: (open_session(path.read_bytes(), path, CORES), np.zeros((1, side, side, 3), np.uint8))
        for name, (path, side) in graphs.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in graphs}
    for round_ in range(ROUNDS + 1):
        for name, (session, pixels) in sessions.items():
            start = time.perf_counter()
            session.run(None, {export.IMAGE: pixels})
            if round_:  # the first call also allocates
                spent[name].append((time.perf_counter() - start) * 1000)
    return {name: float(np.median(each)) for name, each in spent.items()}


def described(curve: Curve, config: BuildConfig) -> dict[str, Any]:
    """The curve as in report.json."""
    return {
        "asked": config.compress,
        "chosen": curve.chosen.name,
        "rule": RULE.format(loss=config.compress_loss) if config.compress == "auto" else "as asked for",
        "networks": [
            {
                "name": each.name,
                "kind": each.kind,
                "image_size": each.image_size,
                "channels": list(each.widths),
                "ranks": list(each.ranks),
                "multiplications": each.multiplications,
                "bytes": each.int8.stat().st_size,
                "milliseconds": round(curve.milliseconds[each.name], 2),
                "validation": {
                    "images": each.head.validation.images,
                    "correct": each.head.validation.correct,
                    "accuracy": round(each.head.validation.accuracy, 4),
                    "log_loss": round(each.head.validation.log_loss, 4),
                    "excess": round(excess(each, curve.networks[0]), 2),
                },
            }
            for each in curve.networks
        ],
        "redundancy": curve.redundancy,
    }


def _trained(variant: Variant, folder: Path, data: Dataset, config: BuildConfig, quantise: Quantise) -> Network:
    """A base in FP32 becomes a whole network: INT8, features, head."""
    fp32, shape = variant.files(folder)
    int8 = fp32.with_suffix(".int8.onnx")
    unseen = spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))
    quantise(fp32, int8, extract(fp32, unseen, config), config)
    training, validation = (extract(int8, data.splits[split], config) for split in ("train", "validation"))
    (head,) = selection.train_heads(training, validation, len(data.labels), config)
    made = json.loads(shape.read_text("utf-8"))
    return Network(
        variant.name,
        variant.kind,
        config.image_size,
        tuple(made["channels"]),
        tuple(made["ranks"]),
        made["multiplications"],
        made["cost"],
        fp32,
        int8,
        head,
        log_losses(head.logits, validation.labels),
    )


def _print(network: Network, full: Network) -> None:
    validation = network.head.validation
    print(
        f"      {network.name:<28}{network.multiplications / 1e9:6.2f} G multiplications, reckoned "
        f"{full.cost / network.cost:.2f} times less time, "
        f"validation {validation.accuracy:.1%}, log loss {validation.log_loss:.4f}",
        flush=True,
    )
