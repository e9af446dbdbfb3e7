"""Every knob of the build, each with its reason. The command line sets the first four; the rest are defaults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Pooling(StrEnum):
    """What becomes of the base's feature map [h, w, C] before the Dense layer."""

    AVERAGE = "average"  # over the whole map: C values; where something is in the picture is lost
    MAXIMUM = "maximum"  # the strongest answer anywhere: C values
    GRID = "grid"  # averages of 2 x 2 places each: about h/2 x w/2 x C values; roughly where is kept
    FLATTEN = "flatten"  # nothing: h x w x C values


class Ranges(StrEnum):
    """How the range of an activation is taken from the calibration images (onnxruntime's methods)."""

    MINMAX = "minmax"  # the extremes: nothing saturates, one outlier makes every step coarser
    PERCENTILE = "percentile"  # the rarest values at both ends are cut off
    ENTROPY = "entropy"  # the cut that keeps most information (Kullback-Leibler), as in TensorRT


@dataclass(frozen=True, slots=True)
class HeadCandidate:
    """One way to make the head: pooling -> Dense(units, ReLU) -> output. Only those two layers learn."""

    name: str
    pooling: Pooling
    units: int = 256
    dropout: float = 0.5
    """Share of the Dense layer's outputs left out in a training step."""
    l2: float = 0.0
    """Penalty on the squares of both layers' weights."""
    learning_rate: float = 3e-4
    """Where Adam's step starts, on standardised features."""
    epochs: int = 40
    """Upper bound; the step falls to 0 along a cosine over as many (Loshchilov & Hutter 2017)."""


HEADS = (
    # The article's head, as it stands there: the yardstick.
    HeadCandidate("article", Pooling.FLATTEN, epochs=10),
    # One number a channel, two ways. Small, and the most robust where the object may be anywhere.
    HeadCandidate("average", Pooling.AVERAGE),
    HeadCandidate("maximum", Pooling.MAXIMUM),
    # Where in the picture helps, if the many more weights are held down: in threefold cross-validation of the
    # stand-in's 3,000 training and validation images at 128 pixels 95.3 % were right, against 94.7 % for "average",
    # and the log loss was 0.113 against 0.126.
    HeadCandidate("grid", Pooling.GRID, units=64, l2=0.01, epochs=30),
    HeadCandidate("grid, wide", Pooling.GRID, l2=0.03, epochs=30),
    HeadCandidate("flatten", Pooling.FLATTEN, units=64, l2=0.01, epochs=30),
)
"""What did not pay there, within the noise of 0.4 points: mirror images of the training pictures (twice the work),
label smoothing (a higher log loss), dropout of the pooled features, AdamW in place of the penalty."""


@dataclass(frozen=True, slots=True)
class QuantisationCandidate:
    """One way to choose the INT8 ranges. Weights are per channel and of 7 bits in all of them."""

    name: str
    ranges: Ranges
    images: int
    """Calibration images, of the training split; histograms may get fewer, see `histogram_megapixels`."""
    percentile: float = 100.0
    """Share of the values, in percent, that the range keeps; for Ranges.PERCENTILE."""
    float_layers: tuple[int, ...] = ()
    """Convolutions that stay FP32, counted from 0; negative ones from the end."""


# With the stand-in at 128 pixels, errors on 73 validation images: MinMax on 100 images 7.6 %, on 10 images 10.4 %,
# percentile 99.999 9.6 %, 99.99 11.4 %, entropy 47 %; first layer in FP32 7.6 %, last 7.1 %. All get 70 or 71 of the 73
# right, as FP32 does: accuracy on so few tells none of them apart, the error does.
QUANTISATIONS = (
    QuantisationCandidate("minmax 100", Ranges.MINMAX, 100),
    QuantisationCandidate("minmax 10", Ranges.MINMAX, 10),
    QuantisationCandidate("percentile 99.999", Ranges.PERCENTILE, 100, 99.999),
    QuantisationCandidate("percentile 99.99", Ranges.PERCENTILE, 100, 99.99),
    QuantisationCandidate("entropy", Ranges.ENTROPY, 100),
    QuantisationCandidate("minmax 100, first layer FP32", Ranges.MINMAX, 100, float_layers=(0,)),
    QuantisationCandidate("minmax 100, last layer FP32", Ranges.MINMAX, 100, float_layers=(-1,)),
)


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What a build depends on, besides the pictures and the weights themselves."""

    data: Path
    """Folder with `train/`, `validation/` and `test/`, each holding one folder of pictures per label."""

    weights: str = "imagenet"
    """`imagenet`, `random`, or the path of an .h5 file in the layout of the Keras application."""

    image_size: int = 224
    """Side of the square the network sees, in pixels. 224 is what VGG16 was trained at."""

    out: Path = Path("build/model")
    """Folder the finished model is put into, whole or not at all."""

    cache: Path = Path("build/cache")
    """Folder of what may be used again by the next build; the model does not depend on it."""

    seed: int = 1406
    """Seeds the head's initial weights, dropout and shuffling, and `random` base weights."""

    compress: str = "none"
    """How many times less time the shipped network takes, by `network.layer_cost`, such as `3`; `auto`: as many as the
    curve of all networks below allows; `none`. `auto` is not the default: the curve takes longer than all the rest
    of the build, and what it saves is known of the stand-in weights only."""

    compress_times: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0)
    """The curve: networks that take so many times less time, by channels and ranks."""

    compress_singly: tuple[float, ...] = (3.0,)
    """The same by channels alone and by ranks alone, for comparison."""

    compress_sizes: tuple[float, ...] = (0.875, 0.75)
    """The other axis: the full network on smaller pictures, shares of `image_size`. For comparison, never shipped: the
    size is the user's choice."""

    compress_loss: float = 0.003
    """Share of the validation pictures that `auto` may lose against the full network."""

    compress_megapixels: float = 3.9
    """Network input of the training images on which weights are solved again: 238 at 128x128, 77 at 224x224; the
    activations of a layer of 64 channels are 1.0 GB, whatever the size. The error on other pictures is within 5 % of
    that on these."""

    compress_rows: int = 16_000
    """Places in those images, together, that each layer is solved on: 3.5 times the 4,608 weights of an output of the
    widest layer."""

    compress_step: int = 16
    """Channel counts and ranks are multiples of it. onnxruntime's INT8 kernels on 2 cores, 3x3 at 16x16 places, G
    multiplications a second: 144 with 48 channels, 143 with 56, 171 with 64, 164 with 72, 186 with 80; the cost rises
    in steps."""

    quantisations: tuple[QuantisationCandidate, ...] = QUANTISATIONS
    """Compared by the error they bring; the simplest first, because among equals the first is taken."""

    histogram_megapixels: float = 1.0
    """Network input that percentile and entropy calibration get: 20 images at 224x224, 61 at 128x128. Counting
    every activation takes as long again as computing it."""

    quantisation_megapixels: float = 1.2
    """Network input of the validation images on which the quantisations are compared with FP32: 23 at 224x224,
    73 at 128x128."""

    same_error: float = 0.05
    """Quantisations whose errors are within this share of the smallest count as equally good."""

    float_gain: float = 0.25
    """A layer stays in FP32 only if that takes away at least this share of the smallest error: it costs time."""

    inference_batch: int = 16
    """Images per onnxruntime call. Large enough to hide the call, small enough to stay in cache and memory."""

    heads: tuple[HeadCandidate, ...] = HEADS
    """Trained one after the other on the same features; the best on validation is shipped."""

    patience: int = 6
    """Epochs without a lower validation loss before training stops; the best epoch is kept."""

    training_batch: int = 64
    """Examples per gradient step. 32, the Keras default, takes twice as long and ends within noise of it."""

    precision: float = 0.99
    """Share of the labelled validation pictures that the confidence threshold must make right."""

    int8_tolerance: float = 0.005
    """Largest loss of accuracy, INT8 against FP32 on the same test images, that the build accepts. One image
    is always accepted: on a test set of 50 a single flip is 2 points and no evidence."""

    graph_tolerance: float = 1e-3
    """Largest difference of a probability, finished ONNX graph against Keras: float32 rounding of a few hundred
    additions is about 1e-6; anything above 1e-3 is a wrong graph."""

    fp32_megapixels: float = 8.0
    """Network input of the test images that the slow FP32 reference gets (INT8 is compared on the same): 488 at
    128x128, 159 at 224x224, where each takes 140 ms and the whole build has five minutes."""

    def affordable(self, megapixels: float) -> int:
        """How many images of `image_size` that much network input is; at least one."""
        return max(1, int(megapixels * 1e6 / self.image_size**2))
