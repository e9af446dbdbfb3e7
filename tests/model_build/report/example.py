"""A build report made by hand: two labels, a thousand test pictures, three heads, a search of networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evaluation.metrics import reliability_curve
from labeller.results import Neighbour
from model_build.calibration import Threshold
from model_build.compression.smaller import LayerRedundancy
from model_build.config import Pooling, Ranges
from model_build.report.report import (
    Answers,
    BuildReport,
    CalibrationReport,
    ChangeResult,
    FamiliarityReport,
    GlanceReport,
    HeadReport,
    HeadResult,
    Labelled,
    MethodResult,
    Mistake,
    NetworkResult,
    QuantisationReport,
    QuantisationResult,
    Reliability,
    RocCurve,
    SearchReport,
    SplitCalibration,
    StrangePicture,
    ValidationResult,
)
from model_build.verify import Accuracy, BaselineTest, SplitAccuracy

VALIDATION = ValidationResult(1000, 952, 0.952, 0.1234)


def split_calibration(labelled: Labelled) -> SplitCalibration:
    confidence = [(number + 0.5) / 100 for number in range(100)]
    bins = reliability_curve(confidence, [number % 7 > 0 for number in range(100)])
    return SplitCalibration(1000, Reliability(0.034, 0.14, 0.08, bins), Reliability(0.012, 0.12, 0.07, bins), labelled)


def head(name: str, pooling: Pooling, excess: float, **changes: Any) -> HeadResult:
    return HeadResult(name, pooling, **changes, validation=VALIDATION, excess=excess, excess_error=0.0021, seconds=8.1)


def network(size: int, speedup: float, milliseconds: float, excess: float) -> NetworkResult:
    name = f"{size} px, {f'{speedup:g}x faster' if speedup > 1 else 'full'}"
    validation = ValidationResult(400 if excess > 0.01 else 3000, 380, 0.95, 0.05 + excess)
    multiplications = int(4e8 * milliseconds)
    widths, ranks = (64, 128), (None, 32)
    return NetworkResult(
        name,
        size,
        speedup,
        widths,
        ranks,
        multiplications,
        15_000_000,
        milliseconds,
        milliseconds / 2,
        validation,
        excess,
        0.004,
    )


def search() -> SearchReport:
    networks = [
        network(224, 6.0, 12.5, 0.09),
        network(224, 3.0, 24.5, 0.05),
        network(320, 6.0, 26.8, 0.021),
        network(320, 3.0, 50.2, 0.003),
        network(224, 1.0, 72.1, 0.019),
        network(320, 2.0, 73.4, 0.001),
        network(320, 1.0, 146.0, 0.0),
    ]
    redundancy = [LayerRedundancy(64, 0.12, 0.4, 0.3, 0.01, 0.2), LayerRedundancy(128, None, None, None, 0.02, 0.3)]
    return SearchReport("320 px, 3x faster", "the fastest", False, networks, redundancy)


def glance() -> GlanceReport:
    answered = Labelled(760, 759, 0.9987, (0.9926, 0.9998), 0.76)
    return GlanceReport(
        "192 px, 6x faster",
        "it answers alone above the lowest confidence",
        0.9927,
        0.1,
        Labelled(2276, 2275, 0.9996, (0.9975, 0.9999), 0.7587),
        Labelled(615, 613, 0.9967, (0.9882, 0.9991), 0.615),
        answered,
        -0.0027,
        0.0017,
        5.0,
        30.0,
    )


def familiarity(**changes: object) -> FamiliarityReport:
    methods = [
        MethodResult("nearest neighbours", {"destroyed copies": 0.994, "changed copies": 0.61}, 0.0, 0.0),
        MethodResult("energy of the logits", {"destroyed copies": 0.95, "changed copies": 0.63}, -0.044, 0.008),
    ]
    curve = RocCurve("destroyed copies", 200, 0.9912, [(0.0, 0.0), (0.01, 0.9), (0.03, 0.98), (1.0, 1.0)])
    example = FamiliarityReport(
        threshold=0.03,
        method="nearest neighbours",
        rule="the nearest neighbours, unless",
        decided_by="destroyed copies",
        methods=methods,
        stand_ins={"destroyed copies": 200, "changed copies": 1000},
        exemplars=1000,
        caution="With two labels none can be left out.",
        test=Answers(1000, 860, 110, 30),
        labelled=Labelled(860, 851, 0.9895, (0.98, 0.9945), 0.86),
        curves=[curve],
        strangest=[
            StrangePicture("train/dog/9.jpg", "dog", 0.0012, (Neighbour("train/cat/3.jpg", "cat", 0.4321),)),
        ],
    )
    return replace(example, **changes)  # type: ignore[arg-type]


def report(**changes: object) -> BuildReport:
    """The example, with some fields changed."""
    accuracy = Accuracy(1000, 966, 0.966, (0.953, 0.9755))
    some = SplitAccuracy(
        accuracy, Accuracy(488, 467, 0.957, (0.935, 0.972)), Accuracy(488, 466, 0.9549, (0.933, 0.97)), 1.0
    )
    example = BuildReport(
        format_version=4,
        key="ef" * 32,
        model_version="vgg16-0123456789ab",
        labels=("cat", "dog"),
        images={
            "train": {"cat": 1000, "dog": 1000},
            "validation": {"cat": 500, "dog": 500},
            "test": {"cat": 500, "dog": 500},
        },
        unreadable={},
        left_out={},
        split_by_content=False,
        accuracy={"train": SplitAccuracy(accuracy), "validation": some, "test": some},
        classes={"cat": Accuracy(500, 480, 0.96, (0.939, 0.974)), "dog": Accuracy(500, 486, 0.972, (0.954, 0.983))},
        confusion=[[480, 20], [14, 486]],
        mistakes=[mistake("test/cat/1.jpg", 0.98), mistake("test/cat/2.jpg", 0.6, unsure=True)],
        head=HeadReport(
            "average",
            "the first in the table",
            [
                head("average", Pooling.AVERAGE, 0.0019, l2=1e-4),
                head("maximum", Pooling.MAXIMUM, 0.0, l2=3e-5),
                head("Dense 256", Pooling.AVERAGE, 0.0312, units=256),
            ],
            1026,
            BaselineTest(488, 464, 0.951, (0.93, 0.97), 467, 0.55),
        ),
        quantisation=QuantisationReport(
            "minmax",
            "the first within 5% of the smallest error",
            73,
            70,
            [
                QuantisationResult("minmax", Ranges.MINMAX, 100, error=0.3083, correct=69, milliseconds=60.5),
                QuantisationResult("entropy", Ranges.ENTROPY, 61, error=float("nan"), correct=40, milliseconds=54.9),
            ],
        ),
        calibration=CalibrationReport(
            1.321,
            False,
            Threshold(0.8123, 0.99, reached=True),
            split_calibration(Labelled(900, 891, 0.99, (0.98, 0.995), 0.9)),
            split_calibration(Labelled(880, 866, 0.984, (0.974, 0.991), 0.88)),
            [
                ChangeResult(
                    125, 115, 0.92, (0.859, 0.956), "blurred", True, 122, Labelled(100, 99, 0.99, (0.946, 0.998), 0.8)
                ),
                ChangeResult(
                    126, 60, 0.476, (0.391, 0.563), "mirrored", False, 124, Labelled(90, 40, 0.444, (0.35, 0.55), 0.714)
                ),
            ],
            "The validation figures are too good.",
        ),
        familiarity=familiarity(),
        largest_difference_to_keras=2.4e-7,
        bytes={"model.onnx": 15_012_345, "same_graph_fp32": 59_012_345},
        machine={"cores": 2, "architecture": "x86_64", "python": "3.11.7"},
        settings={
            "weights": "imagenet",
            "image_size": 128,
            "auto_size": False,
            "speedup": 1.0,
            "auto_speedup": False,
            "heads": [],
        },
        weights="imagenet",
        weights_sha256="ab" * 32,
        data_sha256="cd" * 32,
        packages={"keras": "3.15.1", "onnxruntime": "1.32.0"},
        seconds={"data": 1.5, "head": 40.2, "total": 41.7},
        reused=0,
    )
    return replace(example, **changes)  # type: ignore[arg-type]


def mistake(path: str, confidence: float, unsure: bool = False) -> Mistake:
    return Mistake(path, "cat", "dog", confidence, unsure)
