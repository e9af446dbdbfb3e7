"""Train, quantise and verify a model from photographs in label folders."""

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from labeller.manifest import ModelError
from model_build.atomic_folder import OutputError
from model_build.config import BuildConfig, SettingsError
from model_build.data.folders import DataError, require_folder
from model_build.progress import quiet_start

INTERRUPTED = 130
"""Exit status by which shells mark a program that Ctrl-C ended."""

MAX_SPEED_UP = 20
"""Above it, hardly a channel is left in most layers."""


def main(arguments: list[str] | None = None) -> int:
    """Build a model from the command line; returns the exit status."""
    defaults = BuildConfig(Path("data"))
    parser = argparse.ArgumentParser(prog="python -m model_build", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=defaults.data,
        help="folder with train/, validation/ and test/, or with label folders only (default: data)",
    )
    parser.add_argument(
        "--weights",
        default=defaults.weights,
        help="imagenet (downloaded by Keras), random, or an .h5 file in the Keras layout (default: imagenet)",
    )
    parser.add_argument(
        "--image-size",
        type=_image_size,
        default=defaults.image_size,
        help="side of the network input in pixels; auto: chosen by cross-validation, together with --compress "
        f"(default: {defaults.image_size})",
    )
    parser.add_argument("--out", type=Path, default=defaults.out, help="folder of the model (default: build/model)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=defaults.cache,
        help="folder of results that the next build can reuse (default: build/cache)",
    )
    parser.add_argument(
        "--compress",
        type=_compression,
        default=defaults.speedup,
        help="speed-up of a smaller network, such as 3; auto: the fastest network that is not measurably worse; "
        f"none (default: {defaults.speedup:g})",
    )
    return run(config_of(parser.parse_args(arguments)))


def config_of(options: argparse.Namespace) -> BuildConfig:
    """The settings for parsed options; `auto` is None there."""
    config = BuildConfig(options.data, options.weights, out=options.out, cache=options.cache)
    return replace(
        config,
        image_size=options.image_size or config.image_size,
        auto_size=options.image_size is None,
        speedup=options.compress or config.speedup,
        auto_speedup=options.compress is None,
    )


def run(config: BuildConfig) -> int:
    """Build a model and print any error as one line on standard error; returns the exit status."""
    try:
        config.require_usable()
        require_folder(config.data)
    except (SettingsError, DataError) as error:
        return _failed(str(error))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported: no start-up notices
    with quiet_start():
        from model_build.base import WeightsError
        from model_build.build import build
        from model_build.compression.network import StructureError
        from model_build.quantize import QuantisationError
        from model_build.verify import VerificationError

    unchanged = f"No model was built; {config.out} is unchanged"
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
        return _failed(f"{error.filename or config.out}: {error.strerror or error}. {unchanged}")
    except KeyboardInterrupt:
        _failed(f"interrupted. {unchanged}")
        return INTERRUPTED
    return 0


def _image_size(text: str) -> int | None:
    """A number, which `BuildConfig.require_usable` checks, or None for `auto`."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of pixels") from None


def _compression(text: str) -> float | None:
    """1 for `none`, a number above 1, or None for `auto`."""
    if text in ("none", "auto"):
        return 1.0 if text == "none" else None
    with suppress(ValueError):
        if 1 < float(text) <= MAX_SPEED_UP:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not none, auto or a number above 1 and up to {MAX_SPEED_UP}")


def _failed(message: str) -> int:
    print(f"\nerror: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
