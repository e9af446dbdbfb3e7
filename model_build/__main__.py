"""The command line of the model build: `python -m model_build --help`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

from labeller.manifest import ModelError
from model_build.atomic_folder import OutputError
from model_build.config import BuildConfig
from model_build.data.dataset import DataError
from model_build.progress import quiet_start

INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended

_UNCHANGED = "No model was made; what was in {} before is as it was"


MOST_TIMES = 20
"""Times less time that may be asked for: beyond, hardly a channel is left in most layers."""


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
    parser.add_argument(
        "--compress",
        type=_compression,
        default=defaults.compress,
        help="a smaller network that takes so many times less time, such as 3; auto: the fastest of a curve of them "
        f"that costs next to nothing on validation; none (default: {defaults.compress})",
    )
    parser.add_argument("--out", type=Path, default=defaults.out, help="folder of the model (default: build/model)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=defaults.cache,
        help="folder of what the next build need not compute again (default: build/cache)",
    )
    options = parser.parse_args(arguments)
    return run(
        BuildConfig(
            options.data,
            options.weights,
            options.image_size,
            options.out,
            options.cache,
            compress=options.compress,
        )
    )


def run(config: BuildConfig) -> int:
    """Build, and print what stands in the way as one line on standard error; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: its start-up notices
    with quiet_start():
        from model_build.base import WeightsError
        from model_build.build import build
        from model_build.compression.network import StructureError
        from model_build.quantize import QuantisationError
        from model_build.verify import VerificationError

    try:
        build(config)
    except (
        DataError,
        WeightsError,
        StructureError,
        QuantisationError,
        VerificationError,
        ModelError,
        OutputError,
    ) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or config.out}: {error.strerror or error}. {_UNCHANGED.format(config.out)}")
    except KeyboardInterrupt:
        _failed(f"interrupted. {_UNCHANGED.format(config.out)}")
        return INTERRUPTED
    return 0


def _compression(text: str) -> str:
    """`none`, `auto`, or a number above 1, in its shortest form."""
    if text in ("none", "auto"):
        return text
    with suppress(ValueError):
        if 1 < float(text) <= MOST_TIMES:
            return f"{float(text):g}"
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither none nor auto nor a number greater than 1, up to {MOST_TIMES}"
    )


def _failed(why: str) -> int:
    print(f"\nerror: {' '.join(why.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
