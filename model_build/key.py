"""What a finished model depends on, as one hash: equal keys mean that building again would give the same.

Imports no TensorFlow, so that asking whether a model is current takes no time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from labeller import images, signatures
from model_build.config import BuildConfig
from model_build.dataset import Dataset


def build_key(config: BuildConfig, data: Dataset) -> str:
    """SHA-256 over the settings, the content of pictures and weights, this package's source and onnxruntime's
    version. Where things lie does not count. OSError if a weight file that is named cannot be read."""
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    if config.weights not in ("imagenet", "random"):
        settings["weights"] = hashlib.sha256(Path(config.weights).read_bytes()).hexdigest()
    parts = [settings, data.digest, _source_digest(), version("onnxruntime")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source_digest() -> str:
    digest = hashlib.sha256(Path(images.__file__).read_bytes() + Path(signatures.__file__).read_bytes())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in ("package_layer.py", "progress.py", "cache.py", "__main__.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
