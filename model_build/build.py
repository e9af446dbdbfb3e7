"""The pipeline, top to bottom: photographs in class folders -> build/model, ready for the layer.

python -m model_build --data DIR [--weights imagenet|random|PATH] [--image-size 224] [--out build/model]
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labeller.images import Unreadable
from labeller.model import MANIFEST_FILE, MODEL_FILE, Manifest, load_classifier
from model_build import base, dataset, export, figures, head, quantize, verify
from model_build.cache import cache_in
from model_build.config import BuildConfig
from model_build.dataset import Dataset, Example
from model_build.features import extract
from model_build.folders import printable
from model_build.key import build_key
from model_build.pictures import CORES, PictureReader
from model_build.progress import Stages
from model_build.replacing import replacing

TEMPERATURE = 1.0
"""Logits are taken as they are; calibrating them on validation is the next step of the design."""

LEFT_OUT_NAMED = 5
"""Files that are left out, named on the terminal; the report names all."""

PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy", "pillow")

LoadBase = Callable[[str, int, int], base.Base]


def build(config: BuildConfig, load_base: LoadBase = base.load) -> Path:
    """Run every stage and put the finished model at `config.out`, whole: what was there before stays until then.

    `load_base(weights, image_size, seed)` gives the frozen base. Raises DataError, WeightsError, VerificationError and
    OutputError, and OSError if a disk is full. Returns `config.out`.
    """
    with replacing(config.out, MANIFEST_FILE) as folder:
        report = _make(config, load_base, folder)
    cache_in(config.cache).trim()
    _print_summary(report, config.out)
    return config.out


def _make(config: BuildConfig, load_base: LoadBase, partial: Path) -> dict[str, Any]:
    """Run every stage and write what they give into the folder `partial`; returns the report."""
    stages = Stages(total=7)
    work = partial / "work"
    work.mkdir()

    with stages.stage("data", f"reading {config.data}"):
        data = dataset.scan(config.data)
        for split, counts in data.counts().items():
            print(f"      {split:<10} " + ", ".join(f"{count} {printable(label)}" for label, count in counts.items()))
        if data.split_by_content:
            print("      (split by the content of the pictures: there are no folders train, validation and test)")
        for name, why in list(data.left_out.items())[:LEFT_OUT_NAMED]:
            print(f"      left out: {name}: {why}")
        if len(data.left_out) > LEFT_OUT_NAMED:
            print(f"      and {len(data.left_out) - LEFT_OUT_NAMED} more; report.json lists them")

    with stages.stage("base", f"VGG16 with {config.weights} weights at {config.image_size} pixels -> ONNX"):
        frozen = load_base(config.weights, config.image_size, config.seed)
        fp32_base = export.export(frozen.network, export.IMAGE, export.FEATURES, work / "base.onnx")

    with stages.stage("quantize", f"INT8, ranges from {config.calibration_images} training images"):
        calibration = dataset.spread(data.splits["train"], config.calibration_images)
        images = PictureReader(calibration, config.image_size).batches(1)
        quantize.quantize(work / "base.onnx", work / "base.int8.onnx", (pixels for _, pixels in images))

    with stages.stage("features", "every training and validation image through the INT8 base, once"):
        features = {
            split: extract(work / "base.int8.onnx", data.splits[split], config) for split in ("train", "validation")
        }
        for split, known in features.items():
            dataset.require_enough(data, split, known.examples)

    with stages.stage("head", f"Dense({config.hidden_units}) and an output layer for {len(data.labels)} labels"):
        trained, history = head.train(features["train"], features["validation"], len(data.labels), config)

    with stages.stage("export", "base and head joined into one graph"):
        head_graph = export.export(trained, export.FEATURES, export.LOGITS, work / "head.onnx")
        int8_base = export.load(work / "base.int8.onnx")
        export.join(int8_base, head_graph, partial / MODEL_FILE)
        export.join(fp32_base, head_graph, work / "fp32.onnx")
        manifest = _manifest(config, data, frozen, partial / MODEL_FILE)
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")

    with stages.stage("verify", "the finished file on the test images, and FP32 on the same"):
        verdict = verify.verify(
            load_classifier(partial, CORES),
            work / "fp32.onnx",
            trained,
            TEMPERATURE,
            data,
            features,
            config,
        )
    unreadable = {**features["train"].unreadable, **features["validation"].unreadable, **verdict.unreadable}
    dataset.require_enough(data, "test", [example for example in data.splits["test"] if example not in unreadable])

    figures.draw_training(history, partial / "figures" / "training.png")
    figures.draw_confusion(verdict.confusion, data.labels, partial / "figures" / "confusion.png")
    manifest = replace(manifest, build={**manifest.build, "accuracy": verdict.accuracy})
    (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    report = _report(config, data, manifest, verdict, history, stages, unreadable, partial)
    (partial / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    shutil.rmtree(work)
    return report


def _manifest(config: BuildConfig, data: Dataset, frozen: base.Base, model: Path) -> Manifest:
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    return Manifest(
        labels=data.labels,
        input_size=(config.image_size, config.image_size),
        temperature=TEMPERATURE,
        confidence_threshold=config.confidence_threshold,
        model_version=f"vgg16-{sha256[:12]}",
        model_sha256=sha256,
        build={
            "key": build_key(config, data),
            "weights": frozen.origin,
            "weights_sha256": frozen.sha256,
            "data_sha256": data.digest,
            "packages": {name: version(name) for name in PACKAGES},
        },
    )


def _report(
    config: BuildConfig,
    data: Dataset,
    manifest: Manifest,
    verdict: verify.Verdict,
    history: head.History,
    stages: Stages,
    unreadable: Mapping[Example, Unreadable],
    folder: Path,
) -> dict[str, Any]:
    """report.json: what went in, what came out, and how long it took. Confusion is C[true][predicted]."""
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    settings["weights"] = manifest.build["weights"]
    return {
        "format_version": 1,
        "model_version": manifest.model_version,
        "labels": list(data.labels),
        "images": data.counts(),
        "unreadable": {data.name(example): str(reason) for example, reason in unreadable.items()},
        "left_out": dict(data.left_out),
        "split_by_content": data.split_by_content,
        "accuracy": verdict.accuracy,
        "confusion": verdict.confusion.tolist(),
        "largest_difference_to_keras": verdict.largest_difference,
        "history": {name: [round(value, 5) for value in values] for name, values in history.items()},
        "seconds": {**stages.seconds, "total": round(sum(stages.seconds.values()), 2)},
        "bytes": {
            MODEL_FILE: (folder / MODEL_FILE).stat().st_size,
            "same_graph_fp32": (folder / "work" / "fp32.onnx").stat().st_size,
        },
        "machine": {"cores": CORES, "architecture": platform.machine(), "python": platform.python_version()},
        "settings": settings,
        **{name: manifest.build[name] for name in ("weights", "weights_sha256", "data_sha256", "packages")},
    }


def _print_summary(report: dict[str, Any], out: Path) -> None:
    print(f"\n{'accuracy':<12}{'INT8':>18}{'FP32':>18}{'INT8, same images':>20}")
    for split, scores in report["accuracy"].items():
        cells = [
            f"{scores[kind]['accuracy']:.1%} of {scores[kind]['images']}"
            for kind in ("int8", "fp32", "int8_on_fp32_images")
        ]
        print(f"{split:<12}{cells[0]:>18}{cells[1]:>18}{cells[2]:>20}")
    sizes = report["bytes"]
    print(
        f"\n{out}/{MODEL_FILE}: {sizes[MODEL_FILE] / 1e6:.1f} MB (FP32: {sizes['same_graph_fp32'] / 1e6:.1f} MB), "
        f"built in {report['seconds']['total']:.0f} s. Figures and report.json are beside it."
    )
    if report["unreadable"]:
        print(f"{len(report['unreadable'])} files could not be read and were left out; report.json lists them.")
    sys.stdout.flush()
