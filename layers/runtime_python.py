"""A Python of the functions' runtime version, and an environment with the packages that AWS adds to that runtime.

    python -m layers.runtime_python   (make test: prepares the environment, if this machine has such a Python)

The layers hold compiled wheels for that version, so the built function runs on no other.
"""

import glob
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from layers import ROOT, PackagingError
from layers.wheels import PYTHON_VERSION

LOCK = ROOT / "requirements" / "emulator.txt"
DIRECTORY = ROOT / ".venv-runtime"
NAMED_BY = "LAMBDA_PYTHON"
UV = Path(sys.executable).with_name("uv")  # requirements/install puts it into every environment


class RuntimePythonNotFound(PackagingError):
    """This machine has no Python of the runtime's version."""

    exit_code = 4


def find_runtime_python(version: str = PYTHON_VERSION, environ: Mapping[str, str] = os.environ) -> Path | None:
    """A Python of `version`, or None: the one that the variable LAMBDA_PYTHON names, else the first that uv finds.

    uv searches its own installations and PATH, to which the folders of pyenv, mise and asdf are added: uv does not know
    them, and their shims fail unless the version is active. Nothing is downloaded. Raises PackagingError if
    LAMBDA_PYTHON does not name a Python of that version.
    """
    named = environ.get(NAMED_BY)
    home = environ.get("HOME", "/nonexistent")
    installed = (
        f"{environ.get('PYENV_ROOT', f'{home}/.pyenv')}/versions/{version}*/bin",
        f"{home}/.local/share/mise/installs/python/{version}*/bin",
        f"{home}/.asdf/installs/python/{version}*/bin",
    )
    folders = [folder for pattern in installed for folder in sorted(glob.glob(pattern), reverse=True)]
    path = os.pathsep.join([environ.get("PATH", ""), f"{sys.base_prefix}/bin", *folders])
    python = _uv_find([named or version], {**environ, "PATH": path})
    if named and not (_uv_find(["--show-version", named], {**environ, "PATH": path}) or "").startswith(f"{version}."):
        raise PackagingError(f"{NAMED_BY} names {named}, which is not a Python {version} that runs")
    return Path(python) if python else None


def ensure_runtime(version: str = PYTHON_VERSION, lock: Path = LOCK, directory: Path = DIRECTORY) -> Path:
    """The Python of an environment with the packages that `lock` pins; made again only if Python or pins changed.

    Raises RuntimePythonNotFound, and PackagingError if the environment cannot be made.
    """
    python = find_runtime_python(version)
    if python is None:
        raise RuntimePythonNotFound(
            f"the built function needs Python {version}, as its Lambda runtime does, and this machine has none on PATH "
            f"or in uv, pyenv, mise or asdf. Install one (`uv python install {version}`, `pyenv install {version}` or "
            f"your system's package python{version}), or name one: {NAMED_BY}=/path/to/python{version}"
        )
    runtime, stamp = directory / "bin" / "python", directory / "ready"
    current = hashlib.sha256(lock.read_bytes() + str(python).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == current and runtime.exists():
        return runtime
    print(f"installing {lock.name} into {directory.name} ...", file=sys.stderr)
    _run([str(UV), "venv", "-q", "--clear", "--no-project", "--python", str(python), str(directory)])
    try:
        # Compiled, as in Lambda: otherwise every cold start would compile botocore first.
        _run([str(UV), "pip", "install", "-q", "--compile-bytecode", "--python", str(runtime), "-r", str(lock)])
    except PackagingError:  # uv does not read the package index from pip's configuration
        _run([sys.executable, "-m", "pip", "--python", str(runtime), "install", "-q", "-r", str(lock)])
    stamp.write_text(current)
    return runtime


def main() -> int:
    """Make the environment ahead of time. That this machine has no such Python is a note, not an error."""
    try:
        ensure_runtime()
    except RuntimePythonNotFound as error:
        print(f"note: {error}", file=sys.stderr)
    except PackagingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _uv_find(request: list[str], environ: Mapping[str, str]) -> str | None:
    """The output of `uv python find`, None if it finds nothing."""
    command = [str(UV), "python", "find", "--no-project", "--system", "--no-python-downloads", *request]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PackagingError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")


if __name__ == "__main__":
    sys.exit(main())
