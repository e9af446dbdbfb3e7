"""The demo's pictures and weights where the user does not name them: downloaded, or the best on this machine.

`make model` never searches: a model for production is built from the inputs that its user names.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from local import photographs
from local.demo.drawn import draw_dataset
from model_build.config import KERAS_WEIGHTS
from model_build.progress import quiet_start

QUICK_SIZE = 128  # pixels; a third of the work at 224
DRAWN_SIZE = 64  # pixels; enough for drawn pictures, and the build takes seconds

DRAWN = "drawn pictures of two classes"
RANDOM = "random weights"


@dataclass(frozen=True, slots=True)
class DemoInputs:
    """Pictures, weights and image size of the demo's model, and a caveat if its accuracy says nothing."""

    data: str
    weights: str  # "imagenet", "random" or the path of an .h5 file
    image_size: int  # pixels
    description: str
    caveat: str = ""


def find_inputs(
    data: Path | None, weights: str | None, image_size: int | None, shared: Path, drawn: Path, mirror: str
) -> DemoInputs:
    """Take what the user names, else what is downloaded or can be, else what this machine has.

    Pictures: public photographs, from `photographs/` or the address `mirror`; those in `shared`; drawn ones, which are
    written to `drawn`. Weights: Keras's ImageNet weights, from its cache or its download; those in `shared`; random
    ones. Without a network it says so in one line. Raises DownloadError if a download breaks off.
    """
    online = _online(mirror, need_photographs=not data, need_weights=not weights)
    folder, pictures = (data, f"the pictures in {data}") if data else _pictures(shared, drawn, mirror, online)
    source, note = (weights, f"{Path(weights).name} weights") if weights else _weights(shared, online)
    caveats = [text for text, holds in ((DRAWN, pictures == DRAWN), (RANDOM, source == "random")) if holds]
    return DemoInputs(
        str(folder),
        source,
        size := image_size or (DRAWN_SIZE if pictures == DRAWN and source == "random" else QUICK_SIZE),
        f"{pictures}, with {note}, at {size} px",
        f"{' and '.join(caveats).capitalize()}: the accuracy says nothing." if caveats else "",
    )


def save_inputs(path: Path, inputs: DemoInputs) -> None:
    """Save the inputs for `make bench`, which measures the demo's model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"inputs": asdict(inputs)}, indent=2) + "\n", "utf-8")


def keras_cache() -> Path:
    """Where Keras keeps the downloaded ImageNet weights of VGG16 without its top."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models" / Path(KERAS_WEIGHTS).name


def _online(mirror: str, *, need_photographs: bool, need_weights: bool) -> bool:
    """Whether what is still to be downloaded can be; if not, prints the reason."""
    addresses = [mirror] if need_photographs and not photographs.downloaded() else []
    addresses += [KERAS_WEIGHTS] if need_weights and not keras_cache().is_file() else []
    for address in addresses:
        if reason := photographs.unreachable(address):
            print(f"Nothing is downloaded, because {address} cannot be reached: {reason}.", flush=True)
            return False
    return True


def _pictures(shared: Path, drawn: Path, mirror: str, online: bool) -> tuple[Path, str]:
    """A data set and its description."""
    beside = shared / "cats-and-dogs"
    if photographs.downloaded() or online:
        return photographs.fetch(mirror), f"the public photographs in {photographs.FOLDER}"
    if beside.is_dir():
        return beside, f"the photographs in {beside}"
    return draw_dataset(drawn), DRAWN


def _weights(shared: Path, online: bool) -> tuple[str, str]:
    """Weights as `make model` takes them, and their description."""
    beside = shared / "vgg16" / "vgg16_imagenet_notop.h5"
    if (keras_cache().is_file() or online) and _keras_has_imagenet():
        return "imagenet", "Keras's ImageNet weights"
    if beside.is_file():
        return str(beside), f"the ImageNet weights in {beside}"
    return "random", RANDOM


def _keras_has_imagenet() -> bool:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build import base
        from model_build.config import SIZES

    print("Keras loads its ImageNet weights, from its cache or its download (59 MB) ...", flush=True)
    try:
        base.load("imagenet", SIZES[0], seed=0)
    except base.WeightsError:
        return False
    return True
