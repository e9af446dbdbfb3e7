"""The smaller networks of the curve: which there are, and each of them solved and written as ONNX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from model_build import export
from model_build.base import Base, sha256_of_values
from model_build.cache import cache_in, key_of, source_of
from model_build.compression import allocation, low_rank, network, pruning, solve
from model_build.compression.allocation import Losses, Shape
from model_build.compression.low_rank import Ranks
from model_build.compression.network import Chain
from model_build.compression.pruning import Elimination
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, spread
from model_build.data.reader import PictureReader, decoder_fingerprint
from model_build.selection import EvaluatedHead

CHANNELS_COUNT = 3.0
"""How much more a loss by channels weighs than one by ranks. Both are of first order, and both are too small: with the
stand-in, one layer changed at a time, what the logits of 200 pictures really lost was 1 to 4 times (median 2.1) as much
by ranks and 0.8 to 17 times (median 5) by channels."""


class Kind(StrEnum):
    """By what a network takes less time than the full one."""

    FULL = "full"
    BOTH = "channels and ranks"
    CHANNELS = "channels"
    RANKS = "ranks"
    PIXELS = "pixels"


@dataclass(frozen=True, slots=True)
class Variant:
    """A network to be made: `times` less time than the full one, by `network.layer_cost`, at `image_size` pixels."""

    name: str
    kind: Kind
    image_size: int
    times: float

    def files(self, folder: Path) -> tuple[Path, Path]:
        """The ONNX graph in FP32, and its shape as JSON."""
        stem = self.name.replace(" ", "-").replace(",", "")
        return folder / f"{stem}.onnx", folder / f"{stem}.json"


def planned(config: BuildConfig) -> list[Variant]:
    """The networks beside the full one: for `auto` the curve, else the one that is asked for."""
    size = config.image_size
    if config.compress != "auto":
        return [Variant(name_of(float(config.compress)), Kind.BOTH, size, float(config.compress))]
    found = [Variant(name_of(times), Kind.BOTH, size, times) for times in config.compress_times]
    for kind in (Kind.CHANNELS, Kind.RANKS):
        found += [Variant(f"{name_of(times)}, {kind} only", kind, size, times) for times in config.compress_singly]
    for share in config.compress_sizes:
        side = max(32, round(share * size / 16) * 16)
        if side < size:
            found.append(Variant(f"{side} pixels", Kind.PIXELS, side, 1.0))
    return found


def name_of(times: float) -> str:
    """What the network that takes so many times less is called."""
    return f"{times:g} times less"


def make(
    frozen: Base, head: EvaluatedHead, variants: Sequence[Variant], folder: Path, data: Dataset, config: BuildConfig
) -> list[dict[str, Any]]:
    """Solve every variant and write its files, or take those of an earlier build; returns what each layer has to spare.

    `head` is the one trained on the full network: it says what matters. Raises StructureError.
    """
    examples = spread(data.splits["train"], config.affordable(config.compress_megapixels))
    table = folder / "redundancy.json"
    files = [file for variant in variants for file in variant.files(folder)]
    folder.mkdir(parents=True, exist_ok=True)

    def make() -> None:
        full = network.chain_of(frozen.network)
        _, pixels = PictureReader(examples, config.image_size).all(config.inference_batch)
        pixels[::2] = pixels[::2, :, ::-1].copy()  # half of them mirrored
        seen = solve.sample(full, pixels, max(1, config.compress_rows // len(pixels)), config.seed)
        some = pixels[: config.affordable(config.compress_megapixels / 3)]
        heard = solve.sensitivities(full, some, head.trained.network, config.seed)
        use = solve.uses(full, heard)
        orders, columns = solve.eliminations(seen, use), solve.rankings(full, seen, heard)
        table.write_text(json.dumps(_redundancy(full, seen, use, orders, columns)), "utf-8")
        for variant in variants:
            shape = _shape(full, variant, orders, columns, config)
            kept = [order.kept(width) for order, width in zip(orders, shape.widths, strict=False)]
            smaller = solve.thin(full, seen, heard, [*kept, np.arange(shape.widths[-1])], shape.ranks)
            _write(smaller, variant, folder)
            print(f"      solved: {variant.name:<28}{_described(smaller)}", flush=True)

    key = key_of(
        "compress",
        frozen.sha256,
        sha256_of_values(head.trained.network),
        [example.sha256 for example in examples],
        decoder_fingerprint(),
        [[each.name, each.kind, each.image_size, each.times] for each in variants],
        [config.image_size, config.seed, config.compress_megapixels, config.compress_rows, config.compress_step],
        source_of(*(module.__file__ for module in (allocation, network, pruning, solve, export, low_rank)), __file__),
    )
    cache_in(config.cache).files(key, [*files, table], make)
    return list(json.loads(table.read_text("utf-8")))


def _shape(
    full: Chain, variant: Variant, orders: Sequence[Elimination], columns: Sequence[Ranks], config: BuildConfig
) -> Shape:
    """How many channels and which rank each layer of the variant has."""
    losses = [
        Losses(
            channels=CHANNELS_COUNT * orders[layer].loss if layer < len(orders) else np.zeros(1),
            ranks=each.loss,
        )
        for layer, each in enumerate(columns)
    ]
    return allocation.allot(
        losses,
        Shape(tuple(full.widths), tuple(full.ranks)),
        full.sides(config.image_size),
        1 / variant.times,
        config.compress_step,
        channels=variant.kind is not Kind.RANKS,
        ranks=variant.kind is not Kind.CHANNELS,
    )


def _write(smaller: Chain, variant: Variant, folder: Path) -> None:
    graph, shape = variant.files(folder)
    made = network.network_of(smaller, variant.image_size)
    export.export(made, export.IMAGE, export.FEATURES, graph)
    described = {
        "channels": smaller.widths,
        "ranks": smaller.ranks,
        "multiplications": smaller.multiplications(variant.image_size),
        "cost": Shape(tuple(smaller.widths), tuple(smaller.ranks)).cost(smaller.sides(variant.image_size)),
    }
    shape.write_text(json.dumps(described), "utf-8")


def _described(network: Chain) -> str:
    """Channels of each layer, and its rank in brackets if it has one."""
    return " ".join(
        f"{width}({rank})" if rank else str(width) for width, rank in zip(network.widths, network.ranks, strict=True)
    )


def _redundancy(
    full: Chain,
    seen: solve.Sample,
    use: Sequence[np.ndarray],
    orders: Sequence[Elimination],
    columns: Sequence[Ranks],
) -> list[dict[str, Any]]:
    """Per layer, alone, what is lost without some of its channels, with a half chosen by LASSO for comparison, and with
    kernels of lower rank. The last layer's channels all stay."""
    found: list[dict[str, Any]] = []
    for layer, (convolution, split) in enumerate(zip(full.layers, columns, strict=True)):
        inputs, width = convolution.kernels[0].shape[2], convolution.width
        losses: dict[str, float | None] = {"half": None, "quarter": None, "half_by_lasso": None}
        if layer < len(orders):
            order = orders[layer]
            half = pruning.lasso(seen.covariances[layer], use[layer], width // 2)
            losses = {
                "half": order.loss[width - width // 2],
                "quarter": order.loss[width - width // 4],
                "half_by_lasso": pruning.loss_without(seen.covariances[layer], use[layer], half),
            }
        for times in (2, 4):
            rank = max(1, 9 * inputs * width // (3 * times * (inputs + width)))
            losses[f"rank_{times}"] = split.loss[rank]
        found.append(
            {
                "channels": width,
                **{name: None if loss is None else float(f"{loss:.3g}") for name, loss in losses.items()},
            }
        )
    return found
