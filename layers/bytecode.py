"""Bytecode for what is deployed. Lambda cannot write to a layer or to a function's folder, so without bytecode every
cold start compiles all its imports: 300 ms of 940 ms of processor time until the first label for the libraries, 50 ms
for the function's own modules.

    python -m layers.bytecode .aws-sam/build/ClassifyFunction ...   (make build, after sam build)

Only the runtime's own Python version makes bytecode that it reads. Without one, nothing is compiled.
"""

import os
import subprocess
import sys
from pathlib import Path

from layers import PackagingError
from layers.runtime_python import NAMED_BY, find_runtime_python
from layers.wheels import PYTHON_VERSION

DEPLOYED_AT = "/var/task"  # a function's folder in Lambda


def compiler() -> Path | None:
    """A Python of the runtime's version; None, and a printed note, if this machine has none. Raises PackagingError."""
    python = find_runtime_python()
    if python is None:
        print(
            f"no Python {PYTHON_VERSION} on this machine to compile libraries and functions: they work without, but "
            f"each cold start takes about 0.3 s longer. Name one with {NAMED_BY}=/path/to/python{PYTHON_VERSION}"
        )
    return python


def version_of(python: Path | None) -> str:
    """The version string that decides the bytecode of `python`; "" for None. Raises PackagingError."""
    return "" if python is None else _run([str(python), "-c", "import sys; print(sys.version)"])


def compile_tree(folder: Path, python: Path, deployed_as: str) -> None:
    """Add bytecode to all Python files under `folder`, which is at `deployed_as` in Lambda. Raises PackagingError.

    The bytecode is reproducible: it is marked as never to be checked against the sources (PEP 552), whose times SAM
    and Lambda change, and one process compiles, because the order decides the bytes. Files for other versions of Python
    do not compile and stay as they are.
    """
    quietly = ["-q", "-q", "-f", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    command = [str(python), "-m", "compileall", *quietly, "-s", str(folder), "-p", deployed_as, str(folder)]
    _run(command, accepted=(0, 1))


def main(folders: list[str]) -> int:
    """Compile the functions that `sam build` left in `folders`; returns the exit status."""
    try:
        python = compiler()
        if python is not None:
            for folder in folders:
                compile_tree(Path(folder), python, DEPLOYED_AT)
    except PackagingError as error:
        print(f"bytecode: {error}", file=sys.stderr)
        return 1
    return 0


def _run(command: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    # The caller's environment, which a shim needs, without the variables that change the bytes or their place. Sets of
    # constants are written in the order of their hashes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode not in accepted:
        raise PackagingError(f"{' '.join(command[:4])} failed (exit status {done.returncode}): {done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
