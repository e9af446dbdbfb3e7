"""How many wrong labels, and pictures of none of the labels, the lists of suspects.json would find.

    python -m bench.suspects --data DIR [--model DIR] [--strangers DIR]

Exchanges 3% of the labels of the training and validation pictures, or puts 1% photographs of something else among them,
and makes the lists of a build: cross-validation on the features of the finished model, confident learning, and
familiarity. Five random choices each; prints the shares that are found among the first pictures of the list.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.sources import OUT
from bench.strangers import STRANGERS, pictures, write_features_graph
from labeller.classifier import softmax
from labeller.manifest import MODEL_FILE, Manifest, ModelError
from layers import ROOT
from model_build import selection
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset, spread
from model_build.familiarity import choose_familiarity, strangest_rows
from model_build.features import Features, extract, joined, rows_of
from model_build.suspects import STRANGE, find_suspects
from ops.cli import command_parser, exit_status, folder

SEEDS, EXCHANGED, LOOKED_AT = 5, 0.03, 0.05
FEW = 200  # strangers to choose from


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("bench.suspects", __doc__)
    parser.add_argument("--data", type=folder, required=True, help="data set with train/, validation/ and test/")
    parser.add_argument("--model", type=folder, default=Path("build/model"), help="[build/model]")
    parser.add_argument("--strangers", type=folder, default=STRANGERS, help="photographs of none of the labels")
    options = parser.parse_args()
    return exit_status(lambda: run(options), ModelError, DataError)


def run(options: argparse.Namespace) -> int:
    """Print both results. Raises ModelError, DataError."""
    data = dataset.scan(options.data)
    side = Manifest.from_file(options.model / "manifest.json").input_size[0]
    config = BuildConfig(data.root, image_size=side, cache=ROOT / "build" / "cache")
    graph = write_features_graph(options.model / MODEL_FILE, OUT / "suspects")
    known = extract(graph, data.known, config)
    heads = [selection.evaluate_head(candidate, known, len(data.labels), config) for candidate in config.heads]
    config = replace(config, heads=(selection.choose_head(heads).candidate,))
    shares = [wrong_labels_found(data, known, config, seed) for seed in range(SEEDS)]
    print_shares(f"{EXCHANGED:.0%} of {len(known.labels)} labels exchanged, among the first {LOOKED_AT:.0%}", shares)
    strange = extract(graph, spread(pictures(options.strangers, data), FEW), config)
    shares = [strangers_found(data, known, strange, config, seed) for seed in range(SEEDS)]
    print_shares(f"{STRANGE:.0%} strangers, among the strangest {LOOKED_AT:.0%}", shares)
    return 0


def print_shares(name: str, shares: list[float]) -> None:
    """Mean and range."""
    print(
        f"{name}: {np.mean(shares):.1%} found ({min(shares):.1%} to {max(shares):.1%} in {SEEDS} choices)", flush=True
    )


def wrong_labels_found(data: Dataset, known: Features, config: BuildConfig, seed: int) -> float:
    """The share of the exchanged labels that are among the first suspects."""
    count, random = len(known.labels), np.random.default_rng(seed)
    exchanged = random.choice(count, round(EXCHANGED * count), replace=False)
    labels = known.labels.copy()
    labels[exchanged] = (labels[exchanged] + random.integers(1, len(data.labels), len(exchanged))) % len(data.labels)
    examples = tuple(replace(one, label=int(label)) for one, label in zip(known.examples, labels, strict=True))
    given = replace(known, examples=examples, labels=labels)
    judged = selection.evaluate_head(config.heads[0], given, len(data.labels), config)
    probabilities = softmax(judged.logits, 1.0)
    nobody = ((), np.empty((0, len(data.labels))))
    listed = replace(data, splits={"train": examples, "validation": (), "test": ()})
    suspects = find_suspects(listed, (examples, probabilities), nobody)
    first = {one.sha256 for one in suspects[: round(LOOKED_AT * count)]}
    return len({examples[row].sha256 for row in exchanged} & first) / len(exchanged)


def strangers_found(data: Dataset, known: Features, strange: Features, config: BuildConfig, seed: int) -> float:
    """The share of the strangers, put among the training pictures, that are among the least familiar pictures."""
    count, random = len(known.labels), np.random.default_rng(seed)
    added = rows_of(strange, random.permutation(len(strange.labels)) < round(STRANGE * count))
    labels = random.integers(0, len(data.labels), len(added.labels))
    examples = tuple(replace(one, label=int(label)) for one, label in zip(added.examples, labels, strict=True))
    mixed = joined(known, replace(added, examples=examples, labels=labels))
    given = replace(data, splits={**data.splits, "train": (*data.splits["train"], *examples)})
    familiarity = choose_familiarity(given, mixed, None, config)
    strangest = strangest_rows(familiarity, mixed, round(LOOKED_AT * len(mixed.labels)))
    return sum(row >= count for row, _, _ in strangest) / len(labels)


if __name__ == "__main__":
    sys.exit(main())
