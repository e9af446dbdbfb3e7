"""Bytecode for the libraries layer. Lambda cannot write to a layer, so without it every cold start compiles all that is
imported: 300 ms of processor time of 940 until the first label.

Only the runtime's own Python makes bytecode that it reads. Where there is none, the layer goes without.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class BytecodeError(Exception):
    """The compiler could not be run."""


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


def _run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    # The caller's, for a shim's sake, but for what would change the bytes or where they go; sets of constants are
    # written in the order of their hashes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode not in accepted:
        raise BytecodeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout.strip()}")
    return done.stdout
