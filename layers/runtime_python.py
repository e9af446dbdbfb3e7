"""A Python of the function's runtime version, and an environment with what AWS puts into that runtime.

The layers hold compiled wheels for the runtime's version, so the built function runs on no other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from layers.wheels import PYTHON_VERSION

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "emulator.txt"
DIRECTORY = ROOT / ".venv-runtime"
NAMED_BY = "LAMBDA_PYTHON"


class RuntimePythonError(Exception):
    """The environment of the runtime cannot be made; the message says why."""

    exit_code = 1


class RuntimePythonNotFound(RuntimePythonError):
    """No Python of the runtime's version is on this machine."""

    exit_code = 4


def find_runtime_python(
    version: str, environ: Mapping[str, str] = os.environ, folders: Iterable[Path] | None = None
) -> Path:
    """The path of a Python of exactly `version`, such as "3.13".

    Looked at: the one that the variable LAMBDA_PYTHON names, and no other if it is set; python3.13 in the
    folders of PATH; pyenv, uv, mise, asdf and the usual folders (or `folders` instead of these). Each
    candidate is run, for what is called python3.13 may be a shim that leads nowhere.
    Raises RuntimePythonNotFound.
    """
    named = environ.get(NAMED_BY)
    if named:
        path = shutil.which(named, path=environ.get("PATH"))
        if path is None or _version(Path(path)) != version:
            raise RuntimePythonNotFound(
                f"{NAMED_BY} names {named}, which is no Python {version} that runs with its venv module"
            )
        return Path(path)
    others = _usual_folders(version, environ) if folders is None else folders
    on_path = (Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder)
    tried = []
    for folder in [*on_path, *others]:
        candidate = folder / f"python{version}"
        if not os.access(candidate, os.X_OK) or candidate in tried:
            continue
        if _version(candidate) == version:
            return candidate
        tried.append(candidate)
    failed = f" {', '.join(map(str, tried))} did not run." if tried else ""
    raise RuntimePythonNotFound(
        f"the built function needs Python {version}, as its Lambda runtime does; none was found on PATH, "
        f"in pyenv, uv, mise, asdf, /usr/local or /opt.{failed} Install one (`uv python install {version}`, "
        f"`pyenv install {version}` or your system's package python{version}), "
        f"or name one: {NAMED_BY}=/path/to/python{version}"
    )


def ensure_runtime(python: Path, lock: Path = LOCK, directory: Path = DIRECTORY) -> Path:
    """The Python of an environment, made by `python`, that holds what `lock` pins; built only when they
    changed.

    Installs with uv where this project's environment has it, else with pip. Raises RuntimePythonError where neither
    can.
    """
    runtime = directory / "bin" / "python"
    stamp = directory / "ready"
    wanted = hashlib.sha256(lock.read_bytes() + str(python).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and runtime.exists():
        return runtime
    print(f"installing {lock.name} into {directory.name} ...", file=sys.stderr)
    # Without pip of its own, for that would need ensurepip, which Debian packages apart.
    _run([str(python), "-m", "venv", "--clear", "--without-pip", str(directory)])
    uv = Path(sys.executable).with_name("uv")
    # Compiled, as in Lambda: otherwise every cold start would compile botocore first.
    by_uv = [str(uv), "pip", "install", "-q", "--compile-bytecode", "--python", str(runtime), "-r", str(lock)]
    by_pip = [sys.executable, "-m", "pip", "--python", str(runtime), "install", "-q", "-r", str(lock)]
    if not uv.exists():
        _run(by_pip)
    else:
        try:
            _run(by_uv)
        except RuntimePythonError:  # uv may not reach the index that pip is configured for
            _run(by_pip)
    stamp.write_text(wanted)
    return runtime


def main() -> int:
    """Make the environment ready ahead of time; where no such Python is found, say so, which is no error."""
    try:
        ensure_runtime(find_runtime_python(PYTHON_VERSION))
    except RuntimePythonNotFound as error:
        print(f"note: {error}", file=sys.stderr)
    except RuntimePythonError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _usual_folders(version: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Where version managers and installers put a Python, newest patch release first."""
    home = Path(environ.get("HOME", "/nonexistent"))
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield from (
        folder
        for parent, pattern in [
            (Path(environ.get("PYENV_ROOT") or home / ".pyenv"), f"versions/{version}*/bin"),
            (Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"), f"cpython-{version}*/bin"),
            (data / "mise" / "installs" / "python", f"{version}*/bin"),
            (home / ".asdf" / "installs" / "python", f"{version}*/bin"),
            (Path("/opt/hostedtoolcache/Python"), f"{version}*/*/bin"),
            (Path("/opt"), "python*/bin"),
            (Path("/opt/python"), f"{version}*/bin"),
        ]
        for folder in sorted(parent.glob(pattern), reverse=True)
    )
    yield from (Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin"), home / ".local" / "bin")


def _version(candidate: Path) -> str | None:
    """What version `candidate` says it is; None where it does not run or cannot make environments."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimePythonError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")


if __name__ == "__main__":
    sys.exit(main())
