"""Stage 3: the frozen base in INT8. Static, per channel, QDQ, calibrated on training images; the way to choose the
ranges is chosen by measuring what it does to the features of validation images."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import (
    HistogramCollector,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_build.atomic_folder import detect_full_disk
from model_build.cache import cache_in, key_of, source_of
from model_build.config import BuildConfig, QuantisationCandidate, Ranges
from model_build.data.dataset import Dataset, Example, spread
from model_build.data.reader import CORES, PictureReader, decoder_fingerprint
from model_build.export import IMAGE
from model_build.features import Features

ActivationRanges = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Lowest and highest value of each activation, by the name of the tensor."""

HISTOGRAM_BINS = 512
"""Over -max..max of an activation. The entropy search takes the cube of it: 2,048 bins, the library's default for
percentiles, take half a minute."""

QUANTISED_BINS = 128
"""Levels that the entropy method compares with, the library's default."""


class QuantisationError(Exception):
    """The base cannot be quantised; the message says what came of the attempts."""


@dataclass(frozen=True, slots=True)
class QuantisedBase:
    """What a candidate does to the base, and the file it is in.

    `error` is the mean over images of the root mean square of INT8 - FP32 over an image's average-pooled features,
    divided by the standard deviation of the FP32 ones over the images: 0 is no difference, about 1 as bad as knowing
    nothing, infinite a graph that gives no finite numbers. A mean over images, so that one whose activations leave
    the ranges counts by its share. `images` were calibrated on; `milliseconds` are of one image, alone, on all cores;
    `features` are those of the images compared, float32 [m, h, w, C].
    """

    candidate: QuantisationCandidate
    images: int
    error: float
    milliseconds: float
    path: Path
    features: np.ndarray = field(compare=False, repr=False)


class _Pictures(CalibrationDataReader):
    """Feeds onnxruntime's calibrators."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = ({IMAGE: pixels[np.newaxis]} for pixels in pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, or None after the last."""
        return next(self._feeds, None)


def compare(
    fp32: Path, config: BuildConfig, calibration: np.ndarray, reference: Features, folder: Path
) -> list[QuantisedBase]:
    """Quantise `fp32`, a graph image -> features, by every candidate of the settings and measure each.

    `calibration` uint8 [n, S, S, 3] are the images whose activations set the ranges, in an order in which every
    beginning is a fair sample: a candidate takes as many of the first as it wants and `images_for` allows.
    `reference` is what `fp32` says of other images. Files go into `folder`.
    """
    prepared = folder / "prepared.onnx"
    with detect_full_disk(folder, fp32.stat().st_size):
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    _, unseen = PictureReader(reference.examples, config.image_size).all(config.inference_batch)
    counts = {candidate: images_for(candidate, len(calibration), config) for candidate in config.quantisations}
    measured = []
    with detect_full_disk(folder, fp32.stat().st_size):
        for number, (candidate, ranges) in enumerate(_ranges(prepared, counts, calibration, folder)):
            path = folder / f"candidate{number}.onnx"
            quantize(prepared, path, ranges, candidate.float_layers)
            features, milliseconds = measure(path, unseen)
            error = relative_error(features, reference.values)
            measured.append(QuantisedBase(candidate, counts[candidate], error, milliseconds, path, features))
            print_measured(measured[-1])
    return measured


def images_for(candidate: QuantisationCandidate, available: int, config: BuildConfig) -> int:
    """How many calibration images a candidate gets: histograms are dear, so theirs are limited by the budget."""
    if candidate.ranges is not Ranges.MINMAX:
        available = min(available, config.affordable(config.histogram_megapixels))
    return min(candidate.images, available)


def choose_quantisation(measured: Sequence[QuantisedBase], same_error: float, float_gain: float) -> QuantisedBase:
    """The first whose error is at most (1 + same_error) times the smallest.

    A candidate with layers in FP32 takes part only if its error is less than that of the best without by at least
    the share `float_gain`. Times are not looked at: they differ from run to run, and the model must not.
    QuantisationError if no candidate gives finite numbers.
    """
    smallest = min((each.error for each in measured if not each.candidate.float_layers), default=math.inf)
    allowed = [
        each for each in measured if not each.candidate.float_layers or each.error <= smallest * (1 - float_gain)
    ]
    best = min((each.error for each in allowed), default=math.inf)
    if not math.isfinite(best):
        raise QuantisationError(
            f"none of {len(measured)} ways to quantise the network gives finite numbers; are the base weights sound?"
        )
    return next(each for each in allowed if each.error <= best * (1 + same_error))


def quantise_base(
    fp32: Path, int8: Path, reference: Features, data: Dataset, config: BuildConfig
) -> tuple[list[QuantisedBase], QuantisedBase]:
    """Write the best INT8 version of `fp32` to `int8`; return every candidate and the chosen one.

    `reference` are the features that `fp32` gives for some validation images. An earlier build's result is reused.
    """
    calibration = calibration_examples(data, config)
    table, features = (int8.with_name(f"quantisations.{suffix}") for suffix in ("json", "npy"))

    def make() -> tuple[list[QuantisedBase], QuantisedBase]:
        _, pixels = PictureReader(calibration, config.image_size).all(config.inference_batch)
        compared = compare(fp32, config, pixels, reference, int8.parent)
        chosen = choose_quantisation(compared, config.same_error, config.float_gain)
        chosen.path.rename(int8)
        save(compared, chosen, table, features)
        return compared, chosen

    key = key_of(
        "int8",
        hashlib.sha256(fp32.read_bytes()).hexdigest(),
        [example.sha256 for example in (*calibration, *reference.examples)],
        [asdict(candidate) for candidate in config.quantisations],
        [config.image_size, config.histogram_megapixels, config.same_error, config.float_gain],
        decoder_fingerprint(),
        source_of(__file__),
        {name: version(name) for name in ("onnx", "onnxruntime", "numpy")},
        platform.machine(),
    )
    made = cache_in(config.cache).files(key, [int8, table, features], make)
    return made or load(table, features, config.quantisations, int8)


def calibration_examples(data: Dataset, config: BuildConfig) -> list[Example]:
    """Training images for the INT8 ranges, shuffled so that the first few cover all labels."""
    examples = spread(data.splits["train"], max(candidate.images for candidate in config.quantisations))
    random.Random(config.seed).shuffle(examples)  # noqa: S311  no secret
    return examples


def comparison_examples(data: Dataset, config: BuildConfig) -> list[Example]:
    """The validation images on which INT8 is compared with FP32."""
    return spread(data.splits["validation"], config.affordable(config.quantisation_megapixels))


def save(compared: Sequence[QuantisedBase], chosen: QuantisedBase, table: Path, features: Path) -> None:
    """Write the comparison for `load`: figures to `table` (JSON), features to `features` (NumPy)."""
    rows = [(base.images, base.error, base.milliseconds) for base in compared]
    table.write_text(json.dumps({"measured": rows, "chosen": compared.index(chosen)}), "utf-8")
    with features.open("wb") as file:
        np.save(file, np.stack([base.features for base in compared]))


def load(
    table: Path, features: Path, candidates: Sequence[QuantisationCandidate], int8: Path
) -> tuple[list[QuantisedBase], QuantisedBase]:
    """Read what `save` wrote for these candidates. Every `path` is `int8`, because only that file is kept."""
    stored = json.loads(table.read_text("utf-8"))
    compared = [
        QuantisedBase(candidate, images, error, milliseconds, int8, maps)
        for candidate, (images, error, milliseconds), maps in zip(
            candidates, stored["measured"], np.load(features), strict=True
        )
    ]
    return compared, compared[stored["chosen"]]


def measure(int8: Path, unseen: np.ndarray) -> tuple[np.ndarray, float]:
    """`features` and `milliseconds` of QuantisedBase."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = CORES
    session = ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"])
    session.run(None, {IMAGE: unseen[:1]})  # the first call also allocates
    start = time.perf_counter()
    features = np.concatenate([session.run(None, {IMAGE: pixels[np.newaxis]})[0] for pixels in unseen])
    milliseconds = (time.perf_counter() - start) / len(unseen) * 1000
    return features, milliseconds


def relative_error(features: np.ndarray, expected: np.ndarray) -> float:
    """`error` of QuantisedBase, for feature maps float [m, h, w, C]."""
    pooled, wanted = (maps.mean(axis=(1, 2), dtype=np.float64) for maps in (features, expected))
    difference = float(np.sqrt(((pooled - wanted) ** 2).mean(axis=1)).mean())
    deviation = float(np.sqrt(wanted.var(axis=0).mean()))
    if not math.isfinite(difference):
        return math.inf
    return difference / deviation if deviation else (0.0 if difference == 0 else math.inf)


def quantize(prepared: Path, int8: Path, ranges: ActivationRanges, float_layers: Sequence[int] = ()) -> None:
    """Write a graph as INT8, activations in the given ranges, the convolutions `float_layers` left as they are.

    Weights get 7 of the 8 bits (`reduce_range`): on x86 without VNNI two products of 8-bit operands saturate
    the 16-bit sum of VPMADDUBSW (255 * 127 * 2 > 32,767), with 7-bit weights they cannot, so every CPU
    computes the same. Activations are unsigned, since nearly all come from a ReLU.
    """
    layers = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
    stored = int8.with_suffix(".ranges.json")
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, dict(ranges)), stored)
    quantize_static(
        str(prepared),
        str(int8),
        calibration_cache_path=stored,
        calibrate_method=CalibrationMethod.MinMax,  # what the file says; the ranges are taken from it as they are
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[layers[index] for index in float_layers],
    )


def _ranges(
    prepared: Path, counts: Mapping[QuantisationCandidate, int], calibration: np.ndarray, folder: Path
) -> Iterator[tuple[QuantisationCandidate, ActivationRanges]]:
    """The ranges of every candidate from the number of images it gets. No image is run twice for the same thing."""
    extremes = _extremes(prepared, calibration, set(counts.values()), folder)
    clipping = {count for candidate, count in counts.items() if candidate.ranges is not Ranges.MINMAX}
    histograms = {count: _histograms(prepared, calibration[:count], folder) for count in clipping}
    for candidate, count in counts.items():
        if candidate.ranges is Ranges.MINMAX:
            yield candidate, extremes[count]
        else:
            yield candidate, {**extremes[count], **_clipped(histograms[count], candidate)}


def _extremes(prepared: Path, pictures: np.ndarray, counts: set[int], folder: Path) -> dict[int, ActivationRanges]:
    """Smallest and largest values over the first images, for each of `counts`."""
    calibrator = create_calibrator(prepared, augmented_model_path=str(folder / "extremes.onnx"))
    found: dict[int, ActivationRanges] = {}
    done = 0
    for count in sorted(counts):
        for pixels in pictures[done:count]:  # singly: a calibrator keeps the activations of all it gets in one go
            calibrator.collect_data(_Pictures(pixels[np.newaxis]))
        found[count] = {name: data.range_value for name, data in calibrator.compute_data().items()}
        done = count
    return found


def _histograms(prepared: Path, pictures: np.ndarray, folder: Path) -> HistogramCollector:
    """How the values of the convolutions' and the ReLUs' outputs are distributed over these images."""
    calibrator = create_calibrator(
        prepared,
        ["Relu"],
        augmented_model_path=str(folder / "histograms.onnx"),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"num_bins": HISTOGRAM_BINS, "symmetric": False},
    )
    with redirect_stdout(StringIO()):
        for pixels in pictures:
            calibrator.collect_data(_Pictures(pixels[np.newaxis]))
    return calibrator.collector


def _clipped(histograms: HistogramCollector, candidate: QuantisationCandidate) -> ActivationRanges:
    histograms.method = candidate.ranges.value
    histograms.percentile = candidate.percentile
    histograms.num_quantized_bins = QUANTISED_BINS
    with redirect_stdout(StringIO()):
        found = histograms.compute_collection_result()
    return {
        name: (np.float32(values[0]).reshape(1), np.float32(values[1]).reshape(1)) for name, values in found.items()
    }


def print_measured(measured: QuantisedBase) -> None:
    """One line of the comparison."""
    print(
        f"      {measured.candidate.name:<30}{measured.images:>4} images  error {measured.error:8.2%}  "
        f"{measured.milliseconds:6.1f} ms an image",
        flush=True,
    )
