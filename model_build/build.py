"""The pipeline, top to bottom: photographs in class folders -> build/model, ready for the layer.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size 224] [--out build/model]
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from labeller.model import MANIFEST_FILE, MODEL_FILE, Manifest, load_classifier, softmax
from model_build import base, calibration, dataset, export, figures, golden, quantize, report, selection, verify
from model_build.config import BuildConfig
from model_build.dataset import Dataset, Example
from model_build.features import extract
from model_build.folders import printable
from model_build.key import build_key
from model_build.pictures import CORES, PictureReader
from model_build.progress import Stages

LEFT_OUT_NAMED = 5
"""Files that are left out, named on the terminal; the report names all."""

PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy", "pillow", "scikit-learn", "scipy")

LoadBase = Callable[[str, int, int], base.Base]


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and put the finished model at `config.out`, whole: what was there before stays until then.

    `load_base(weights, image_size, seed)` gives the frozen base. Raises DataError, WeightsError,
    QuantisationError and VerificationError. Returns `config.out`.
    """
    stages = Stages(total=9)
    partial = config.out.with_name(config.out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    work = partial / "work"
    work.mkdir(parents=True)
    fp32_base, int8_base, head_graph = (work / name for name in ("base.onnx", "base.int8.onnx", "head.onnx"))

    with stages.stage("data", f"reading {config.data}"):
        data = dataset.scan(config.data)
        _print_data(data)

    with stages.stage("base", f"VGG16 with {config.weights} weights at {config.image_size} pixels -> ONNX"):
        keras.utils.clear_session()  # names in the graph come from counters of the process: a build starts afresh
        frozen = load_base(config.weights, config.image_size, config.seed)
        export.export(frozen.network, export.IMAGE, export.FEATURES, fp32_base)

    with stages.stage("quantize", f"INT8 in {len(config.quantisations)} ways, compared with FP32 on validation"):
        reference = extract(fp32_base, _unseen(data, config), config)
        quantisations = quantize.compare(fp32_base, config, _calibration_pictures(data, config), reference, work)
        quantisation = quantize.choose(quantisations, config.same_error, config.float_gain)
        quantisation.path.rename(int8_base)
        print(f"      chosen: {quantisation.candidate.name}")

    with stages.stage("features", "every training and validation image through the INT8 base, once"):
        training, validation = (extract(int8_base, data.splits[split], config) for split in ("train", "validation"))
        dataset.require_enough(data, "train", training.examples)
        dataset.require_enough(data, "validation", validation.examples)

    with stages.stage("head", f"{len(config.heads)} heads for {len(data.labels)} labels, compared on validation"):
        heads = selection.train_all(training, validation, len(data.labels), config)
        head = selection.choose(heads)
        baseline = selection.train_baseline(head.candidate.pooling, training, validation)
        selection.print_choice(head, baseline)

    with stages.stage("calibration", "temperature and threshold, on validation"):
        temperature = calibration.fit_temperature(head.logits, validation.labels)
        probabilities = softmax(head.logits, temperature)
        answers = verify.Answers(validation.examples, probabilities, validation.labels)
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
        dataset.require_enough(data, "test", verdict.test.examples)

    with stages.stage("report", "what was found, as report.json and figures"):
        manifest = replace(manifest, build={**manifest.build, "accuracy": verdict.accuracy})
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        found = report.compose(
            config,
            data,
            manifest,
            report.Decisions(quantisations, quantisation, len(reference.examples), heads, head, baseline, threshold),
            verdict,
            {**training.unreadable, **validation.unreadable, **verdict.unreadable},
            answers,
            {
                MODEL_FILE: (partial / MODEL_FILE).stat().st_size,
                "same_graph_fp32": fp32_base.stat().st_size + head_graph.stat().st_size,
            },
        )
        figures.draw_training(head.trained.history, head.trained.epoch, partial / "figures" / "training.png")
        figures.draw_confusion(np.array(found["confusion"]), data.labels, partial / "figures" / "confusion.png")
        shutil.rmtree(work)
    found["seconds"] = {**stages.seconds, "total": round(sum(stages.seconds.values()), 2)}
    (partial / "report.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _swap(partial, config.out)
    report.print_summary(found, config.out)
    return config.out


def _print_data(data: Dataset) -> None:
    for split, counts in data.counts().items():
        print(f"      {split:<10} " + ", ".join(f"{count} {printable(label)}" for label, count in counts.items()))
    if data.split_by_content:
        print("      (split by the content of the pictures: there are no folders train, validation and test)")
    for name, why in list(data.left_out.items())[:LEFT_OUT_NAMED]:
        print(f"      left out: {name}: {why}")
    if len(data.left_out) > LEFT_OUT_NAMED:
        print(f"      and {len(data.left_out) - LEFT_OUT_NAMED} more; report.json lists them")


def _calibration_pictures(data: Dataset, config: BuildConfig) -> np.ndarray:
    """Training pictures for the INT8 ranges, uint8 [n, S, S, 3], shuffled: the first few are of all classes too."""
    examples = dataset.spread(data.splits["train"], max(each.images for each in config.quantisations))
    random.Random(config.seed).shuffle(examples)  # noqa: S311  no secret
    return np.concatenate([pixels for _, pixels in PictureReader(examples, config.image_size).batches(16)])


def _unseen(data: Dataset, config: BuildConfig) -> list[Example]:
    """The validation pictures on which INT8 is compared with FP32."""
    return dataset.spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))


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
        golden=golden.choose(model, (config.image_size, config.image_size)),
        build={
            "key": build_key(config, data),
            "weights": frozen.origin,
            "weights_sha256": frozen.sha256,
            "data_sha256": data.digest,
            "packages": {name: version(name) for name in PACKAGES},
        },
    )


def _swap(finished: Path, out: Path) -> None:
    """Put the finished folder in the place of the previous one, which stays beside it until that has worked."""
    previous = out.with_name(out.name + ".previous")
    shutil.rmtree(previous, ignore_errors=True)
    if out.exists():
        out.rename(previous)
    finished.rename(out)
    shutil.rmtree(previous, ignore_errors=True)
