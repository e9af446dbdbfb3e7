"""Every knob of the build, each with its reason. The command line sets the first four; the rest are defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """Folder of what the next build need not compute again; safe to delete (`make clean` does)."""

    seed: int = 1406
    """Seeds the head's initial weights, dropout and shuffling, and `random` base weights."""

    calibration_images: int = 100
    """Training images whose activations set the INT8 ranges. MinMax on 50 already cost nothing measurable with
    the stand-in weights (shared/vgg16/README); 100 spread over the classes leave room for other data."""

    inference_batch: int = 16
    """Images per onnxruntime call. Large enough to hide the call, small enough to stay in cache and memory."""

    hidden_units: int = 256
    """Width of the trained Dense layer, as in the article."""

    dropout: float = 0.5
    """A few thousand examples overfit 512 features quickly; validation loss was lowest at 0.3 to 0.5."""

    learning_rate: float = 3e-4
    """Adam's step on standardised features; 1e-3 overshoots within three epochs, 1e-4 needs twice as many."""

    epochs: int = 40
    """Upper bound; early stopping ends most runs after 15 to 25."""

    patience: int = 8
    """Epochs without a lower validation loss before training stops and the best epoch is restored."""

    training_batch: int = 32
    """Examples per gradient step; the Keras default."""

    confidence_threshold: float = 0.5
    """Below it a picture is UNSURE. At 0.5 the label must outweigh all others together, so with two labels
    it never strikes; a threshold calibrated on validation is the next step of the design."""

    int8_tolerance: float = 0.005
    """Largest loss of accuracy, INT8 against FP32 on the same test images, that the build accepts. One image
    is always accepted: on a test set of 50 a single flip is 2 points and no evidence."""

    graph_tolerance: float = 1e-3
    """Largest difference of a probability, finished ONNX graph against Keras: float32 rounding of a few hundred
    additions is about 1e-6; anything above 1e-3 is a wrong graph."""

    fp32_megapixels: float = 20.0
    """How much network input the slow FP32 reference gets (it is compared on the same images as INT8). Covers
    a test set of 1,000 at 128x128 whole; at 224x224 some 370 of them, so that the build stays within minutes."""

    fp32_sample: int = 100
    """FP32 images from training and from validation, where the figure is only an orientation."""
