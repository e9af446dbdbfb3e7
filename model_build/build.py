"""Photographs in class folders -> build/model, ready for the layer. `run_stages` reads from top to bottom.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size 224] [--out build/model]
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
from model_build import base, calibration, export, familiarity_graph, golden, previous, quantize, selection, verify
from model_build.atomic_folder import atomic_folder
from model_build.cache import cache_in
from model_build.compression import curve as curves
from model_build.config import BuildConfig
from model_build.data import dataset, reader
from model_build.data.dataset import Dataset
from model_build.data.reader import CORES
from model_build.familiarity import Familiarity, choose_familiarity
from model_build.features import Features, extract
from model_build.fingerprint import PACKAGES
from model_build.progress import Stages
from model_build.quantize import QuantisedBase
from model_build.report import card, compose, figures, report
from model_build.report.report import BuildReport
from model_build.report.summary import print_summary
from model_build.selection import TrainedNetwork
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


@dataclass(frozen=True, slots=True)
class FrozenBase:
    """The base as a Keras model and as an ONNX file in FP32."""

    base: base.Base
    fp32: Path


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The base in INT8: every candidate, the chosen one and its file; `reference` are the FP32 features compared."""

    candidates: list[QuantisedBase]
    chosen: QuantisedBase
    int8: Path
    reference: Features


@dataclass(frozen=True, slots=True)
class Networks:
    """The network with the full base, the one to ship, and the measured curve of smaller ones if it was asked for."""

    full: TrainedNetwork
    shipped: TrainedNetwork
    curve: curves.Curve | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and confidence threshold, and the cross-validation's answers on which they were chosen: for the
    images, and for changed copies of the validation images. `familiarity` says which pictures are UNKNOWN."""

    temperature: float
    threshold: calibration.Threshold
    validation: Predictions
    copies: selection.JudgedCopies
    familiarity: Familiarity


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and replace `config.out` with the finished model; until then the previous model stays.

    `load_base(weights, image_size, seed)` returns the frozen base. Raises DataError, WeightsError, QuantisationError,
    StructureError, VerificationError, ModelError and OutputError, and OSError if a disk is full. Returns `config.out`.
    """
    cache = cache_in(config.cache)
    cache.begin()
    with atomic_folder(config.out, MANIFEST_FILE) as folder:
        results = run_stages(Build(config, folder, Stages(total=9 if config.compress == "none" else 10)), load_base)
    cache.trim()
    print_summary(results, config.out)
    return config.out


def run_stages(build: Build, load_base: LoadBase) -> BuildReport:
    """Run every stage in order; return the report."""
    build.work.mkdir()
    data = read_data(build)
    frozen = load_frozen_base(build, load_base)
    quantisation = quantise(build, data, frozen)
    features = extract_features(build, data, quantisation)
    full = train_head(build, data, frozen, quantisation, features)
    networks = compress(build, data, frozen, quantisation, full)
    calibrated = calibrate(build, data, networks.shipped)
    manifest = export_model(build, data, frozen, networks.shipped, calibrated)
    verification, comparison = verify_model(build, data, networks, manifest)
    return write_report(build, data, quantisation, networks, calibrated, manifest, verification, comparison)


def read_data(build: Build) -> Dataset:
    """List the images of every split and label."""
    with build.stages.stage("data", f"reading {build.config.data}"):
        data = dataset.scan(build.config.data)
        dataset.print_counts(data)
        return data


def load_frozen_base(build: Build, load_base: LoadBase) -> FrozenBase:
    """Load VGG16 without its top, freeze it and export it."""
    config, fp32 = build.config, build.work / "base.onnx"
    with build.stages.stage("base", f"VGG16, {config.weights} weights, {config.image_size} pixels, exported to ONNX"):
        keras.utils.clear_session()  # Keras numbers layers per process: a fresh session gives the same names every time
        frozen = load_base(config.weights, config.image_size, config.seed)
        base.export_base(frozen, config, fp32)
        return FrozenBase(frozen, fp32)


def quantise(build: Build, data: Dataset, frozen: FrozenBase) -> Quantisation:
    """Convert the base to INT8 in several ways and keep the one nearest to FP32."""
    config, int8 = build.config, build.work / "base.int8.onnx"
    with build.stages.stage("quantize", f"{len(config.quantisations)} INT8 variants, compared with FP32 on validation"):
        reference = extract(frozen.fp32, quantize.comparison_examples(data, config), config)
        verify.require_faithful_export(frozen.base.network, reference, config)
        compared, chosen = quantize.quantise_base(frozen.fp32, int8, reference, data, config)
        print(f"      chosen: {chosen.candidate.name}")
        return Quantisation(compared, chosen, int8, reference)


def extract_features(build: Build, data: Dataset, quantisation: Quantisation) -> Features:
    """Run the INT8 base once over every training and validation image."""
    with build.stages.stage("features", "INT8 base on every training and validation image"):
        features = extract(quantisation.int8, data.known, build.config)
        readable = set(features.examples)
        for split in ("train", "validation"):
            dataset.require_enough(data, split, [example for example in data.splits[split] if example in readable])
        return features


def train_head(
    build: Build, data: Dataset, frozen: FrozenBase, quantisation: Quantisation, features: Features
) -> TrainedNetwork:
    """Compare every head candidate by cross-validation, and train the chosen one on all features."""
    config, labels = build.config, len(data.labels)
    with build.stages.stage("head", f"{len(config.heads) + 1} candidates for {labels} labels, cross-validated"):
        heads = selection.evaluate_heads(features, labels, config)
        head = selection.choose_head(heads)
        print(f"      chosen: {head.candidate.name}")
        return selection.train_network(
            frozen.fp32, quantisation.int8, quantisation.reference, features, heads, head, config
        )


def compress(
    build: Build, data: Dataset, frozen: FrozenBase, quantisation: Quantisation, full: TrainedNetwork
) -> Networks:
    """Solve and measure smaller networks if the settings ask for it, and choose the one to ship."""
    config = build.config
    if config.compress == "none":
        return Networks(full, full)
    candidate = quantisation.chosen.candidate

    def quantise_smaller(fp32: Path, int8: Path, reference: Features, settings: BuildConfig) -> None:
        quantize.quantise_base(fp32, int8, reference, data, replace(settings, quantisations=(candidate,)))

    with build.stages.stage("compress", "smaller networks, compared by cross-validation"):
        point = curves.full_point(frozen.base, config, full)
        curve = curves.measure_curve(
            frozen.base, point, full.trained, data, config, quantise_smaller, build.work / "compress"
        )
        chosen = curve.chosen
        print(f"      chosen: {chosen.name}")
        if chosen is point:
            return Networks(full, full, curve)
        features = extract(chosen.int8, data.known, config)
        reference = extract(chosen.fp32, quantize.comparison_examples(data, config), config)
        heads = [chosen.head if head is full.head else head for head in full.heads]
        shipped = selection.train_network(chosen.fp32, chosen.int8, reference, features, heads, chosen.head, config)
        return Networks(full, shipped, curve)


def calibrate(build: Build, data: Dataset, network: TrainedNetwork) -> Calibration:
    """Choose the temperature and the confidence threshold, each image judged by a head that did not learn from it."""
    with build.stages.stage("calibration", "temperature and confidence threshold, chosen by cross-validation"):
        config, features, head = build.config, network.features, network.head
        copies = selection.judge_copies(
            head, features, extract(network.int8, data.splits["validation"], config, changed=True), config
        )
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
        threshold = calibration.strictest(thresholds)
        others = (*data.others.get("train", ()), *data.others.get("validation", ()))
        strangers = extract(network.int8, others, config) if others else None
        known = choose_familiarity(data, features, strangers, config)
        return Calibration(temperature, threshold, predictions, copies, known)


def export_model(
    build: Build, data: Dataset, frozen: FrozenBase, network: TrainedNetwork, calibrated: Calibration
) -> Manifest:
    """Join base and head in model.onnx, and write and return its manifest. Neither depends on the test images."""
    path, config = build.folder / MODEL_FILE, build.config
    with build.stages.stage("export", "base and head joined in one ONNX graph"):
        head = export.export(network.trained.network, export.FEATURES, export.LOGITS, _head_file(build))
        export.join(network.int8, head, path)
        familiarity_graph.add_familiarity(path, export.FEATURES, calibrated.familiarity)
        familiarity_graph.write_exemplars(build.folder, calibrated.familiarity.exemplars, data)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        size = (config.image_size, config.image_size)
        used = replace(data, splits={split: data.splits[split] for split in ("train", "validation")})
        manifest = Manifest(
            labels=data.labels,
            input_size=size,
            temperature=calibrated.temperature,
            confidence_threshold=calibrated.threshold.value,
            familiarity_threshold=calibrated.familiarity.threshold,
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


def verify_model(
    build: Build, data: Dataset, networks: Networks, manifest: Manifest
) -> tuple[Verification, curves.FullComparison | None]:
    """Score the finished files on the test images; with a curve, compare them with the full network there."""
    config = build.config
    with build.stages.stage("verify", "the finished model on the test images; FP32 and INT8 on samples"):
        classifier = load_classifier(build.folder, CORES)  # as the functions load and check it
        verification = verify.verify(classifier, networks.shipped, manifest.temperature, data, config)
        if networks.curve is None:
            return verification, None
        of_full = extract(networks.full.int8, verification.test.examples, config)
        return verification, curves.compare_with_full(of_full, networks.full.trained, verification.test.right)


def write_report(
    build: Build,
    data: Dataset,
    quantisation: Quantisation,
    networks: Networks,
    calibrated: Calibration,
    manifest: Manifest,
    verification: Verification,
    comparison: curves.FullComparison | None,
) -> BuildReport:
    """Write the predictions, the figures, report.json and the model card; return the report."""
    config, folder, test = build.config, build.folder, verification.test
    network = networks.shipped
    with build.stages.stage("report", "predictions, report.json and the model card"):
        scored = test.scored(data.labels, manifest.thresholds, data.root)
        (folder / PREDICTIONS_FILE).write_bytes(write_csv(scored))
        results = compose.compose(
            config,
            data,
            manifest,
            compose.Decisions(
                quantisation.candidates,
                quantisation.chosen,
                selection.count_correct(networks.full.trained, quantisation.candidates, networks.full.reference),
                network,
                calibrated.threshold,
                networks.curve,
                comparison,
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
        thumbnails = _thumbnails_of_mistakes(results, test, data, config.image_size)
        shutil.rmtree(build.work)
    seconds = {**build.stages.seconds, "total": round(sum(build.stages.seconds.values()), 2)}
    results = replace(results, reused=cache_in(config.cache).reused, seconds=seconds)
    (folder / "report.json").write_text(report.to_json(results), "utf-8")
    (folder / "index.html").write_text(card.card_page(results, thumbnails), "utf-8")
    return results


def _head_file(build: Build) -> Path:
    return build.work / "head.onnx"


def _thumbnails_of_mistakes(results: BuildReport, test: Predictions, data: Dataset, image_size: int) -> dict[str, str]:
    """Data URIs of the mistakes that the card shows, by path."""
    names = {mistake.path for mistake in results.mistakes[: card.MISTAKES_SHOWN]}
    shown = [example for example in test.examples if data.name(example) in names]
    return {data.name(example): uri for example, uri in reader.thumbnails(shown, image_size).items()}
