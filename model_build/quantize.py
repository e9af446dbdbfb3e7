"""The frozen base in INT8: static, per channel, QDQ. Every candidate way to choose the activation ranges, calibrated on
training images, is measured by its effect on the features of validation images."""

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
    CalibraterBase,
    HistogramCollector,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from model_build import first_layer
from model_build.atomic_folder import detect_full_disk
from model_build.cache import cache_in, key_of, source_of
from model_build.config import BuildConfig, QuantisationCandidate, Ranges
from model_build.data.dataset import DataError, Dataset, Example, spread
from model_build.data.reader import CORES, PictureReader, decoder_fingerprint
from model_build.export import IMAGE
from model_build.features import Features, pool

ActivationRanges = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Lowest and highest value of each activation, by the name of the tensor."""

HISTOGRAM_BINS = 512
"""Bins over -max..max of an activation. The entropy search is cubic in it: 2,048, the library's default for
percentiles, takes half a minute."""

QUANTISED_BINS = 128
"""Levels that the entropy method compares with, the library's default."""


class QuantisationError(Exception):
    """The base cannot be quantised; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class QuantisedBase:
    """The base, quantised by a candidate, in the file `path`.

    `error` is the root mean square of INT8 - FP32 over an image's average-pooled features, as a mean over images (so
    that one image outside the ranges counts by its share), divided by the standard deviation of the FP32 features over
    the images: 0 is no difference, about 1 as bad as knowing nothing, infinite a graph without finite numbers. `images`
    is the number calibrated on; `milliseconds` one image alone on all cores; `features` float32 [m, 2, C] the pooled
    ones of the images compared.
    """

    candidate: QuantisationCandidate
    images: int
    error: float
    milliseconds: float
    path: Path
    features: np.ndarray = field(compare=False, repr=False)


def quantise_base(
    fp32: Path, int8: Path, reference: Features, data: Dataset, config: BuildConfig
) -> tuple[list[QuantisedBase], QuantisedBase]:
    """Write the best INT8 version of `fp32` to `int8`; return every candidate and the chosen one.

    `reference` are the features that `fp32` gives for some validation images. An earlier build's result is reused.
    DataError if they are all the same, which leaves nothing to compare.
    """
    if np.allclose(reference.values, reference.values[0]):
        raise DataError(
            f"the network gives the same features for all {len(reference.examples)} validation pictures compared, such "
            f"as {data.name(reference.examples[0])}: check whether the pictures show anything, and the base weights"
        )
    calibration = calibration_examples(data, config)
    table, features = (int8.with_name(f"quantisations.{suffix}") for suffix in ("json", "npy"))

    def make() -> tuple[list[QuantisedBase], QuantisedBase]:
        _, pixels = PictureReader(calibration, config.image_size).all(config.inference_batch)
        compared = compare(fp32, config, pixels, reference, int8.parent)
        chosen = choose_quantisation(compared, config.same_error, config.float_gain)
        require_small_error(chosen.error, config.largest_error)
        chosen.path.rename(int8)
        save(compared, chosen, table, features)
        return compared, chosen

    key = key_of(
        "int8",
        hashlib.sha256(fp32.read_bytes()).hexdigest(),
        [example.sha256 for example in (*calibration, *reference.examples)],
        [asdict(candidate) for candidate in config.quantisations],
        [config.image_size, config.histogram_images, config.same_error, config.float_gain, config.largest_error],
        decoder_fingerprint(),
        source_of(__file__, first_layer.__file__),
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
    return spread(data.splits["validation"], config.quantisation_images)


def compare(
    fp32: Path, config: BuildConfig, calibration: np.ndarray, reference: Features, folder: Path
) -> list[QuantisedBase]:
    """Quantise `fp32`, image -> features, by every candidate, measure each, and write the files into `folder`.

    `calibration` uint8 [n, S, S, 3] sets the ranges; a candidate takes the first images of it, so every beginning must
    be a fair sample. `reference` are FP32 features of other images.
    """
    prepared = folder / "prepared.onnx"
    with detect_full_disk(folder, fp32.stat().st_size):
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    _, unseen = PictureReader(reference.examples, config.image_size).all(config.inference_batch)
    counts = {candidate: _image_count(candidate, len(calibration), config) for candidate in config.quantisations}
    compared = []
    with detect_full_disk(folder, fp32.stat().st_size):
        for number, (candidate, ranges) in enumerate(_ranges(prepared, counts, calibration, folder)):
            path = folder / f"candidate{number}.onnx"
            quantize(prepared, path, ranges, candidate.float_layers)
            if 0 not in candidate.float_layers:
                first_layer.take_pixels(path)
            features, milliseconds = measure(path, unseen)
            error = relative_error(features, reference.values)
            print(
                f"      {candidate.name:<30}{counts[candidate]:>4} images  error {error:8.2%}  "
                f"{milliseconds:6.1f} ms per image",
                flush=True,
            )
            compared.append(QuantisedBase(candidate, counts[candidate], error, milliseconds, path, features))
    return compared


def choose_quantisation(compared: Sequence[QuantisedBase], same_error: float, float_gain: float) -> QuantisedBase:
    """The first whose error is at most (1 + same_error) times the smallest.

    A candidate with layers in FP32 takes part only if its error is lower than the best without by at least the share
    `float_gain`. Times do not count: they differ from run to run, and the model must not. QuantisationError if no
    candidate gives finite numbers.
    """
    smallest = min((base.error for base in compared if not base.candidate.float_layers), default=math.inf)
    allowed = [
        base for base in compared if not base.candidate.float_layers or base.error <= smallest * (1 - float_gain)
    ]
    best = min((base.error for base in allowed), default=math.inf)
    if not math.isfinite(best):
        raise QuantisationError(
            f"none of {len(compared)} quantisations of the network gives finite numbers; check the base weights"
        )
    return next(base for base in allowed if base.error <= best * (1 + same_error))


def require_small_error(error: float, largest: float) -> None:
    """Raise QuantisationError if the error of an INT8 base is above `largest`.

    A head trained on the features of a broken base can still tell easy labels apart, so accuracy does not show it.
    """
    if error > largest:
        raise QuantisationError(
            f"the INT8 network's features differ from FP32's by {error:.0%} of what tells images apart (allowed: "
            f"{largest:.0%}), so quantisation has broken it. Check that the training images are like the validation "
            "images and that the base weights are whole; delete the cache folder and build again"
        )


def save(compared: Sequence[QuantisedBase], chosen: QuantisedBase, table: Path, features: Path) -> None:
    """Write the comparison for `load`: figures to `table` (JSON), features to `features` (NumPy)."""
    rows = [(base.images, base.error, base.milliseconds) for base in compared]
    table.write_text(json.dumps({"measured": rows, "chosen": compared.index(chosen)}), "utf-8")
    np.save(features, np.stack([base.features for base in compared]))


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
    session.run(None, {IMAGE: unseen[:1]})  # the first call also allocates memory
    start = time.perf_counter()
    maps = np.concatenate([session.run(None, {IMAGE: pixels[np.newaxis]})[0] for pixels in unseen])
    return pool(maps), (time.perf_counter() - start) / len(unseen) * 1000


def relative_error(features: np.ndarray, expected: np.ndarray) -> float:
    """`error` of QuantisedBase, for pooled features float [m, 2, C], of which the means count."""
    int8, fp32 = (pooled[:, 0].astype(np.float64) for pooled in (features, expected))
    difference = float(np.sqrt(((int8 - fp32) ** 2).mean(axis=1)).mean())
    deviation = float(np.sqrt(fp32.var(axis=0).mean()))
    if not math.isfinite(difference):
        return math.inf
    return difference / deviation if deviation else (0.0 if difference == 0 else math.inf)


def quantize(prepared: Path, int8: Path, ranges: ActivationRanges, float_layers: Sequence[int] = ()) -> None:
    """Write a graph as INT8 with the given activation ranges; the convolutions `float_layers` stay in FP32.

    Weights get 7 of the 8 bits (`reduce_range`): on x86 without VNNI two products of 8-bit operands saturate the 16-bit
    sum of VPMADDUBSW (255 * 127 * 2 > 32,767). With 7-bit weights they cannot, so every CPU computes the same.
    Activations are unsigned, because nearly all follow a ReLU.
    """
    layers = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
    stored = int8.with_suffix(".ranges.json")
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, dict(ranges)), stored)
    quantize_static(
        str(prepared),
        str(int8),
        calibration_cache_path=stored,
        calibrate_method=CalibrationMethod.MinMax,  # the format of the file; its ranges are used unchanged
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[layers[index] for index in float_layers],
    )


def _image_count(candidate: QuantisationCandidate, available: int, config: BuildConfig) -> int:
    """Calibration images of a candidate. Histograms are slow, so the settings limit theirs."""
    if candidate.ranges is not Ranges.MINMAX:
        available = min(available, config.histogram_images)
    return min(candidate.images, available)


def _ranges(
    prepared: Path, counts: Mapping[QuantisationCandidate, int], calibration: np.ndarray, folder: Path
) -> Iterator[tuple[QuantisationCandidate, ActivationRanges]]:
    """The ranges of every candidate, from its number of images. Extremes and histograms are collected once."""
    extremes = _extremes(prepared, calibration, set(counts.values()), folder)
    clipping = {count for candidate, count in counts.items() if candidate.ranges is not Ranges.MINMAX}
    histograms = {count: _histograms(prepared, calibration[:count], folder) for count in clipping}
    for candidate, count in counts.items():
        if candidate.ranges is Ranges.MINMAX:
            yield candidate, extremes[count]
        else:
            yield candidate, {**extremes[count], **_clipped(histograms[count], candidate)}


def _extremes(prepared: Path, pixels: np.ndarray, counts: set[int], folder: Path) -> dict[int, ActivationRanges]:
    """Smallest and largest values over the first images, for each of `counts`."""
    calibrator = create_calibrator(prepared, augmented_model_path=str(folder / "extremes.onnx"))
    extremes: dict[int, ActivationRanges] = {}
    done = 0
    for count in sorted(counts):
        _collect(calibrator, pixels[done:count])
        extremes[count] = {name: data.range_value for name, data in calibrator.compute_data().items()}
        done = count
    return extremes


def _histograms(prepared: Path, pixels: np.ndarray, folder: Path) -> HistogramCollector:
    """Histograms of the convolutions' and the ReLUs' outputs."""
    calibrator = create_calibrator(
        prepared,
        ["Relu"],
        augmented_model_path=str(folder / "histograms.onnx"),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"num_bins": HISTOGRAM_BINS, "symmetric": False},
    )
    _collect(calibrator, pixels)
    return calibrator.collector


class _OneImage(CalibrationDataReader):
    def __init__(self, pixels: np.ndarray) -> None:
        self._feeds = iter([{IMAGE: pixels[np.newaxis]}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _collect(calibrator: CalibraterBase, images: np.ndarray) -> None:
    """Run images one by one: a calibrator keeps the activations of all images of one call in memory."""
    with redirect_stdout(StringIO()):
        for pixels in images:
            calibrator.collect_data(_OneImage(pixels))


def _clipped(histograms: HistogramCollector, candidate: QuantisationCandidate) -> ActivationRanges:
    histograms.method = candidate.ranges.value
    histograms.percentile = candidate.percentile
    histograms.num_quantized_bins = QUANTISED_BINS
    with redirect_stdout(StringIO()):
        ranges = histograms.compute_collection_result()
    return {
        name: (np.float32(values[0]).reshape(1), np.float32(values[1]).reshape(1)) for name, values in ranges.items()
    }
