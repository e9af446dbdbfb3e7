"""Why the model gives a picture a label, made when somebody asks: a shade over what does not speak for the label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from labeller.images import Decoded
from labeller.manifest import MANIFEST_FILE, Manifest
from model_build.class_activation import ClassActivation, shade
from ops.review.desk import NotFound

SIDE = 320  # pixels of the longer side of a shade: it is as blurred as a place of the network is large


@dataclass
class Why:
    """The model in a folder. Its network is read with the first question."""

    model: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Of the model."""
        return Manifest.from_file(self.model / MANIFEST_FILE)

    @cached_property
    def activation(self) -> ClassActivation:
        """Of the model."""
        return ClassActivation.of(self.model)

    def shade(self, decode: Callable[[tuple[int, int]], Decoded], label: str) -> bytes:
        """The shade as PNG; `decode` gives the picture in (height, width).

        Raises NotFound for a label that the model does not have, ModelError for a model that cannot show why.
        """
        labels = self.manifest.labels
        if label not in labels:
            raise NotFound(f"the model has no label {label!r}, so nothing speaks for it")
        decoded = decode(self.manifest.input_size)
        (heat,) = self.activation.heat(decoded.pixels[np.newaxis], [labels.index(label)])
        scale = SIDE / max(decoded.width, decoded.height)
        return shade(heat, max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
