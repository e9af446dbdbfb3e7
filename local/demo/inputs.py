"""What the demo builds its model from, where the caller does not say: the best that this machine has.

`make model` never does this: a model that goes into production is made from what was named.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from local.demo.drawn import draw_dataset
from model_build.progress import quiet_start

STANDIN_SIZE = 128  # pixels; shared/vgg16/README.md: the stand-in weights are best there
DRAWN_SIZE = 64  # pixels; drawn pictures need no more, and the build takes seconds


@dataclass(frozen=True, slots=True)
class Choice:
    """Data, weights and image size of the demo's model, and a sentence on what was taken and what it means."""

    data: str
    weights: str
    image_size: int
    said: str


def choose(data: Path | None, weights: str | None, image_size: int | None, shared: Path, drawn: Path) -> Choice:
    """Take what the caller named; else ImageNet weights (Keras cache or download); else those of `shared`; at last
    random ones. Pictures: the caller's, those of `shared`, or drawn ones, written to `drawn`.
    """
    photographs = shared / "cats-and-dogs"
    standin = shared / "vgg16" / "vgg16_standin_notop.h5"
    if data:
        pictures, of = data, f"the pictures in {data}"
    elif photographs.is_dir():
        pictures, of = photographs, f"the photographs in {photographs}"
    else:
        pictures, of = draw_dataset(drawn), "drawn pictures of two classes (no photographs found)"
    if weights:
        taken, size, meaning = weights, 224, "as you named them"
    elif _imagenet_to_be_had():
        taken, size, meaning = "imagenet", 224, "so the accuracy is what this project is about"
    elif standin.is_file():
        taken, size = str(standin), STANDIN_SIZE
        meaning = "no ImageNet weights to be had: a stand-in that knows cats and dogs and little else"
    else:
        taken, size = "random", 224 if data or photographs.is_dir() else DRAWN_SIZE
        meaning = "no ImageNet weights to be had: the accuracy says only that the path works"
    name = taken if taken in ("imagenet", "random") else Path(taken).name
    return Choice(
        str(pictures),
        taken,
        image_size or size,
        f"{of}; {name} weights at {image_size or size} px ({meaning})",
    )


def remembered(path: Path, asked: dict[str, str | None]) -> Choice | None:
    """The choice an earlier demo made when it was asked the same, if its inputs are still there."""
    try:
        record = json.loads(path.read_text("utf-8"))
        choice, same = Choice(**record["choice"]), record["asked"] == asked
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = Path(choice.data).is_dir() and (choice.weights in ("imagenet", "random") or Path(choice.weights).is_file())
    return choice if there and same else None


def remember(path: Path, asked: dict[str, str | None], choice: Choice) -> None:
    """Note the choice, so that the next demo need not look for weights again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"asked": asked, "choice": asdict(choice)}, indent=2) + "\n", "utf-8")


def _imagenet_to_be_had() -> bool:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_start():
        from model_build import base

    print("Looking for ImageNet weights (Keras cache, then download) ...", flush=True)
    try:
        base.load("imagenet", base.MINIMUM_SIZE, seed=0)
    except base.WeightsError:
        return False
    return True
