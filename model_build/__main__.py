"""The command line of the model build: `python -m model_build --help`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from labeller.model import ModelError
from model_build.config import BuildConfig
from model_build.dataset import DataError
from model_build.progress import quiet_start


def main(arguments: list[str] | None = None) -> int:
    """Build a model from the command line; returns the exit status."""
    defaults = BuildConfig(Path("data"))
    parser = argparse.ArgumentParser(prog="python -m model_build", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=defaults.data,
        help="folder with train/, validation/ and test/, or of label folders alone (default: data)",
    )
    parser.add_argument(
        "--weights",
        default=defaults.weights,
        help="imagenet (Keras downloads them), random, or an .h5 file in the Keras layout (default: imagenet)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=defaults.image_size,
        help="side of the network's input (default: 224)",
    )
    parser.add_argument("--out", type=Path, default=defaults.out, help="folder of the model (default: build/model)")
    options = parser.parse_args(arguments)
    return run(BuildConfig(options.data, options.weights, options.image_size, options.out))


def run(config: BuildConfig) -> int:
    """Build, and print what stands in the way as one line on standard error; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: its start-up notices
    with quiet_start():
        from model_build.base import WeightsError
        from model_build.build import build
        from model_build.quantize import QuantisationError
        from model_build.verify import VerificationError

    try:
        build(config)
    except (DataError, WeightsError, QuantisationError, VerificationError, ModelError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
