"""How much less arithmetic costs how much accuracy: networks with fewer channels, and the full one on smaller pictures,
each quantised, with a head of its own, measured on validation. One of them is shipped. Test is not looked at here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from labeller.scoring import mcnemar_test
from model_build import channels, compress, export, selection
from model_build.base import Base, sha256_of_values
from model_build.cache import cache_in, key_of, source_of
from model_build.config import BuildConfig
from model_build.dataset import Dataset, spread
from model_build.features import Features, extract
from model_build.pictures import CORES, PictureReader
from model_build.selection import Contender

ROUNDS = 15
"""Images that each graph gets when they are timed, in turn, so that what else the machine does hits all alike."""

RULE = (
    "the fewest multiplications with which at most {loss:.1%} fewer of the validation pictures are right than with the "
    "full network"
)

Quantise = Callable[[Path, Path, Features, BuildConfig], object]
"""Writes a graph, as INT8, to a second path, given what the first says of some validation pictures."""


@dataclass(frozen=True, slots=True)
class Network:
    """One point of the curve: a base, in FP32 and INT8, and the head trained on its features.

    `widths` are the channels of each layer, `multiplications` those of the base for one image.
    """

    name: str
    image_size: int
    widths: tuple[int, ...]
    multiplications: int
    fp32: Path
    int8: Path
    head: Contender


@dataclass(frozen=True, slots=True)
class Curve:
    """The full network first, then the others; milliseconds of one image by name; the one that is shipped."""

    networks: list[Network]
    milliseconds: Mapping[str, float]
    redundancy: list[dict[str, Any]]
    chosen: Network


def explore(frozen: Base, full: Network, data: Dataset, config: BuildConfig, quantise: Quantise, folder: Path) -> Curve:
    """Make and measure every network of the settings; `folder` takes their files."""
    chain = compress.chain_of(frozen.network)
    times = sorted({*config.compress_times, *([float(config.compress)] if config.compress != "auto" else [])})
    plan = [(f"{each:g} times fewer", config.image_size, each) for each in times]
    for share in config.compress_sizes:
        side = max(32, round(share * config.image_size / 16) * 16)
        if side < config.image_size:
            plan.append((f"{side} pixels", side, 1.0))
    places = [folder / f"network{number}" for number in range(len(plan))]
    for place in places:
        place.mkdir(parents=True)
    redundancy = _make(chain, frozen, full.head, plan, places, data, config)
    networks = [full]
    for (name, side, _), place in zip(plan, places, strict=True):
        settings = replace(config, image_size=side, heads=(full.head.candidate,))
        networks.append(_trained(name, place, data, settings, quantise))
        _print(networks[-1], full)
    milliseconds = timed({each.name: (each.int8, each.image_size) for each in networks})
    wanted = None if config.compress == "auto" else f"{float(config.compress):g} times fewer"
    chosen = choose([each for each in networks if each.image_size == config.image_size], config.compress_loss, wanted)
    return Curve(networks, milliseconds, redundancy, chosen)


def choose(networks: Sequence[Network], loss: float, wanted: str | None) -> Network:
    """The one called `wanted`; without, RULE against the first, which is the full one. Times are not looked at: they
    differ from run to run, and the model must not."""
    if wanted is not None:
        return next(each for each in networks if each.name == wanted)
    full = networks[0].head.validation
    least = full.correct - math.floor(loss * full.images + 1e-9)
    allowed = [each for each in networks if each.head.validation.correct >= least]
    return min(allowed, key=lambda each: each.multiplications)


def against_full(test: Features, full: Contender, right: np.ndarray) -> dict[str, Any]:
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
    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    sessions = {
        name: (
            ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]),
            np.zeros((1, side, side, 3), np.uint8),
        )
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
                "image_size": each.image_size,
                "channels": list(each.widths),
                "multiplications": each.multiplications,
                "bytes": each.int8.stat().st_size,
                "milliseconds": round(curve.milliseconds[each.name], 2),
                "validation": {
                    "images": each.head.validation.images,
                    "correct": each.head.validation.correct,
                    "accuracy": round(each.head.validation.accuracy, 4),
                    "log_loss": round(each.head.validation.log_loss, 4),
                },
            }
            for each in curve.networks
        ],
        "redundancy": curve.redundancy,
    }


def _make(
    chain: compress.Chain,
    frozen: Base,
    head: Contender,
    plan: Sequence[tuple[str, int, float]],
    places: Sequence[Path],
    data: Dataset,
    config: BuildConfig,
) -> list[dict[str, Any]]:
    """Write every network of the plan as ONNX with its widths, now or by an earlier build; returns the redundancy."""
    import json

    examples = spread(data.splits["train"], config.affordable(config.compress_megapixels))
    files = [place / name for place in places for name in ("base.onnx", "widths.json")]
    table = places[0].with_name("redundancy.json")

    def make() -> None:
        reader = PictureReader(examples, config.image_size)
        pixels = np.concatenate([each for _, each in reader.batches(config.inference_batch)])
        pixels[::2] = pixels[::2, :, ::-1].copy()  # half of them mirrored
        seen = compress.sample(chain, pixels, max(1, config.compress_rows // len(pixels)), config.seed)
        some = pixels[: config.affordable(config.compress_megapixels / 3)]
        sensitivity = compress.sensitivities(chain, some, head.trained.network, config.seed)
        orders = compress.eliminations(chain, seen, sensitivity)
        table.write_text(json.dumps(_redundancy(orders)), "utf-8")
        prices = np.array(chain.multiplications(config.image_size), float)
        for (name, side, times), place in zip(plan, places, strict=True):
            losses = [each.loss for each in orders]
            widths = channels.allot(losses, prices, chain.widths, 1 / times, config.compress_step)
            kept = [order.kept(width) for order, width in zip(orders, widths, strict=False)]
            thinned = compress.thin(chain, seen, [*kept, np.arange(widths[-1])])
            network = compress.network_of(thinned, side)
            export.export(network, export.IMAGE, export.FEATURES, place / "base.onnx")
            (place / "widths.json").write_text(
                json.dumps([thinned.widths, sum(thinned.multiplications(side))]), "utf-8"
            )
            print(f"      solved: {name}, channels {' '.join(map(str, thinned.widths))}", flush=True)

    key = key_of(
        "compress",
        frozen.sha256,
        sha256_of_values(head.trained.network),
        [example.sha256 for example in examples],
        [*map(list, plan)],
        [config.image_size, config.seed, config.compress_megapixels, config.compress_rows, config.compress_step],
        source_of(compress.__file__, channels.__file__, export.__file__, __file__),
    )
    cache_in(config.cache).files(key, [*files, table], make)
    return list(json.loads(table.read_text("utf-8")))


def _redundancy(orders: Sequence[channels.Elimination]) -> list[dict[str, Any]]:
    """Per layer, what is lost when a half, three quarters and seven eighths of its channels go, alone."""
    return [
        {
            "channels": len(each.loss),
            **{
                name: float(f"{each.loss[len(each.loss) - max(1, len(each.loss) // parts)]:.3g}")
                for name, parts in (("half", 2), ("quarter", 4), ("eighth", 8))
            },
        }
        for each in orders
    ]


def _trained(name: str, place: Path, data: Dataset, config: BuildConfig, quantise: Quantise) -> Network:
    """A base in FP32 becomes a whole network: INT8, features, head."""
    import json

    fp32, int8 = place / "base.onnx", place / "base.int8.onnx"
    widths, multiplications = json.loads((place / "widths.json").read_text("utf-8"))
    unseen = spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))
    quantise(fp32, int8, extract(fp32, unseen, config), config)
    training, validation = (extract(int8, data.splits[split], config) for split in ("train", "validation"))
    (head,) = selection.train_all(training, validation, len(data.labels), config)
    return Network(name, config.image_size, tuple(widths), multiplications, fp32, int8, head)


def _print(network: Network, full: Network) -> None:
    fewer = full.multiplications / network.multiplications
    print(
        f"      {network.name:<16} {network.multiplications / 1e9:6.2f} G multiplications ({fewer:.2f} times fewer), "
        f"validation {network.head.validation.accuracy:.1%}",
        flush=True,
    )
