"""The demo's inputs where the user does not name them: the best pictures and weights on this machine.

`make model` never searches: a model for production is built from the inputs that its user names.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from local.demo.drawn import draw_dataset
from model_build.progress import quiet_start

KERAS_SIZE = 224  # pixels; the size at which VGG16 was trained
SHARED_SIZE = 128  # pixels; a third of the work at 224: 95.5% of the test photographs right instead of 97.7%
DRAWN_SIZE = 64  # pixels; enough for drawn pictures, and the build takes seconds


@dataclass(frozen=True, slots=True)
class DemoInputs:
    """Pictures, weights and image size of the demo's model, and a description for the user."""

    data: str
    weights: str  # "imagenet", "random" or the path of an .h5 file
    image_size: int  # pixels
    description: str


def find_inputs(
    data: Path | None, weights: str | None, image_size: int | None, shared: Path, drawn: Path
) -> DemoInputs:
    """Take what the user names, else what this machine has.

    Weights: the ImageNet weights in `shared`, else those of Keras (its cache, then its download), else random ones.
    Pictures: the photographs in `shared`, else drawn ones, which are written to `drawn`.
    """
    photographs = shared / "cats-and-dogs"
    shared_weights = shared / "vgg16" / "vgg16_imagenet_notop.h5"
    if data:
        folder, pictures = data, f"the pictures in {data}"
    elif photographs.is_dir():
        folder, pictures = photographs, f"the photographs in {photographs}"
    else:
        folder, pictures = draw_dataset(drawn), "drawn pictures of two classes (no photographs found)"
    if weights:
        source, size, note = weights, KERAS_SIZE, f"{Path(weights).name} weights"
    elif shared_weights.is_file():
        source, size, note = str(shared_weights), SHARED_SIZE, f"the ImageNet weights in {shared_weights}"
    elif _keras_has_imagenet():
        source, size, note = "imagenet", KERAS_SIZE, "Keras's ImageNet weights"
    else:
        source, size = "random", KERAS_SIZE if data or photographs.is_dir() else DRAWN_SIZE
        note = "random weights (no ImageNet weights found, so the accuracy only shows that the system works)"
    size = image_size or size
    return DemoInputs(str(folder), source, size, f"{pictures}, with {note}, at {size} px")


def load_inputs(path: Path, requested: Mapping[str, str | None]) -> DemoInputs | None:
    """The inputs of an earlier demo with the same request; None if there are none or they no longer exist."""
    try:
        record = json.loads(path.read_text("utf-8"))
        inputs, same = DemoInputs(**record["inputs"]), record["requested"] == requested
    except (OSError, ValueError, KeyError, TypeError):
        return None
    exist = Path(inputs.data).is_dir() and (inputs.weights in ("imagenet", "random") or Path(inputs.weights).is_file())
    return inputs if exist and same else None


def save_inputs(path: Path, requested: Mapping[str, str | None], inputs: DemoInputs) -> None:
    """Save the inputs, so that the next demo does not search again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"requested": requested, "inputs": asdict(inputs)}, indent=2) + "\n", "utf-8")


def _keras_has_imagenet() -> bool:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build import base

    print("Looking for ImageNet weights (Keras's cache, then its download) ...", flush=True)
    try:
        base.load("imagenet", base.MINIMUM_SIZE, seed=0)
    except base.WeightsError:
        return False
    return True
