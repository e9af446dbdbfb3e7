"""Photographs in class folders -> build/model, ready for the layer. `run_stages` reads from top to bottom.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size N] [--compress 3.5] [--out build/model]
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from evaluation.predictions import PREDICTIONS_FILE, write_csv
from labeller.classifier import load_classifier, softmax
from labeller.manifest import MANIFEST_FILE, MODEL_FILE, Manifest
from model_build import (
    base,
    calibration,
    export,
    familiarity_graph,
    golden,
    previous,
    quantize,
    search,
    selection,
    strangers,
    verify,
)
from model_build.atomic_folder import atomic_folder
from model_build.cache import cache_in
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import Dataset, Example
from model_build.data.inventory import write_inventory
from model_build.data.reader import CORES
from model_build.data.shifts import CHANGES
from model_build.familiarity import Familiarity, strangest_rows
from model_build.features import Features, extract
from model_build.fingerprint import PACKAGES
from model_build.progress import Stages
from model_build.quantize import QuantisedBase
from model_build.report import card, compose, figures, report
from model_build.report.report import BuildReport
from model_build.report.summary import print_summary
from model_build.selection import TrainedNetwork
from model_build.strangers import Learnt
from model_build.suspects import find_strangers, find_suspects, write_suspects
from model_build.verify import Predictions, Verification

LoadBase = Callable[[str, int, int], base.Base]


@dataclass(frozen=True, slots=True)
class Build:
    """What every stage needs: the settings, the folder that becomes the model, and the display of progress."""

    config: BuildConfig
    folder: Path
    stages: Stages

    @property
    def work(self) -> Path:
        """The folder of intermediate files; deleted in the last stage."""
        return self.folder / "work"

    def of(self, network: search.Network) -> Build:
        """The build of the network that was chosen."""
        config = replace(self.config, image_size=network.image_size, speedup=network.speedup)
        return replace(self, config=config)


@dataclass(frozen=True, slots=True)
class FrozenBase:
    """The base as a Keras model and as an ONNX file in FP32."""

    base: base.Base
    fp32: Path


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The base to ship in FP32 and INT8: every candidate, the chosen one and its file; `reference` are the FP32
    features compared."""

    candidates: list[QuantisedBase]
    chosen: QuantisedBase
    fp32: Path
    int8: Path
    reference: Features


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and confidence threshold, and the cross-validation's answers on which they were chosen: for the
    images, and for changed copies of the validation images, with the features of the copies."""

    temperature: float
    threshold: calibration.Threshold
    validation: Predictions
    changed: Features
    copies: selection.JudgedCopies


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and replace `config.out` with the finished model; until then the previous model stays.

    `load_base(weights, image_size, seed)` returns the frozen base. Raises DataError, WeightsError, QuantisationError,
    StructureError, VerificationError, ModelError and OutputError, and OSError if a disk is full. Returns `config.out`.
    """
    cache = cache_in(config.cache)
    cache.begin()
    with atomic_folder(config.out, MANIFEST_FILE) as folder:
        results = run_stages(Build(config, folder, Stages(10 + config.compares_networks)), load_base)
    cache.trim()
    print_summary(results, config.out)
    return config.out


def run_stages(build: Build, load_base: LoadBase) -> BuildReport:
    """Run every stage in order; return the report."""
    build.work.mkdir()
    data = read_data(build)
    frozen = load_frozen_base(build, data, load_base)
    searched = find_network(build, data, frozen)
    asked, build = build.config, build if searched is None else build.of(searched.chosen)
    quantisation = quantise(build, data, frozen.fp32 if searched is None else searched.chosen.fp32)
    features = extract_features(build, data, quantisation)
    network = train_head(build, data, quantisation, features)
    calibrated = calibrate(build, data, network)
    learnt = learn_familiarity(build, data, network, calibrated)
    manifest = export_model(build, data, frozen, network, calibrated, learnt.familiarity)
    verification = verify_model(build, data, network, manifest)
    return write_report(build, asked, data, quantisation, searched, network, calibrated, learnt, manifest, verification)


def read_data(build: Build) -> Dataset:
    """List the images of every split and label."""
    with build.stages.stage("data", f"reading {build.config.data}"):
        data = dataset.scan(build.config.data)
        dataset.print_counts(data)
        return data


def load_frozen_base(build: Build, data: Dataset, load_base: LoadBase) -> FrozenBase:
    """Load VGG16 without its top, freeze it and export it."""
    config, fp32 = build.config, build.work / "base.onnx"
    with build.stages.stage("base", f"VGG16, {config.weights} weights, {config.image_size} pixels, exported to ONNX"):
        keras.utils.clear_session()  # Keras numbers layers per process: a fresh session gives the same names every time
        frozen = load_base(config.weights, config.image_size, config.seed)
        base.export_base(frozen, config, fp32)
        few = quantize.comparison_examples(data, replace(config, speedup=1.0))
        verify.require_faithful_export(frozen.network, extract(fp32, few, config), config)
        return FrozenBase(frozen, fp32)


def find_network(build: Build, data: Dataset, frozen: FrozenBase) -> search.SearchResult | None:
    """Find the picture's size and the smaller network that the settings ask for; None if that is the full network."""
    config = build.config
    if not config.compares_networks:
        return None

    def quantise_quickly(fp32: Path, int8: Path, settings: BuildConfig) -> None:
        settings = replace(settings, quantisations=settings.quantisations[:1])
        reference = extract(fp32, quantize.comparison_examples(data, settings), settings)
        quantize.quantise_base(fp32, int8, reference, data, settings)

    with build.stages.stage("network", "sizes of the picture and smaller networks, compared by cross-validation"):
        searched = search.search(frozen.base, frozen.fp32, data, config, quantise_quickly, build.work / "search")
        print(f"      chosen: {searched.chosen.name}")
        return searched


def quantise(build: Build, data: Dataset, fp32: Path) -> Quantisation:
    """Convert the base to INT8 in several ways and keep the one nearest to FP32."""
    config, int8 = build.config, build.work / "base.int8.onnx"
    with build.stages.stage("quantize", f"{len(config.quantisations)} INT8 variants, compared with FP32 on validation"):
        reference = extract(fp32, quantize.comparison_examples(data, config), config)
        compared, chosen = quantize.quantise_base(fp32, int8, reference, data, config)
        print(f"      chosen: {chosen.candidate.name}")
        return Quantisation(compared, chosen, fp32, int8, reference)


def extract_features(build: Build, data: Dataset, quantisation: Quantisation) -> Features:
    """Run the INT8 base once over every training and validation image."""
    with build.stages.stage("features", "INT8 base on every training and validation image"):
        features = extract(quantisation.int8, data.known, build.config)
        readable = set(features.examples)
        for split in ("train", "validation"):
            dataset.require_enough(data, split, [example for example in data.splits[split] if example in readable])
        return features


def train_head(build: Build, data: Dataset, quantisation: Quantisation, features: Features) -> TrainedNetwork:
    """Compare every head candidate by cross-validation, and train the chosen one on all features."""
    config, labels = build.config, len(data.labels)
    with build.stages.stage("head", f"{len(config.heads) + 1} candidates for {labels} labels, cross-validated"):
        heads = selection.evaluate_heads(features, labels, config)
        head = selection.choose_head(heads)
        print(f"      chosen: {head.candidate.name}")
        return selection.train_network(
            quantisation.fp32, quantisation.int8, quantisation.reference, features, heads, head, config
        )


def calibrate(build: Build, data: Dataset, network: TrainedNetwork) -> Calibration:
    """Choose the temperature and the confidence threshold, each image judged by a head that did not learn from it."""
    with build.stages.stage("calibration", "temperature and confidence threshold, chosen by cross-validation"):
        config, features, head = build.config, network.features, network.head
        changed = extract(network.int8, data.splits["validation"], config, CHANGES)
        copies = selection.judge_copies(head, features, changed, config)
        counted = copies.counted
        judged = [(head.logits, features.labels), (copies.logits[counted], copies.targets[counted])]
        logits, targets = (np.concatenate(parts) for parts in zip(*judged, strict=True))
        temperature = calibration.fit_temperature(logits, targets)
        thresholds = [
            calibration.choose_threshold(
                softmax(logits, temperature).max(axis=1), logits.argmax(axis=1) == targets, config.precision
            )
            for logits, targets in judged
            if len(targets)
        ]
        predictions = Predictions(features.examples, head.logits, features.labels, temperature)
        # As if nothing were UNKNOWN, so that the threshold holds for an operator who turns that off.
        return Calibration(temperature, calibration.strictest(thresholds), predictions, changed, copies)


def learn_familiarity(build: Build, data: Dataset, network: TrainedNetwork, calibrated: Calibration) -> Learnt:
    """Choose how familiarity is scored, and how unfamiliar a picture must be to be UNKNOWN."""
    with build.stages.stage("familiarity", "how like the training pictures a picture must be to get a label"):
        return strangers.learn(data, network, calibrated.changed, calibrated.copies, build.config)


def export_model(
    build: Build,
    data: Dataset,
    frozen: FrozenBase,
    network: TrainedNetwork,
    calibrated: Calibration,
    familiarity: Familiarity,
) -> Manifest:
    """Join base and head in model.onnx, and write and return its manifest. Neither depends on the test images."""
    path, config = build.folder / MODEL_FILE, build.config
    with build.stages.stage("export", "base and head joined in one ONNX graph"):
        head = export.export(network.trained.network, export.FEATURES, export.LOGITS, _head_file(build))
        export.join(network.int8, head, path)
        familiarity_graph.add_familiarity(path, export.FEATURES, config.image_size // export.STRIDE, familiarity)
        familiarity_graph.write_exemplars(build.folder, familiarity.exemplars, data)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        size = (config.image_size, config.image_size)
        used = replace(data, splits={split: data.splits[split] for split in ("train", "validation")})
        manifest = Manifest(
            labels=data.labels,
            input_size=size,
            temperature=calibrated.temperature,
            confidence_threshold=calibrated.threshold.value,
            familiarity_threshold=familiarity.threshold,
            model_version=f"vgg16-{sha256[:12]}",
            model_sha256=sha256,
            golden=golden.choose_golden_example(path, size),
            build={
                "weights": frozen.base.origin,
                "weights_sha256": frozen.base.sha256,
                "data_sha256": used.digest,
                "packages": {name: version(name) for name in PACKAGES},
            },
        )
        (build.folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        return manifest


def verify_model(build: Build, data: Dataset, network: TrainedNetwork, manifest: Manifest) -> Verification:
    """Score the finished files on the test images."""
    with build.stages.stage("verify", "the finished model on the test images; FP32 and INT8 on samples"):
        classifier = load_classifier(build.folder, CORES)  # as the functions load and check it
        return verify.verify(classifier, network, manifest.temperature, data, build.config)


def write_report(
    build: Build,
    asked: BuildConfig,
    data: Dataset,
    quantisation: Quantisation,
    searched: search.SearchResult | None,
    network: TrainedNetwork,
    calibrated: Calibration,
    learnt: Learnt,
    manifest: Manifest,
    verification: Verification,
) -> BuildReport:
    """Write the predictions, the figures, report.json and the model card; return the report. `asked`: the settings
    before the search."""
    config, folder, test = build.config, build.folder, verification.test
    with build.stages.stage("report", "predictions, report.json and the model card"):
        scored = test.scored(data.labels, manifest.thresholds, data.root)
        (folder / PREDICTIONS_FILE).write_bytes(write_csv(scored))
        write_inventory(folder, data)
        validated = calibrated.validation
        suspects = find_suspects(
            data, (validated.examples, validated.probabilities), (test.examples, test.probabilities)
        )
        familiar = familiarity_of_all(learnt.familiarity, network.features, test)
        write_suspects(folder, [*suspects, *find_strangers(data, familiar, suspects)])
        results = compose.compose(
            asked,
            data,
            manifest,
            compose.Decisions(
                quantisation.candidates,
                quantisation.chosen,
                selection.count_correct(network.trained, quantisation.candidates, network.reference),
                network,
                calibrated.threshold,
                learnt,
                searched,
                previous.compare_with_previous(config.out, data.labels, scored),
            ),
            verification,
            {**network.features.unreadable, **verification.unreadable},
            calibrated.validation,
            calibrated.copies,
            {
                MODEL_FILE: (folder / MODEL_FILE).stat().st_size,
                "same_graph_fp32": network.fp32.stat().st_size + _head_file(build).stat().st_size,
            },
        )
        figures.write_figures(results, folder / "figures")
        thumbnails = card.thumbnails(results, data, config.image_size, suspects)
        shades = card.shades(results, data, config.image_size, folder)
        shutil.rmtree(build.work)
    seconds = {**build.stages.seconds, "total": round(sum(build.stages.seconds.values()), 2)}
    results = replace(results, reused=cache_in(config.cache).reused, seconds=seconds)
    (folder / "report.json").write_text(report.to_json(results), "utf-8")
    (folder / "index.html").write_text(card.card_page(results, thumbnails, suspects, shades), "utf-8")
    return results


def familiarity_of_all(familiarity: Familiarity, known: Features, test: Predictions) -> list[tuple[Example, float]]:
    """The familiarity of every readable picture, compared with other pictures alone."""
    strangest = strangest_rows(familiarity, known, len(known.examples), named=0)
    pairs = [(known.examples[row], share) for row, share, _ in strangest]
    return pairs if test.familiarity is None else [*pairs, *zip(test.examples, test.familiarity.tolist(), strict=True)]


def _head_file(build: Build) -> Path:
    return build.work / "head.onnx"
