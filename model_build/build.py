"""Photographs in class folders -> build/model, ready for the layer. `run_stages` reads from top to bottom.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size N] [--compress 3.5] [--out build/model]
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from evaluation.predictions import PREDICTIONS_FILE, write_csv
from labeller.classifier import load_classifier
from labeller.manifest import GLANCE_FILE, MANIFEST_FILE, MODEL_FILE, Manifest
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
from model_build import glance as glances
from model_build.atomic_folder import atomic_folder
from model_build.cache import cache_in
from model_build.calibration import Calibration
from model_build.config import BuildConfig
from model_build.data import dataset
from model_build.data.dataset import Dataset, Example
from model_build.data.inventory import write_inventory
from model_build.data.reader import CORES
from model_build.familiarity import Familiarity, strangest_rows
from model_build.features import Features, extract
from model_build.fingerprint import PACKAGES, version_of
from model_build.frozen import FrozenBase, LoadBase, load_frozen, search_from
from model_build.glance import GlanceNetwork, finish
from model_build.progress import Stages
from model_build.quantize import QuantisedBase
from model_build.report import card, compose, figures, report
from model_build.report.report import BuildReport
from model_build.report.summary import print_summary
from model_build.selection import TrainedNetwork
from model_build.strangers import Learnt
from model_build.suspects import find_strangers, find_suspects, write_suspects
from model_build.verify import Predictions, Verification


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
class Quantisation:
    """The base to ship in FP32 and INT8: every candidate, the chosen one and its file; `reference` are the FP32
    features compared."""

    candidates: list[QuantisedBase]
    chosen: QuantisedBase
    fp32: Path
    int8: Path
    reference: Features


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and replace `config.out` with the finished model; until then the previous model stays.

    `load_base(weights, image_size, seed)` returns the frozen base. Raises DataError, WeightsError, QuantisationError,
    StructureError, VerificationError, ModelError and OutputError, and OSError if a disk is full. Returns `config.out`.
    """
    cache = cache_in(config.cache)
    cache.begin()
    with atomic_folder(config.out, MANIFEST_FILE) as folder:
        results = run_stages(Build(config, folder, Stages(config.stages)), load_base)
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
    glance = learn_glance(build, data, load_base, network, searched, calibrated, learnt.familiarity)
    manifest = export_model(build, data, frozen, network, calibrated, learnt.familiarity, glance)
    if glance is not None:
        calibrated = glance.applied(calibrated)
    verification = verify_model(build, data, network, glance, calibrated.validation)
    return write_report(
        build, asked, data, quantisation, searched, network, calibrated, learnt, glance, manifest, verification
    )


def read_data(build: Build) -> Dataset:
    """List the images of every split and label."""
    with build.stages.stage("data", f"reading {build.config.data}"):
        data = dataset.scan(build.config.data)
        dataset.print_counts(data)
        return data


def load_frozen_base(build: Build, data: Dataset, load_base: LoadBase) -> FrozenBase:
    """Load VGG16 without its top, freeze it and export it."""
    config = build.config
    with build.stages.stage("base", f"VGG16, {config.weights} weights, {config.image_size} pixels, exported to ONNX"):
        return load_frozen(config, data, load_base, build.work / "base.onnx")


def find_network(build: Build, data: Dataset, frozen: FrozenBase) -> search.SearchResult | None:
    """Find the picture's size and the smaller network that the settings ask for; None if that is the full network."""
    if not build.config.compares_networks:
        return None
    with build.stages.stage("network", "sizes of the picture and smaller networks, compared by cross-validation"):
        searched = search_from(build.config, data, frozen, build.work / "search")
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
            dataset.require_enough(
                data, split, [example for example in data.splits[split] if example in readable], features.unreadable
            )
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
        return calibration.calibrate(network, data.splits["validation"], build.config)


def learn_glance(
    build: Build,
    data: Dataset,
    load_base: LoadBase,
    network: TrainedNetwork,
    searched: search.SearchResult | None,
    alone: Calibration,
    familiarity: Familiarity,
) -> GlanceNetwork | None:
    """Make and train a glance network that answers the easy pictures; None if it would not help."""
    if searched is None or not build.config.has_glance:
        return None
    half = build.config.halved
    with build.stages.stage("glance", f"a network for {half.image_size} pixels, which answers what it is sure of"):
        folder = build.work / "glance"
        folder.mkdir()
        frozen = load_frozen(half, data, load_base, folder / "base.onnx")
        try:
            small = search_from(half, data, frozen, folder)
        except quantize.QuantisationError as error:  # the model is sound without it
            print(f"      none: {error}")
            return None
        return glances.learn(small, searched, network, alone, familiarity, data, build.config, folder)


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
    glance: GlanceNetwork | None,
) -> Manifest:
    """Join bases and heads in ONNX files, and write and return their manifest. Nothing depends on the test images."""
    path, config = build.folder / MODEL_FILE, build.config
    with build.stages.stage("export", "base and head joined in one ONNX graph"):
        side = config.image_size // export.STRIDE
        finish(network.int8, network.trained, familiarity, side, _head_file(build), path)
        familiarity_graph.write_exemplars(build.folder, familiarity.exemplars, data)
        size = (config.image_size, config.image_size)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        second = (
            None if glance is None else glances.export_glance(glance, familiarity, config, build.work, build.folder)
        )
        used = replace(data, splits={split: data.splits[split] for split in ("train", "validation")})
        manifest = Manifest(
            labels=data.labels,
            input_size=size,
            temperature=calibrated.temperature,
            confidence_threshold=calibrated.threshold.value,
            familiarity_threshold=familiarity.threshold,
            model_version="vgg16",
            model_sha256=sha256,
            golden=golden.choose_golden_example(path, size),
            build={
                "weights": frozen.base.origin,
                "weights_sha256": frozen.base.sha256,
                "data_sha256": used.digest,
                "packages": {name: version(name) for name in PACKAGES},
            },
            glance=second,
        )
        manifest = replace(manifest, model_version=version_of(manifest))
        (build.folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        return manifest


def verify_model(
    build: Build, data: Dataset, network: TrainedNetwork, glance: GlanceNetwork | None, validation: Predictions
) -> Verification:
    """Score the finished files on the test images."""
    with build.stages.stage("verify", "the finished model on the test images; FP32 and INT8 on samples"):
        classifier = load_classifier(build.folder, CORES)  # as the functions load and check it
        second = None if glance is None else (glance.trained, glance.features)
        return verify.verify(classifier, network, validation, data, build.config, second)


def write_report(
    build: Build,
    asked: BuildConfig,
    data: Dataset,
    quantisation: Quantisation,
    searched: search.SearchResult | None,
    network: TrainedNetwork,
    calibrated: Calibration,
    learnt: Learnt,
    glance: GlanceNetwork | None,
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
                glance,
                previous.compare_with_previous(config.out, data.labels, scored),
            ),
            verification,
            {**network.features.unreadable, **verification.unreadable},
            calibrated.validation,
            calibrated.copies,
            _sizes(build, network),
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
    """The familiarity of every readable picture, compared with other pictures alone: by the thorough network, and of
    test pictures by the one that answered."""
    strangest = strangest_rows(familiarity, known, len(known.examples), named=0)
    pairs = [(known.examples[row], share) for row, share, _ in strangest]
    return pairs if test.familiarity is None else [*pairs, *zip(test.examples, test.familiarity.tolist(), strict=True)]


def _sizes(build: Build, network: TrainedNetwork) -> dict[str, int]:
    shipped = [path for name in (MODEL_FILE, GLANCE_FILE) if (path := build.folder / name).is_file()]
    same_in_fp32 = network.fp32.stat().st_size + _head_file(build).stat().st_size
    return {path.name: path.stat().st_size for path in shipped} | {"same_graph_fp32": same_in_fp32}


def _head_file(build: Build) -> Path:
    return build.work / "head.onnx"
