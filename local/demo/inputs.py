"""The demo's pictures and weights where the user does not name them: downloaded, or the best on this machine.

`make model` never searches: a model for production is built from the inputs that its user names.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from local import photographs
from local.demo.drawn import draw_dataset
from model_build.config import KERAS_WEIGHTS, SIZES
from model_build.progress import quiet_start

QUICK_SIZE = 128  # pixels; a third of the work at 224
DRAWN_SIZE = 64  # pixels; enough for drawn pictures, and the build takes seconds


@dataclass(frozen=True, slots=True)
class DemoInputs:
    """Pictures, weights and image size of the demo's model, and a caveat if its accuracy says nothing."""

    data: str
    weights: str  # "imagenet", "random" or the path of an .h5 file
    image_size: int  # pixels
    description: str
    caveat: str = ""


def find_inputs(
    data: Path | None, weights: str | None, image_size: int | None, shared: Path, drawn: Path, mirror: str | None
) -> DemoInputs:
    """Take what the user names, else what is downloaded or can be, else what this machine has.

    Pictures: public photographs, from `photographs/` or their address; those in `shared`; drawn ones, which are written
    to `drawn`. Weights: Keras's ImageNet weights, from its cache or its download; those in `shared`; random ones. What
    cannot be reached is said in one line. Raises DownloadError if a download breaks off, or `mirror` is unreachable.
    """
    photographs_online, weights_online = _online(mirror, need_photographs=not data, need_weights=not weights)
    if data:
        folder, pictures = data, f"the pictures in {data}"
    else:
        folder, pictures = _pictures(shared, drawn, mirror, photographs_online)
    source, note = (weights, f"{Path(weights).name} weights") if weights else _weights(shared, weights_online)
    unreal = ["drawn pictures"] * (folder == drawn) + ["random weights"] * (source == "random")
    size = image_size or (DRAWN_SIZE if len(unreal) == 2 else QUICK_SIZE)
    caveat = f"{' and '.join(unreal).capitalize()}: the accuracy says nothing." if unreal else ""
    return DemoInputs(str(folder), source, size, f"{pictures}, with {note}, at {size} px", caveat)


def save_inputs(path: Path, inputs: DemoInputs) -> None:
    """Save the inputs for `make bench`, which measures the demo's model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"inputs": asdict(inputs)}, indent=2) + "\n", "utf-8")


def keras_cache() -> Path:
    """Where Keras keeps the downloaded ImageNet weights of VGG16 without its top."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models" / Path(KERAS_WEIGHTS).name


def _online(mirror: str | None, *, need_photographs: bool, need_weights: bool) -> tuple[bool, bool]:
    """Whether photographs and weights can be downloaded, as far as they are still needed; prints the first reason why
    not."""
    address = mirror or photographs.ARCHIVE
    reasons = {
        address: photographs.unreachable(address) if need_photographs and not photographs.downloaded() else None,
        KERAS_WEIGHTS: photographs.unreachable(KERAS_WEIGHTS) if need_weights and not keras_cache().is_file() else None,
    }
    if mirror and (reason := reasons[mirror]):
        raise photographs.DownloadError(f"{mirror} cannot be reached: {reason}")
    for unreachable, reason in reasons.items():
        if reason:
            print(f"Not downloaded, because {unreachable} cannot be reached: {reason}.", flush=True)
            break
    return not reasons[address], not reasons[KERAS_WEIGHTS]


def _pictures(shared: Path, drawn: Path, mirror: str | None, online: bool) -> tuple[Path, str]:
    """A data set and its description."""
    beside = shared / "cats-and-dogs"
    if online:
        return photographs.fetch(mirror or photographs.ARCHIVE), f"the public photographs in {photographs.FOLDER}"
    if beside.is_dir():
        return beside, f"the photographs in {beside}"
    return draw_dataset(drawn), "drawn pictures of two classes"


def _weights(shared: Path, online: bool) -> tuple[str, str]:
    """Weights as `make model` takes them, and their description."""
    beside = shared / "vgg16" / "vgg16_imagenet_notop.h5"
    if keras_cache().is_file() or (online and _keras_downloads()):
        return "imagenet", "Keras's ImageNet weights"
    if beside.is_file():
        return str(beside), f"the ImageNet weights in {beside}"
    return "random", "random weights"


def _keras_downloads() -> bool:
    """Whether Keras can download its ImageNet weights; prints the reason if not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build import base

    print("Keras downloads its ImageNet weights (59 MB) ...", flush=True)
    try:
        base.load("imagenet", SIZES[0], seed=0)
    except base.WeightsError as error:
        print(error, flush=True)
        return False
    return True
