"""Bytecode for what is deployed. Lambda cannot write to a layer or to a function's folder, so without it every cold
start compiles all that is imported: 300 ms of processor time of 940 until the first label for the libraries, 50 ms for
the function's own modules.

    python -m layers.bytecode .aws-sam/build/ClassifyFunction ...   (make build, after sam build)

Only the runtime's own Python makes bytecode that it reads. Where there is none, layer and functions go without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from layers.wheels import PYTHON_VERSION

DEPLOYED_AT = "/var/task"  # where Lambda has a function's folder


class BytecodeError(Exception):
    """There is no bytecode to be had: the compiler could not be run, or is not where it was said to be."""


def runtime_python() -> Path | None:
    """A Python of the runtime's version on this machine; None, and a line on what that costs, if there is none.

    BytecodeError if the variable LAMBDA_PYTHON names something else.
    """
    from layers.runtime_python import NAMED_BY, RuntimePythonNotFound, find_runtime_python

    try:
        return find_runtime_python(PYTHON_VERSION)
    except RuntimePythonNotFound as error:
        if os.environ.get(NAMED_BY):
            raise BytecodeError(str(error)) from error
        print(
            f"no Python {PYTHON_VERSION} here to compile libraries and functions with: they work all the same, but "
            f"each cold start takes some 0.3 s longer. {NAMED_BY}=/path/to/python names one"
        )
        return None


def version_of(python: Path | None) -> str:
    """What decides the bytecode that `python` makes; "" for None. Raises BytecodeError."""
    return "" if python is None else _run([str(python), "-c", "import sys; print(sys.version)"])


def compile_tree(folder: Path, python: Path, deployed_as: str) -> None:
    """Add bytecode to all Python files under `folder`, which Lambda will have at `deployed_as`.

    The same from the same sources, whenever it is made: it is marked as never to be checked against the sources
    (PEP 552), whose times SAM and Lambda change. One process, for the order of things is in the bytes. Files that
    are for other versions of Python do not compile, and stay as they are. Raises BytecodeError.
    """
    options = [
        "-q",
        "-q",
        "-f",
        "-j",
        "1",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        str(folder),
        "-p",
        deployed_as,
    ]
    _run([str(python), "-m", "compileall", *options, str(folder)], accepted=(0, 1))


def main(folders: list[str]) -> int:
    """Compile the functions that `sam build` left in `folders`; returns the exit status."""
    try:
        python = runtime_python()
        if python is None:
            return 0
        for folder in folders:
            compile_tree(Path(folder), python, DEPLOYED_AT)
    except BytecodeError as error:
        print(f"bytecode: {error}", file=sys.stderr)
        return 1
    return 0


def _run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    # The caller's, for a shim's sake, but for what would change the bytes or where they go; sets of constants are
    # written in the order of their hashes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode not in accepted:
        raise BytecodeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
