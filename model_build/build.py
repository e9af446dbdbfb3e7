"""The pipeline, top to bottom: photographs in class folders -> build/model, ready for the layer.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size 224] [--out build/model]
"""

from __future__ import annotations

import hashlib
import platform
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial as partial_
from importlib.metadata import version
from pathlib import Path

import keras

from evaluation.predictions import PREDICTIONS_FILE, write_csv
from labeller.classifier import MANIFEST_FILE, MODEL_FILE, Manifest, load_classifier
from model_build import base, calibration, export, golden, quantize, selection, verify
from model_build.atomic_folder import atomic_folder
from model_build.cache import cache_in, key_of, source_of
from model_build.compression import curve as curves
from model_build.config import BuildConfig, QuantisationCandidate
from model_build.data import dataset, reader
from model_build.data.dataset import Dataset, Example
from model_build.data.folders import printable
from model_build.data.reader import CORES, PictureReader
from model_build.features import Features, extract
from model_build.fingerprint import PACKAGES, build_fingerprint
from model_build.progress import Stages
from model_build.quantize import QuantisedBase
from model_build.report import card, compose, figures, report
from model_build.report.summary import print_summary

LEFT_OUT_NAMED = 5
"""Files that are left out, named on the terminal; the report names all."""

LoadBase = Callable[[str, int, int], base.Base]


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and put the finished model at `config.out`, whole: what was there before stays until then.

    `load_base(weights, image_size, seed)` gives the frozen base. Raises DataError, WeightsError, QuantisationError,
    StructureError, VerificationError and OutputError, and OSError if a disk is full. Returns `config.out`.
    """
    cache = cache_in(config.cache)
    cache.begin()
    with atomic_folder(config.out, MANIFEST_FILE) as folder:
        found = _make(config, load_base, folder)
    cache.trim()
    print_summary(found, config.out)
    return config.out


def _make(config: BuildConfig, load_base: LoadBase, partial: Path) -> report.BuildReport:
    """Run every stage and write what they give into the folder `partial`; returns the report."""
    stages = Stages(total=9 if config.compress == "none" else 10)
    work = partial / "work"
    work.mkdir()
    fp32_base, int8_base, head_graph = (work / name for name in ("base.onnx", "base.int8.onnx", "head.onnx"))

    with stages.stage("data", f"reading {config.data}"):
        data = dataset.scan(config.data)
        _print_data(data)

    with stages.stage("base", f"VGG16 with {config.weights} weights at {config.image_size} pixels -> ONNX"):
        keras.utils.clear_session()  # names in the graph come from counters of the process: a build starts afresh
        frozen = load_base(config.weights, config.image_size, config.seed)
        _export_base(frozen, config, fp32_base)

    with stages.stage("quantize", f"INT8 in {len(config.quantisations)} ways, compared with FP32 on validation"):
        reference = extract(fp32_base, _unseen(data, config), config)
        quantisations, quantisation = _quantise_base(fp32_base, int8_base, reference, data, config)
        print(f"      chosen: {quantisation.candidate.name}")

    with stages.stage("features", "every training and validation image through the INT8 base, once"):
        training, validation = (extract(int8_base, data.splits[split], config) for split in ("train", "validation"))
        dataset.require_enough(data, "train", training.examples)
        dataset.require_enough(data, "validation", validation.examples)

    with stages.stage("head", f"{len(config.heads)} heads for {len(data.labels)} labels, compared on validation"):
        heads = selection.train_heads(training, validation, len(data.labels), config)
        head = selection.choose_head(heads)
        baseline = selection.train_baseline(head.candidate.pooling, training, validation)
        selection.print_choice(head, baseline)
        head_accuracy = selection.count_correct(head, quantisations, reference)

    full_head, full_int8, curve = head, int8_base, None
    if config.compress != "none":
        with stages.stage("compress", "networks with fewer multiplications, compared on validation"):
            full = curves.full_point(frozen, config, fp32_base, int8_base, head, validation)
            quantise = partial_(_quantise_as, quantisation.candidate, data)
            curve = curves.measure_curve(frozen, full, data, config, quantise, work / "compress")
            print(f"      chosen: {curve.chosen.name}")
            fp32_base, int8_base, head = curve.chosen.fp32, curve.chosen.int8, curve.chosen.head
            if curve.chosen is not full:
                heads = [head if each.candidate == head.candidate else each for each in heads]
                training, validation = (
                    extract(int8_base, data.splits[split], config) for split in ("train", "validation")
                )
                reference = extract(fp32_base, _unseen(data, config), config)
                baseline = selection.train_baseline(head.candidate.pooling, training, validation)

    with stages.stage("calibration", "temperature and threshold, on validation"):
        temperature = calibration.fit_temperature(head.logits, validation.labels)
        answers = verify.Predictions(validation.examples, head.logits, validation.labels, temperature)
        threshold = calibration.choose_threshold(answers.confidence, answers.right, config.precision)

    with stages.stage("export", "base and head joined into one graph"):
        exported = export.export(head.trained.network, export.FEATURES, export.LOGITS, head_graph)
        export.join(export.load(int8_base), exported, partial / MODEL_FILE)
        manifest = _manifest(config, data, frozen, partial / MODEL_FILE, temperature, threshold.value)
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")

    with stages.stage("verify", "the finished file on the test images, and FP32 on some of them"):
        known = {"train": training, "validation": validation}
        classifier = load_classifier(partial, CORES)
        verdict = verify.verify(
            classifier, head.trained, temperature, baseline, fp32_base, data, known, reference, config
        )
        comparison = None
        if curve is not None:
            of_full = extract(full_int8, verdict.test.examples, config)
            comparison = curves.compare_with_full(of_full, full_head, verdict.test.right)

    with stages.stage("report", "what was found: report.json and the model card"):
        manifest = replace(manifest, build={**manifest.build, "accuracy": report.plain(verdict.accuracy)})
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        found = compose.compose(
            config,
            data,
            manifest,
            compose.Decisions(
                quantisations, quantisation, head_accuracy, heads, head, baseline, threshold, curve, comparison
            ),
            verdict,
            {**training.unreadable, **validation.unreadable, **verdict.unreadable},
            answers,
            {
                MODEL_FILE: (partial / MODEL_FILE).stat().st_size,
                "same_graph_fp32": fp32_base.stat().st_size + head_graph.stat().st_size,
            },
        )
        tested = verify.scored(verdict.test, data.labels, threshold.value, data.root)
        (partial / PREDICTIONS_FILE).write_bytes(write_csv(tested))
        figures.write_figures(found, partial / "figures")
        shown = _mistakes_shown(found, verdict.test.examples, data)
        thumbnails = {data.name(each): text for each, text in reader.thumbnails(shown, config.image_size).items()}
        shutil.rmtree(work)
    seconds = {**stages.seconds, "total": round(sum(stages.seconds.values()), 2)}
    found = replace(found, reused=cache_in(config.cache).reused, seconds=seconds)
    (partial / "report.json").write_text(report.to_json(found), "utf-8")
    (partial / "index.html").write_text(card.card_page(found, thumbnails), "utf-8")
    return found


def _print_data(data: Dataset) -> None:
    for split, counts in data.counts().items():
        print(f"      {split:<10} " + ", ".join(f"{count} {printable(label)}" for label, count in counts.items()))
    if data.split_by_content:
        print("      (split by the content of the pictures: there are no folders train, validation and test)")
    for name, why in list(data.left_out.items())[:LEFT_OUT_NAMED]:
        print(f"      left out: {name}: {why}")
    if len(data.left_out) > LEFT_OUT_NAMED:
        print(f"      and {len(data.left_out) - LEFT_OUT_NAMED} more; report.json lists them")


def _export_base(frozen: base.Base, config: BuildConfig, path: Path) -> None:
    """The base as ONNX: exported, or as it was exported by an earlier build."""
    key = key_of(
        "base",
        frozen.sha256,
        config.image_size,
        source_of(base.__file__, export.__file__),
        {name: version(name) for name in ("tensorflow", "keras", "tf2onnx", "onnx")},
    )
    cache_in(config.cache).files(
        key, [path], lambda: export.export(frozen.network, export.IMAGE, export.FEATURES, path)
    )


def _quantise_base(
    fp32: Path, int8: Path, reference: Features, data: Dataset, config: BuildConfig
) -> tuple[list[QuantisedBase], QuantisedBase]:
    """The base in INT8: every candidate measured and the best one's file at `int8`, now or by an earlier build."""
    calibration = calibration_examples(data, config)
    table, features = (int8.with_name(f"quantisations.{kind}") for kind in ("json", "npy"))

    def make() -> None:
        _, pixels = PictureReader(calibration, config.image_size).all(config.inference_batch)
        measured = quantize.compare(fp32, config, pixels, reference, int8.parent)
        chosen = quantize.choose_quantisation(measured, config.same_error, config.float_gain)
        chosen.path.rename(int8)
        quantize.save(measured, chosen, table, features)

    key = key_of(
        "int8",
        hashlib.sha256(fp32.read_bytes()).hexdigest(),
        [example.sha256 for example in (*calibration, *reference.examples)],
        [asdict(candidate) for candidate in config.quantisations],
        [config.image_size, config.histogram_megapixels, config.same_error, config.float_gain],
        reader.decoder_fingerprint(),
        source_of(quantize.__file__),
        {name: version(name) for name in ("onnx", "onnxruntime", "numpy")},
        platform.machine(),
    )
    cache_in(config.cache).files(key, [int8, table, features], make)
    return quantize.load(table, features, config.quantisations, int8)


def _quantise_as(
    candidate: QuantisationCandidate, data: Dataset, fp32: Path, int8: Path, reference: Features, config: BuildConfig
) -> None:
    """Another base in INT8, in the way that was the best for the full one."""
    _quantise_base(fp32, int8, reference, data, replace(config, quantisations=(candidate,)))


def calibration_examples(data: Dataset, config: BuildConfig) -> list[Example]:
    """Training pictures for the INT8 ranges, shuffled: the first few are of all classes too."""
    examples = dataset.spread(data.splits["train"], max(each.images for each in config.quantisations))
    random.Random(config.seed).shuffle(examples)  # noqa: S311  no secret
    return examples


def _unseen(data: Dataset, config: BuildConfig) -> list[Example]:
    """The validation pictures on which INT8 is compared with FP32."""
    return dataset.spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))


def _mistakes_shown(found: report.BuildReport, test: Sequence[Example], data: Dataset) -> list[Example]:
    names = [mistake.path for mistake in found.mistakes[: card.MISTAKES_SHOWN]]
    return [example for example in test if data.name(example) in names]


def _manifest(
    config: BuildConfig, data: Dataset, frozen: base.Base, model: Path, temperature: float, threshold: float
) -> Manifest:
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    return Manifest(
        labels=data.labels,
        input_size=(config.image_size, config.image_size),
        temperature=temperature,
        confidence_threshold=threshold,
        model_version=f"vgg16-{sha256[:12]}",
        model_sha256=sha256,
        golden=golden.choose_golden_example(model, (config.image_size, config.image_size)),
        build={
            "key": build_fingerprint(config, data),
            "weights": frozen.origin,
            "weights_sha256": frozen.sha256,
            "data_sha256": data.digest,
            "packages": {name: version(name) for name in PACKAGES},
        },
    )
