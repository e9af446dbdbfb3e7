"""What the model says of pictures of something else, with and without familiarity, and with examples of other things.

    python -m bench.strangers [--strangers FOLDER]

The strangers are photographs of none of the labels, below the folder [../shared/others]. A photograph's kind is the
last word of its file's name, without numbers: red_fox.jpg and "kit fox 2.jpg" are foxes. Drawn pictures are compared
too.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from bench.sources import OUT, BenchError, Sources, run_part
from bench.synthetic import draw
from evaluation.metrics import auroc_score
from labeller.classifier import Classifier, load_classifier
from labeller.manifest import MODEL_FILE
from layers import ROOT
from model_build import export
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import DataError, Dataset, Example, spread
from model_build.data.reader import PictureReader
from model_build.familiarity import choose_familiarity
from model_build.features import Features, extract, rows_of
from model_build.verify import predict

STRANGERS = ROOT.parent / "shared" / "others"

NEAR_MISSES = (
    *("bear", "cheetah", "cougar", "coyote", "dhole", "dingo", "fox", "hyena", "jackal", "jaguar", "leopard", "lion"),
    *("lynx", "panda", "puma", "tiger", "wolf"),
)
"""Kinds that resemble cats and dogs: foxes, wolves, wild cats, bears."""

EXAMPLES = (25, 100, 400)
"""Numbers of photographs that serve as the folder `other/`."""

SPLITS = 10
"""Random choices of the examples, by kind; the figures are means."""

DRAWN = 8
"""Drawn pictures of each kind."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Answers:
    """The model's answers for n pictures: `shares` are familiarities, `confidence` and bool `sure`, whether it suffices
    for a label; `right` whether the likeliest label is the true one; `features` are pooled."""

    features: Features
    confidence: np.ndarray
    sure: np.ndarray
    right: np.ndarray
    shares: np.ndarray

    def labelled(self, threshold: float) -> np.ndarray:
        """bool [n], with this threshold of familiarity."""
        return np.asarray(self.sure & (self.shares >= threshold))


def measure(sources: Sources, options: argparse.Namespace) -> dict[str, Any]:
    """The part `strangers` of bench.json. Raises ModelError, BenchError, DataError."""
    classifier = load_classifier(sources.model, sources.threads)
    threshold = classifier.thresholds.familiarity
    if threshold is None:
        raise BenchError(f"the model in {sources.model} has no threshold of familiarity: build it again")
    data = dataset.scan(sources.data)
    if classifier.labels != data.labels:
        raise BenchError(f"the model has the labels {classifier.labels}, {data.root} has {data.labels}: name DATA=")
    config = BuildConfig(data.root, image_size=sources.side, cache=ROOT / "build" / "cache")
    graph = write_features_graph(sources.model / MODEL_FILE, OUT / "strangers")
    few = 40 if sources.quick else None
    folders = (options.strangers, draw(OUT / "strangers" / "drawn", 1 if sources.quick else DRAWN))
    own, strange, drawn = (
        answer(classifier, sources.manifest.temperature, graph, examples, config)
        for examples in (_few(data.splits["test"], few), *(_few(pictures(folder, data), few) for folder in folders))
    )
    names = [words(example.path)[-1] for example in strange.features.examples]
    near = np.isin(names, NEAR_MISSES)
    known = extract(graph, data.known, config)
    return {
        "threshold": threshold,
        "test": len(own.right),
        "strangers": len(near),
        "near_misses": int(near.sum()),
        "auroc": round(auroc_score(own.shares, strange.shares), 4),
        "auroc_by_confidence": round(auroc_score(own.confidence, strange.confidence), 4),
        "without": figures(own, strange, near, 0.0, own.sure),
        "with_familiarity": figures(own, strange, near, threshold, own.sure),
        "labelled_kinds": sorted(np.array(names)[strange.labelled(threshold)].tolist()),
        "drawn": drawn_figures(drawn, threshold),
        "examples": [
            row
            for count in EXAMPLES
            if (row := with_examples(count, data, known, own, strange, np.array(names), config))
        ],
    }


def figures(own: Answers, strange: Answers, near: np.ndarray, threshold: float, before: np.ndarray) -> dict[str, Any]:
    """The shares of strangers that get a label, and of the labels `before` that are kept; labels, and wrong ones."""
    kept, labelled = own.labelled(threshold), strange.labelled(threshold)
    return {
        "strangers_labelled": _mean(labelled),
        "near_misses_labelled": _mean(labelled[near]),
        "others_labelled": _mean(labelled[~near]),
        "labels_kept": round(float(kept.sum() / max(1, before.sum())), 4),
        "labelled": int(kept.sum()),
        "wrong": int((~own.right[kept]).sum()),
    }


def drawn_figures(drawn: Answers, threshold: float) -> list[dict[str, Any]]:
    """For each kind of drawn pictures, how many get a label without and with familiarity."""
    kinds = np.array([" ".join(words(example.path)) for example in drawn.features.examples])
    return [
        {
            "kind": str(kind),
            "pictures": int((kinds == kind).sum()),
            "without": int(drawn.labelled(0.0)[kinds == kind].sum()),
            "with_familiarity": int(drawn.labelled(threshold)[kinds == kind].sum()),
        }
        for kind in dict.fromkeys(kinds)
    ]


def with_examples(
    count: int,
    data: Dataset,
    known: Features,
    own: Answers,
    strange: Answers,
    kinds: np.ndarray,
    config: BuildConfig,
) -> dict[str, Any] | None:
    """Means over SPLITS random choices of `count` strangers as examples; the others, of other kinds, are judged. None
    if there are not more strangers."""
    if count >= len(kinds):
        return None
    results = []
    for examples in splits(kinds, count):
        learnt = choose_familiarity(data, known, rows_of(strange.features, examples), config)
        judged = rows_of(strange.features, ~examples)
        own_scores, strange_scores = (learnt.score(features) for features in (own.features, judged))
        kept = own.sure & (learnt.scale(own_scores) >= learnt.threshold)
        labelled = strange.sure[~examples] & (learnt.scale(strange_scores) >= learnt.threshold)
        results.append(
            (
                labelled.mean(),
                kept.sum() / max(1, own.sure.sum()),
                own.right[kept].mean(),
                auroc_score(own_scores, strange_scores),
                learnt.threshold,
            )
        )
    names = ("strangers_labelled", "labels_kept", "right", "auroc", "threshold")
    means = dict(zip(names, np.mean(results, axis=0).round(4).tolist(), strict=True))
    return {"examples": count, "splits": len(results), **means}


def splits(kinds: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Masks of about `count` examples, bool [n]: whole kinds in random order."""
    random = np.random.default_rng(0)
    for _ in range(SPLITS):
        chosen = np.zeros(len(kinds), bool)
        for kind in random.permutation(np.unique(kinds)):
            if chosen.sum() + (kinds == kind).sum() <= count:
                chosen |= kinds == kind
        yield chosen


def answer(
    classifier: Classifier, temperature: float, graph: Path, examples: Sequence[Example], config: BuildConfig
) -> Answers:
    """The finished model's answers. Raises DataError if no picture can be read."""
    predictions = predict(classifier, PictureReader(examples, config.image_size), temperature, config.inference_batch)
    assert predictions.familiarity is not None
    features = extract(graph, predictions.examples, config)
    sure = predictions.confidence >= classifier.thresholds.confidence
    return Answers(features, predictions.confidence, sure, predictions.right, predictions.familiarity)


def pictures(folder: Path, data: Dataset) -> list[Example]:
    """The picture files below a folder, as of none of the labels. Raises BenchError without any."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise BenchError(f"no photographs of something else in {folder}: name a folder with STRANGERS=")
    return [Example(path, len(data.labels), hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def words(path: Path) -> list[str]:
    """The words of a file's name, without numbers."""
    return [word for word in re.split(r"[\s_-]+", path.stem) if not word.isdigit()] or [path.stem]


def write_features_graph(model: Path, folder: Path) -> Path:
    """The part of a finished model that computes the feature maps, as a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "features.onnx"
    onnx.utils.extract_model(str(model), str(path), [export.IMAGE], [export.FEATURES], check_model=False)
    return path


def _few(examples: Sequence[Example], count: int | None) -> list[Example]:
    return list(examples) if count is None else spread(examples, count)


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strangers", type=Path, default=STRANGERS, help="photographs of none of the labels")


if __name__ == "__main__":
    sys.exit(run_part("strangers", measure, DataError, add_arguments=_add_arguments))
