"""pictures.json beside a model: which pictures it learned from and was tested on, by path and content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labeller.results import OTHER
from model_build.data.dataset import Dataset

PICTURES_FILE = "pictures.json"
LEARNED = ("train", "validation")  # validation pictures choose head, temperature and thresholds


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a build."""

    split: str  # train, validation or test
    label: str  # OTHER: of the folder `other`
    path: str  # below the data set's folder
    sha256: str  # of the content

    @property
    def name(self) -> str:
        """The path below the label's folder."""
        parts = self.path.split("/")
        return "/".join(parts[2 if parts[0] == self.split else 1 :])


@dataclass(frozen=True, slots=True)
class Inventory:
    """The pictures of a build."""

    root: Path  # of the data set, as the build was given it
    pictures: tuple[Picture, ...]

    @property
    def test(self) -> tuple[Picture, ...]:
        """The pictures that the model was tested on."""
        return tuple(picture for picture in self.pictures if picture.split == "test")

    @property
    def learned(self) -> dict[str, Picture]:
        """The pictures that the model learned from, by their SHA-256."""
        return {picture.sha256: picture for picture in self.pictures if picture.split in LEARNED}


def write_inventory(folder: Path, data: Dataset) -> None:
    """Write pictures.json."""
    labels = (*data.labels, OTHER)
    pictures = [
        [split, labels[example.label], example.path.relative_to(data.root).as_posix(), example.sha256]
        for split, examples in data.splits.items()
        for example in (*examples, *data.others.get(split, ()))
    ]
    lines = ",\n".join(json.dumps(picture) for picture in pictures)
    text = f'{{"root": {json.dumps(str(data.root))}, "pictures": [\n{lines}\n]}}\n'
    (folder / PICTURES_FILE).write_text(text, "utf-8")


def read_inventory(model: Path) -> Inventory | None:
    """The pictures of the model in a folder; None if it was built before there was such a file.

    Raises ValueError if the file is damaged.
    """
    try:
        content = json.loads((model / PICTURES_FILE).read_text("utf-8"))
        return Inventory(Path(content["root"]), tuple(Picture(*map(str, picture)) for picture in content["pictures"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{model / PICTURES_FILE} is damaged: {error!r}") from error
