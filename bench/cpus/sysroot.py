"""An arm64 Python with the layer's libraries, for QEMU's user mode.

Nothing is installed on this machine: apt uses folders of its own, needs no root and no foreign architecture in dpkg,
and the packages are only unpacked.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.cpus import VerifyError
from bench.cpus.machines import Machine
from layers.packing import REQUIREMENTS
from layers.wheels import Target, pip_install

PACKAGES = ("python3", "libstdc++6")  # the interpreter, and a library of onnxruntime; apt adds their dependencies


def prepare(folder: Path, requirements: Path = REQUIREMENTS) -> Path:
    """Make `folder`, with the system in root/ and the wheels in site/, unless it is up to date with `requirements`.

    Returns the path of its Python. Raises VerifyError, PackagingError.
    """
    current = hashlib.sha256(requirements.read_bytes() + json.dumps(PACKAGES).encode()).hexdigest()
    stamp = folder / "ready"
    if not (stamp.is_file() and stamp.read_text().strip() == current):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "root").mkdir(parents=True)
        print("arm64: apt downloads a Python (25 MB, into build/cpus only) ...", flush=True)
        _unpack_packages(folder / "root")
        version = _python(folder).name.removeprefix("python")
        pip_install(requirements, folder / "site", Target("aarch64", version))
        stamp.write_text(current + "\n")
    return _python(folder)


def cpu_root(folder: Path, machine: Machine) -> Path:
    """The system of `prepare` as seen on one CPU: QEMU reads files from here before the machine's own.

    onnxruntime reads /proc/cpuinfo and the number of cores from /sys. QEMU 7 shows it those of the x86 host, which
    ends in a segmentation fault.
    """
    root = folder / "cpus" / machine.name
    shutil.rmtree(root, ignore_errors=True)
    cores = root / "sys" / "devices" / "system" / "cpu"
    for parent in (root / "proc", cores):
        parent.mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(machine.cpuinfo)
    for name in ("possible", "present"):
        (cores / name).write_text("0\n")
    for entry in (folder / "root").iterdir():
        if entry.name not in ("proc", "sys"):
            (root / entry.name).symlink_to(os.path.relpath(entry, root))
    return root


def _unpack_packages(root: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        apt = Path(temporary)
        for name in ("state/lists/partial", "cache/archives/partial", "log"):
            (apt / name).mkdir(parents=True)
        (apt / "status").touch()  # nothing is installed, so apt downloads all dependencies
        (apt / "apt.conf").write_text(
            'APT::Architecture "arm64"; APT::Architectures { "arm64"; }; APT::Install-Recommends "false";\n'
            f'APT::Sandbox::User ""; Dir::Log "{apt}/log"; Dir::State "{apt}/state"; Dir::Cache "{apt}/cache";\n'
            f'Dir::State::status "{apt}/status"; Debug::NoLocking "true";\n'
        )
        _run(["apt-get", "update", "--quiet"], apt / "apt.conf")
        _run(["apt-get", "install", "--yes", "--download-only", *PACKAGES], apt / "apt.conf")
        for package in sorted((apt / "cache" / "archives").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(root)])
    link_lib(root)


def link_lib(root: Path) -> None:
    """Let /lib lead to /usr/lib, where Debian 13 keeps the loader. The link is in base-files, which is not unpacked."""
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")


def _run(command: list[str], apt_config: Path | None = None) -> None:
    environment = {**os.environ, **({"APT_CONFIG": str(apt_config)} if apt_config else {})}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise VerifyError(
            f"`{' '.join(command[:3])} ...` failed (exit status {done.returncode}) while downloading an arm64 Python; "
            f"the package sources must offer arm64:\n{done.stdout.strip()[-2000:]}"
        )


def _python(folder: Path) -> Path:
    """The interpreter, not Debian's link to it: its name contains the version."""
    return (folder / "root" / "usr" / "bin" / "python3").resolve()
