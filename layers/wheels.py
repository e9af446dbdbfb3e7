"""The wheels of a Python and a processor that need not be this machine's: pip only unpacks them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PYTHON_VERSION = "3.13"  # Runtime of the functions in template.yaml

# The python3.13 runtime is Amazon Linux 2023, which has glibc 2.34; wheels for an older glibc run there too.
# pip takes only the tags that it is given, so every one in use is listed; manylinux2014 is 2_17's older name.
MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


class PackagingError(Exception):
    """A layer cannot be made, or is too large; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels are fetched for."""

    machine: str  # as their tags call it: x86_64 or aarch64
    python: str = PYTHON_VERSION


# By the names that Lambda and template.yaml use.
TARGETS = {"x86_64": Target("x86_64"), "arm64": Target("aarch64")}


def pip_command(requirements: Path, folder: Path, target: Target) -> list[str]:
    """The pip call that unpacks the wheels of `requirements` for `target` into `folder`.

    pip is this interpreter's own, and takes the package index from the user's pip configuration.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
    command += ["--implementation", "cp", "--python-version", target.python]
    for tag in MANYLINUX:
        command += ["--platform", f"{tag}_{target.machine}"]
    return [*command, "--target", str(folder), "--requirement", str(requirements)]


def pip_install(requirements: Path, folder: Path, target: Target) -> None:
    """Unpack the wheels of `requirements` for `target` into `folder`. PackagingError with pip's words if it fails."""
    print(f"pip fetches the wheels for {target.machine} (some 55 MB the first time) ...", flush=True)
    done = subprocess.run(
        pip_command(requirements, folder, target),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PackagingError(
            f"pip could not fetch the libraries in {requirements.name} for {target.machine} (exit status "
            f"{done.returncode}):\n{done.stdout.strip()}"
        )
