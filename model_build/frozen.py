"""The frozen base of one picture size, and the search of the smaller networks made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from model_build import base, quantize, search, verify
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset
from model_build.features import extract

LoadBase = Callable[[str, int, int], base.Base]
"""From weights, image size and seed."""


@dataclass(frozen=True, slots=True)
class FrozenBase:
    """The base as a Keras model and as an ONNX file in FP32."""

    base: base.Base
    fp32: Path


def load_frozen(config: BuildConfig, data: Dataset, load_base: LoadBase, fp32: Path) -> FrozenBase:
    """Load the base for pictures of the settings' size, freeze it and export it. Raises VerificationError."""
    keras.utils.clear_session()  # Keras numbers layers per process: a fresh session gives the same names every time
    frozen = load_base(config.weights, config.image_size, config.seed)
    base.export_base(frozen, config, fp32)
    few = quantize.comparison_examples(data, replace(config, speedup=1.0))
    verify.require_faithful_export(frozen.network, extract(fp32, few, config), config)
    return FrozenBase(frozen, fp32)


def search_from(config: BuildConfig, data: Dataset, frozen: FrozenBase, folder: Path) -> search.SearchResult:
    """Find the network that the settings ask for, in INT8 by the first quantisation. Raises StructureError."""

    def quantise(fp32: Path, int8: Path, settings: BuildConfig) -> None:
        quantise_quickly(fp32, int8, data, settings)

    return search.search(frozen.base, frozen.fp32, data, config, quantise, folder)


def quantise_quickly(fp32: Path, int8: Path, data: Dataset, config: BuildConfig) -> None:
    """Write `fp32` in INT8 by the first quantisation of the settings. Raises QuantisationError."""
    config = replace(config, quantisations=config.quantisations[:1])
    reference = extract(fp32, quantize.comparison_examples(data, config), config)
    quantize.quantise_base(fp32, int8, reference, data, config)
