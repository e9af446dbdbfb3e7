"""The model in a folder, as the page asks it: its label for a picture, why, and the training pictures that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from evaluation.class_activation import ClassActivation, shade
from labeller.classifier import Classifier, load_classifier
from labeller.decoder_process import decode
from labeller.images import Decoded
from labeller.manifest import MANIFEST_FILE, Manifest
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from model_build.class_activation import read_class_activation
from model_build.data.inventory import read_inventory
from ops.review.desk import NotFound, as_jpeg

SHADE, THUMBNAIL = 320, 160
"""Pixels of the longer side: of a shade, which is as blurred as a place of the network is large, and of a training
picture."""


@dataclass
class ReviewModel:
    """The model in a folder. Each of its files is read when it is first asked for."""

    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Of the model. Raises ModelError."""
        return Manifest.from_file(self.folder / MANIFEST_FILE)

    @cached_property
    def classifier(self) -> Classifier:
        """As the functions have it. Raises ModelError."""
        return load_classifier(self.folder, threads=1)

    @cached_property
    def activation(self) -> ClassActivation:
        """What says why. Raises ModelError."""
        return read_class_activation(self.folder)

    @cached_property
    def learned(self) -> dict[str, tuple[Path, str]]:
        """File and SHA-256 of the pictures that the model learned from, by the path that it names them with."""
        try:
            inventory = read_inventory(self.folder)
        except ValueError:
            inventory = None
        pictures = inventory.learned.values() if inventory else ()
        return {one.path: (inventory.root / one.path, one.sha256) for one in pictures if inventory}

    def has_picture(self, path: str) -> bool:
        """Whether a training picture that the model names is on this machine, where the build read it."""
        return path in self.learned and self.learned[path][0].is_file()

    def training_picture(self, path: str) -> bytes:
        """A training picture as a small JPEG. Raises NotFound, Unreadable."""
        if not self.has_picture(path):
            raise NotFound("the training picture is not on this machine")
        file, sha256 = self.learned[path]
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise NotFound("the training picture has changed since the model was built")
        small = decode(content, (8, 8), DEFAULT_MAX_IMAGE_PIXELS)
        width, height = _fitted(small, THUMBNAIL)
        return as_jpeg(decode(content, (height, width), DEFAULT_MAX_IMAGE_PIXELS).pixels)

    def shade(self, open_picture: Callable[[tuple[int, int]], Decoded], label: str) -> bytes:
        """A PNG that darkens what does not speak for the label; `open_picture` decodes the picture in (height, width).

        Raises NotFound for a label that the model does not have, ModelError for a model that cannot show why.
        """
        labels = self.manifest.labels
        if label not in labels:
            raise NotFound(f"the model has no label {label!r}, so nothing speaks for it")
        decoded = open_picture(self.manifest.input_size)
        (heat,) = self.activation.heat(decoded.pixels[np.newaxis], [labels.index(label)])
        return shade(heat, *_fitted(decoded, SHADE))


def _fitted(picture: Decoded, side: int) -> tuple[int, int]:
    """Width and height with this longer side."""
    scale = side / max(picture.width, picture.height)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
