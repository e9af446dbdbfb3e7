"""Smaller networks: plan them, solve them, write them as ONNX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model_build import export
from model_build.base import Base, sha256_of_values
from model_build.cache import cache_in, key_of, source_of
from model_build.compression import allocation, low_rank, network, pruning, solve
from model_build.compression.allocation import Losses
from model_build.compression.low_rank import Ranks
from model_build.compression.network import ConvNet, Shape
from model_build.compression.pruning import Elimination
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, spread
from model_build.data.reader import PictureReader, decoder_fingerprint
from model_build.head import TrainedHead

CHANNEL_LOSS_WEIGHT = 3.0
"""Weight of a loss by channels against one by ranks. Both are estimated to first order, and both are too small: in a
network of 128 pixels with other weights, with one layer changed at a time, the measured loss of the logits of 200
pictures was 1 to 4 times the estimate by ranks (median 2.1) and 0.8 to 17 times the estimate by channels (median 5)."""


@dataclass(frozen=True, slots=True)
class LayerRedundancy:
    """Loss of the head, to first order, if one layer alone has only a half or a quarter of its `channels`, a half
    chosen by LASSO, or the rank with a half or a quarter of the multiplications. None for the features: they stay."""

    channels: int
    half: float | None
    quarter: float | None
    half_by_lasso: float | None
    rank_2: float | None
    rank_4: float | None


@dataclass(frozen=True, slots=True)
class SolvedNetwork:
    """A smaller base: its graph in FP32, for pictures of `BuildConfig.image_size`, and its shape."""

    fp32: Path
    shape: Shape


def solve_networks(
    base: Base, head: TrainedHead, speedups: Sequence[float], folder: Path, data: Dataset, config: BuildConfig
) -> tuple[list[SolvedNetwork], list[LayerRedundancy]]:
    """Make a network for each speed-up, by fewer channels and lower ranks, or reuse those of an earlier build; returns
    each layer's redundancy, too.

    `head` is one trained on the full network's features; its gradients say which outputs matter. Raises StructureError.
    """
    examples = spread(data.splits["train"], config.affordable(config.compress_megapixels))
    folder.mkdir(parents=True, exist_ok=True)
    graphs = [folder / f"{speedup:g}x.onnx" for speedup in speedups]
    shape_file, redundancy_file = folder / "shapes.json", folder / "redundancy.json"

    def make() -> None:
        full = network.from_keras(base.network)
        _, pixels = PictureReader(examples, config.image_size).all(config.inference_batch)
        pixels[::2] = pixels[::2, :, ::-1].copy()  # half of them mirrored
        statistics = solve.gather_statistics(full, pixels, max(1, config.compress_rows // len(pixels)), config.seed)
        subset = pixels[: config.affordable(config.compress_megapixels / 3)]
        sensitivity = solve.sensitivities(full, subset, head.network, config.seed)
        consumption = solve.consumptions(full, sensitivity)
        orders = solve.eliminations(statistics, consumption)
        columns = solve.column_ranks(full, statistics, sensitivity)
        redundancy = _redundancy(full, statistics, consumption, orders, columns)
        shapes = []
        for speedup, graph in zip(speedups, graphs, strict=True):
            shape = _shape(full, speedup, orders, columns, config)
            kept = [order.kept(width) for order, width in zip(orders, shape.widths, strict=False)]
            kept.append(np.arange(shape.widths[-1]))
            smaller = solve.shrink(full, statistics, sensitivity, kept, shape.ranks)
            export.export(network.to_keras(smaller, config.image_size), export.IMAGE, export.FEATURES, graph)
            shapes.append(asdict(smaller.shape))
            print(f"      solved: {speedup:g}x faster  {_layer_list(shape)}", flush=True)
        redundancy_file.write_text(json.dumps([asdict(layer) for layer in redundancy]), "utf-8")
        shape_file.write_text(json.dumps(shapes), "utf-8")

    key = key_of(
        "compress",
        base.sha256,
        sha256_of_values(head.network),
        [example.sha256 for example in examples],
        decoder_fingerprint(),
        list(speedups),
        [config.image_size, config.seed, config.compress_megapixels, config.compress_rows, config.compress_step],
        source_of(*(module.__file__ for module in (allocation, network, pruning, solve, export, low_rank)), __file__),
    )
    cache_in(config.cache).files(key, [*graphs, shape_file, redundancy_file], make)
    shapes = [
        Shape(**{name: tuple(values) for name, values in shape.items()})
        for shape in json.loads(shape_file.read_text("utf-8"))
    ]
    redundancy = [LayerRedundancy(**layer) for layer in json.loads(redundancy_file.read_text("utf-8"))]
    return [SolvedNetwork(graph, shape) for graph, shape in zip(graphs, shapes, strict=True)], redundancy


def _shape(
    full: ConvNet,
    speedup: float,
    orders: Sequence[Elimination],
    columns: Sequence[Ranks],
    config: BuildConfig,
) -> Shape:
    """Channels and ranks of the layers."""
    channel_losses = [*(CHANNEL_LOSS_WEIGHT * order.loss for order in orders), np.zeros(1)]
    return allocation.allocate(
        [Losses(channels, ranks.loss) for channels, ranks in zip(channel_losses, columns, strict=True)],
        full.shape,
        config.image_size,
        1 / speedup,
        config.compress_step,
    )


def _layer_list(shape: Shape) -> str:
    """Channels of each layer, followed by its rank in brackets if it is split."""
    layers = zip(shape.widths, shape.ranks, strict=True)
    return " ".join(f"{width}({rank})" if rank else str(width) for width, rank in layers)


def _redundancy(
    full: ConvNet,
    statistics: solve.Statistics,
    consumption: Sequence[np.ndarray],
    orders: Sequence[Elimination],
    columns: Sequence[Ranks],
) -> list[LayerRedundancy]:
    layers = []
    for index, (convolution, ranks) in enumerate(zip(full.layers, columns, strict=True)):
        inputs, width = convolution.kernels[0].shape[2], convolution.width
        by_channels: tuple[float | None, ...] = (None, None, None)
        if index < len(orders):
            loss, covariance, matrix = orders[index].loss, statistics.covariances[index], consumption[index]
            lasso = pruning.loss_without(covariance, matrix, pruning.lasso(covariance, matrix, width // 2))
            by_channels = (loss[width - width // 2], loss[width - width // 4], lasso)
        by_rank = (ranks.loss[max(1, 9 * inputs * width // (3 * factor * (inputs + width)))] for factor in (2, 4))
        rounded = (None if loss is None else float(f"{loss:.3g}") for loss in (*by_channels, *by_rank))
        layers.append(LayerRedundancy(width, *rounded))
    return layers
