"""Wheels for another Python and processor than this machine's: pip only unpacks them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from layers import PackagingError

PYTHON_VERSION = "3.13"  # Runtime of the functions in template.yaml

# The python3.13 runtime is Amazon Linux 2023, which has glibc 2.34; wheels for an older glibc run there too.
# pip takes only the tags that it is given, so all in use are listed; manylinux2014 is the older name of 2_17.
MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


@dataclass(frozen=True, slots=True)
class Target:
    """The Python and processor of wheels."""

    machine: str  # as in their tags: x86_64 or aarch64
    python: str = PYTHON_VERSION


ARCHITECTURE = "x86_64"  # template.yaml's default

# By Lambda's names, which template.yaml uses.
TARGETS = {"x86_64": Target("x86_64"), "arm64": Target("aarch64")}


def pip_command(requirements: Path, folder: Path, target: Target) -> list[str]:
    """The pip call that unpacks the wheels of `requirements` for `target` into `folder`.

    It runs this interpreter's pip, which takes the package index from the user's configuration.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command += ["--implementation", "cp", "--python-version", target.python]
    for tag in MANYLINUX:
        command += ["--platform", f"{tag}_{target.machine}"]
    return [*command, "--target", str(folder), "--requirement", str(requirements)]


def pip_install(requirements: Path, folder: Path, target: Target) -> None:
    """Unpack the wheels of `requirements` for `target` into `folder`. Raises PackagingError with pip's output."""
    print(f"pip downloads the wheels for {target.machine} (some 55 MB the first time) ...", flush=True)
    command = pip_command(requirements, folder, target)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise PackagingError(
            f"pip could not install the libraries in {requirements.name} for {target.machine} (exit status "
            f"{done.returncode}):\n{done.stdout.strip()}"
        )
