"""Fills the two Lambda layers that template.yaml names, and checks them against Lambda's size limit.

    python -m layers [--architecture arm64] [--model build/model] [--out build/layers]  (make layer)

    build/layers/libraries/python/...                         the libraries, in Lambda at /opt/python
    build/layers/model/model/{model.onnx,manifest.json,...}   the network, in Lambda at /opt/model

The libraries are wheels for Lambda's Linux and Python, pinned with their hashes in requirements/layer.txt. pip only
unpacks them, so no Docker, Python 3.13 or compiler is needed. The layers are reproducible byte for byte on any machine:
SAM names an upload by its digest, so it ships a layer only if it has changed.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

from layers import ROOT, PackagingError
from layers.bytecode import compiler
from layers.packing import REQUIREMENTS, check, fill_libraries, pack, without_heic
from layers.wheels import ARCHITECTURE, TARGETS
from model_build.atomic_folder import OutputError

MODEL = ROOT / "build" / "model"
OUT = ROOT / "build" / "layers"
SAMCONFIG = ROOT / "samconfig.toml"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m layers", description="Fill the Lambda layers and check their size."
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the built model [build/model]")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the layers [build/layers]")
    parser.add_argument("--libraries-only", action="store_true", help="fill the libraries layer, which needs no model")
    parser.add_argument("--check", action="store_true", help="fill nothing: check that the layers exist")
    parser.add_argument(
        "--architecture",
        choices=TARGETS,
        help=f"of the functions [as deployed, see samconfig.toml; else {ARCHITECTURE}]",
    )
    parser.add_argument("--heic", choices=("1", "0"), default="1", help="0: leave out the decoder of HEIC [1]")
    parser.add_argument("--env", default="default", help="environment of samconfig.toml that names it [default]")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (PackagingError, OutputError) as error:
        print(f"layers: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, for example
        print(
            f"layers: {error.filename or options.out}: {error.strerror or error}. The layers in {options.out} are "
            "unchanged; run `make layer` again",
            file=sys.stderr,
        )
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Check or fill the layers. Raises PackagingError, OutputError, OSError."""
    if options.check:
        if warning := check(options.out, options.model):
            print(warning)
        return
    deployed = deployed_architecture(environment=options.env) or ARCHITECTURE
    architecture = options.architecture or deployed
    python = compiler()
    requirements = REQUIREMENTS
    if options.heic == "0":
        requirements = without_heic(REQUIREMENTS, options.out)
        print("without pillow-heif: HEIC pictures will be UNSUPPORTED")
    if options.libraries_only:
        print(fill_libraries(options.out, requirements, architecture=architecture, python=python))
        return
    pack(options.model, options.out, requirements, architecture=architecture, python=python)
    if warning := architecture_warning(architecture, deployed):
        print(warning)


def deployed_architecture(samconfig: Path = SAMCONFIG, environment: str = "default") -> str | None:
    """The Architecture that an environment of samconfig.toml names, or None."""
    try:
        content = tomllib.loads(samconfig.read_text("utf-8"))
        overrides = str(content[environment]["deploy"]["parameters"]["parameter_overrides"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return None
    # SAM writes one string, Architecture="arm64" ...; a list or a table is valid too.
    architecture = re.search(r"""\bArchitecture\W+?(x86_64|arm64)\b""", overrides)
    return architecture[1] if architecture else None


def architecture_warning(architecture: str, deployed: str) -> str | None:
    """A warning if the layers are for another architecture than the functions, else None."""
    if architecture == deployed:
        return None
    return (
        f"WARNING: these layers run on {architecture} only, and the functions would be deployed on {deployed}: deploy "
        f"with Architecture={architecture}, as `make deploy ARCH={architecture}` does"
    )


if __name__ == "__main__":
    sys.exit(main())
