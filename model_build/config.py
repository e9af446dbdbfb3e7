"""Every setting of the build, with its reason. The command line sets the first six; the rest are defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path


class Pooling(StrEnum):
    """Which figures of the base's feature map [h, w, C] are a head's input. Each is scaled to unit length."""

    AVERAGE = "average"  # mean over the map: C values
    ROOT = "square root"  # square roots of these means, which weaken the strongest channels: C values
    MAXIMUM = "maximum"  # maximum over the map: C values
    BOTH = "average and maximum"  # 2 C values


class Ranges(StrEnum):
    """How the range of an activation is taken from the calibration images (onnxruntime's methods)."""

    MINMAX = "minmax"  # the extremes: nothing saturates, but one outlier coarsens every step
    PERCENTILE = "percentile"  # the rarest values at both ends are cut off
    ENTROPY = "entropy"  # the cut with the least Kullback-Leibler divergence, as in TensorRT


SIZES = (32, 512)
"""Smallest and largest side of the network's input in pixels. VGG16 halves it five times. Above 512, the activations of
a batch of 16 in the first two layers take more than 2 GB, and one image five times the arithmetic of 224."""


SMALLEST_GLANCE = 64
"""Least side of the glance network's pictures in pixels. VGG16 halves it five times, and two positions remain."""

KERAS_WEIGHTS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
"""The file that Keras downloads for the weights `imagenet`."""


class SettingsError(Exception):
    """A setting cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class HeadCandidate:
    """A head: pooling to unit length -> output layer, with a Dense layer between if `units` is not 0."""

    name: str
    pooling: Pooling
    units: int = 0
    """Of the Dense layer (ReLU)."""
    l2: float = 0.0
    """Without a Dense layer: the mean log loss plus l2 / 2 times the squared weights is minimised. The build chooses it
    from `BuildConfig.penalties`."""


HEADS = (
    HeadCandidate("average", Pooling.AVERAGE),
    HeadCandidate("square root", Pooling.ROOT),
    HeadCandidate("maximum", Pooling.MAXIMUM),
    HeadCandidate("average and maximum", Pooling.BOTH),
)

YARDSTICK = HeadCandidate("Dense 256", Pooling.AVERAGE, units=256)
"""The layers of the article that this project started from, Dense and output."""

PENALTIES = (3e-4, 1e-4, 3e-5, 1e-5)
"""On 1,000 to 3,000 photographs the lowest log loss is between the first and the last."""


@dataclass(frozen=True, slots=True)
class QuantisationCandidate:
    """A way to choose the INT8 ranges. Weights always have 7 bits and a scale per channel."""

    name: str
    ranges: Ranges
    images: int
    """Calibration images from the training split; `histogram_megapixels` may allow fewer."""
    percentile: float = 100.0
    """Percentage of the values inside the range, for Ranges.PERCENTILE."""
    float_layers: tuple[int, ...] = ()
    """Convolutions left in FP32, counted from 0, or from the end if negative."""


# Errors on 73 validation images at 128 pixels: MinMax on 100 images 7.6%, on 10 images 10.4%, percentile 99.999 9.6%,
# 99.99 11.4%, entropy 47%; first layer in FP32 7.6%, last 7.1%. All get 70 or 71 of the 73 right, as FP32 does, so the
# error decides and not the accuracy.
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
    """Everything a build depends on besides the images and the weights themselves."""

    data: Path
    """Folder with `train/`, `validation/` and `test/`, each with a folder per label; or a folder of label folders."""
    weights: str = "imagenet"
    """`imagenet`, `random`, or the path of an .h5 file in the layout of the Keras application."""
    image_size: int = 384
    """Side of the square network input in pixels. VGG16 was trained at 224, but sees more of a larger picture."""
    auto_size: bool = False
    """Whether the search chooses among `sizes`; smaller networks are still solved at `image_size`."""
    out: Path = Path("build/model")
    """Folder of the finished model, replaced as a whole."""
    cache: Path = Path("build/cache")
    """Folder of results that the next build can reuse; the model does not depend on it."""
    speedup: float = 3.5
    """How many times faster than the full one the shipped network is, estimated by `network.Shape.cost`; 1: full. For
    photographs of cats and dogs, 384 pixels and 3.5 times take 6% to 16% less time than the full network at 224 pixels
    and get as many right as any (docs/performance.md, "Size and network")."""
    auto_speedup: bool = False
    """Whether the search chooses among 1 and `speedups`."""

    seed: int = 1406
    """Seed of the head's initial weights, dropout and shuffling, and of `random` base weights."""

    sizes: tuple[int, ...] = (192, 224, 256, 288, 320, 352, 384)
    """Image sizes of the search."""
    speedups: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
    """Speed-ups of the search, by fewer channels and lower ranks."""
    guide_images: int = 300
    """Training and validation images whose head says which channels and ranks a smaller network needs; at most a third
    of all. They do not judge networks."""
    check_images: int = 200
    """Images on which a network that a number asked for is compared with the full one."""
    search_images: tuple[int, ...] = (400, 1000)
    """Images of the first samples on which networks are judged; the last sample is all. A paired difference of log
    losses between the networks of VGG16 on photographs has a standard error of 0.006, 0.004 and (on 3,000) 0.002."""
    compress_megapixels: float = 3.9
    """Network input of the training images on which weights are solved again: 238 at 128x128, 77 at 224x224. A layer of
    64 channels then has 1.0 GB of activations. The error on other images is within 5% of the error on these."""
    compress_rows: int = 16_000
    """Positions in those images on which each layer is solved: 3.5 times the 4,608 weights per output of the widest."""
    compress_step: int = 16
    """Channel counts and ranks are multiples of it, because onnxruntime's INT8 kernels get faster in steps: on 2 cores,
    3x3 at 16x16 positions, 144 G multiplications a second with 48 channels, 143 with 56, 171 with 64, 164 with 72, 186
    with 80."""

    glance_speedup: float = 6.0
    """Speed-up of the glance network, which sees half the width and height, so that it has a 25th of the full
    network's arithmetic. Only a build that makes networks smaller has one."""
    glance_losses: float = 0.002
    """Largest share of its answers that are wrong where the thorough network is right: the upper end of the 95% Wilson
    interval in the cross-validation. With none among them, 1,917 answers show it."""
    glance_confidence: float = 0.95
    """Least confidence of its answers, however few are lost, if the model's threshold is not higher."""
    glance_familiarity: float = 0.1
    """Familiarity below which the glance network leaves a picture to the thorough one, which tells strangers better. Of
    431 photographs of something else, 17 get a label with it, and 16 without a glance network."""

    quantisations: tuple[QuantisationCandidate, ...] = QUANTISATIONS
    """Compared by error, the simplest first: among equals the first is chosen."""
    histogram_megapixels: float = 1.0
    """Network input for percentile and entropy calibration of the full network: 19 images at 224x224, 61 at 128x128; as
    many times more for a faster one, so 23 at 384x384 and 3.5 times the speed. Counting activations takes as long again
    as computing them."""
    quantisation_megapixels: float = 1.2
    """Network input of the validation images on which INT8 is compared with FP32, for the full network: 23 at 224x224,
    73 at 128x128; 28 at 384x384 and 3.5 times the speed."""
    largest_error: float = 0.3
    """Largest accepted error of a quantisation, where 1 is knowing nothing. MinMax has 5% to 12% on VGG16, and 8% to
    14% on the narrow networks of the tests. Damaged, VGG16 at 128 pixels has 58% (a layer's scale halved), 61% (all
    ranges halved), 62% (red and blue swapped), 88% (kernels transposed), 119% (a quarter of the channels zeroed), and
    narrow networks have at least 59%. A layer without its bias keeps its 5%: biases are small."""
    same_error: float = 0.05
    """Quantisations whose errors are within this share of the smallest are equally good."""
    float_gain: float = 0.25
    """Share of the smallest error that a layer in FP32 must save to be worth its time."""
    inference_batch: int = 16
    """Images per onnxruntime call: enough to hide the call's overhead, few enough for the CPU's cache."""

    heads: tuple[HeadCandidate, ...] = HEADS
    """Compared by cross-validation, the simplest first."""
    yardstick: HeadCandidate = YARDSTICK
    """Compared as well, for the report; shipped only if every one of `heads` is measurably worse."""
    penalties: tuple[float, ...] = PENALTIES
    """Values of HeadCandidate.l2 to try, the strongest first."""
    folds: int = 5
    """Parts of the training and validation images for cross-validation."""
    precision: float = 0.99
    """Share of right labels that the confidence threshold must reach in cross-validation."""

    familiar_share: float = 0.98
    """Share of the validation images that familiarity leaves their label; the others, the strangest, are UNKNOWN. It
    leaves a margin on both sides of what is asked for: a label for 97% of the images that had one, and for at most 5%
    of photographs of something else (docs/performance.md)."""

    destroyed_images: int = 200
    """Validation images of which destroyed copies stand in for pictures of something else: a share of 3% has a standard
    error of 1.2%. At 384 pixels they take 25 s without VNNI, a fiftieth of a build."""

    accuracy_tolerance: float = 0.005
    """Difference of accuracy on the same test images that stops no build, even if it is beyond chance."""
    significance: float = 0.01
    """A difference of accuracy is beyond chance if McNemar's p-value is below it: 8 images lost and none won."""
    graph_tolerance: float = 1e-3
    """Largest accepted difference, ONNX graph against Keras, of a probability and of a feature as a share of the
    largest. float32 rounding is about 1e-6."""
    fp32_megapixels: float = 6.0
    """Network input of the images of each split on which FP32 and INT8 are compared, each with a linear head of its
    own, for the full network: 366 at 128x128, 119 at 224x224; as many times more for a faster one, so 142 at 384x384
    and 3.5 times the speed. FP32 takes 4 times as long as INT8: all images would take most of a build. This many take a
    tenth of the default one, whose limit is 10 minutes."""

    def quick(self) -> BuildConfig:
        """The settings of the demo: the full network, the first quantisation, the first head beside the yardstick, and
        FP32, which takes most of the time that is left, on an eighth of the images."""
        return replace(
            self,
            speedup=1.0,
            quantisations=self.quantisations[:1],
            heads=self.heads[:1],
            fp32_megapixels=self.fp32_megapixels / 8,
        )

    @property
    def searches(self) -> bool:
        """Whether there is more than one network to choose from."""
        return self.auto_size or self.auto_speedup

    @property
    def compares_networks(self) -> bool:
        """Whether another network than the full one at `image_size` may be shipped."""
        return self.searches or self.speedup > 1

    @property
    def stages(self) -> int:
        """How many stages the build has."""
        return 10 + self.compares_networks + self.has_glance

    @property
    def halved(self) -> BuildConfig:
        """The settings of the glance network."""
        size = self.image_size // 2
        return replace(self, image_size=size, speedup=self.glance_speedup, auto_size=False, auto_speedup=False)

    @property
    def has_glance(self) -> bool:
        """Whether the build tries a glance network, as one that makes the network smaller does: for pictures of even
        sides, because each pixel that it sees is the mean of four."""
        has_half = self.image_size % 2 == 0 and self.image_size >= 2 * SMALLEST_GLANCE
        return max(self.speedups_to_try) > 1 and self.glance_speedup > 1 and has_half

    @property
    def sizes_to_try(self) -> tuple[int, ...]:
        """The image sizes from which the network is chosen."""
        return self.sizes if self.auto_size else (self.image_size,)

    @property
    def speedups_to_try(self) -> tuple[float, ...]:
        """The speed-ups from which the network is chosen, the smallest first."""
        return (1.0, *self.speedups) if self.auto_speedup else (self.speedup,)

    def require_usable(self) -> None:
        """Check image size and weights before anything is loaded. Raises SettingsError."""
        smallest, largest = SIZES
        if not smallest <= self.image_size <= largest:
            raise SettingsError(
                f"--image-size (make: IMAGE_SIZE) is {self.image_size}; it must be {smallest} to {largest} pixels"
            )
        if self.weights not in ("imagenet", "random") and not Path(self.weights).is_file():
            raise SettingsError(
                f"no weight file at {Path(self.weights).absolute()}. Name an .h5 file in the layout of "
                "keras.applications.VGG16(include_top=False), or use 'imagenet' or 'random' (--weights, make: WEIGHTS)"
            )

    @property
    def fp32_images(self) -> int:
        """Images of each split on which FP32 and INT8 are compared."""
        return self.affordable(self.fp32_megapixels * self.speedup)

    @property
    def histogram_images(self) -> int:
        """Images for percentile and entropy calibration."""
        return self.affordable(self.histogram_megapixels * self.speedup)

    @property
    def quantisation_images(self) -> int:
        """Validation images on which INT8 is compared with FP32."""
        return self.affordable(self.quantisation_megapixels * self.speedup)

    def affordable(self, megapixels: float) -> int:
        """How many images of `image_size` fit into that much network input; at least one."""
        return max(1, int(megapixels * 1e6 / self.image_size**2))
