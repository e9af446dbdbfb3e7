"""The CPUs of the comparison, and the tools that emulate them.

QEMU's user mode emulates the instructions, CPUID and auxiliary vector of another CPU, by which onnxruntime chooses its
kernels.
"""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from bench.cpus import VerifyError
from evaluation.processor import this_processor


class MissingTools(VerifyError):
    """A tool is not installed; the message says what to install."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Machine:
    """One CPU. `cpu` is QEMU's name for it, None for this machine's own."""

    name: str
    title: str  # for the table
    architecture: str  # x86_64 or aarch64
    cpu: str | None = None
    share: float = 1.0  # of the photographs; slow or rare CPUs get fewer
    cpuinfo: str = ""  # /proc/cpuinfo of an arm64 CPU, which QEMU 7 does not emulate


def _arm(name: str, title: str, cpu: str, features: str, part: str, version: str, share: float = 1.0) -> Machine:
    """An arm64 CPU with one core, in the format of Linux (arch/arm64/kernel/cpuinfo.c); implementer 0x41 is Arm."""
    variant, revision = version.split(".")
    cpuinfo = (
        f"processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture\t: 8\n"
        f"CPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n"
    )
    return Machine(name, title, "aarch64", cpu, share, cpuinfo)


_V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_V8_2 = f"{_V8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
_V8_4 = f"{_V8_2} jscvt fcma sha3 sha512 sve asimdfhm i8mm bf16"

EMULATED = (
    Machine("x86_64-avx2", "x86_64 AVX2 without VNNI (Haswell)", "x86_64", "Haswell"),
    _arm("arm64-dot", "arm64 dot products (Neoverse N1, Graviton2)", "neoverse-n1", _V8_2, "0xd0c", "0x3.1"),
    _arm("arm64-i8mm", "arm64 I8MM and SVE (QEMU max, as Graviton3)", "max", _V8_4, "0xd40", "0x1.1", share=0.2),
    _arm("arm64-neon", "arm64 NEON only (Cortex-A57)", "cortex-a57", _V8, "0xd07", "0x1.0", share=0.2),
)


def native(name: str, vnni: bool | None) -> Machine:
    """This CPU, from evaluation.processor."""
    return Machine("native", f"{name}, native, {'with' if vnni else 'without'} VNNI", platform.machine())


def this_machine() -> Machine:
    """This CPU."""
    return native(*this_processor())


def require_tools(which: Callable[[str], str | None] = shutil.which, machine: str = platform.machine()) -> None:
    """Raise MissingTools unless all CPUs can be emulated here."""
    if machine != "x86_64":
        raise MissingTools(f"verify-cpus compares with a native x86_64, this machine is {machine}: run it on x86_64")
    missing = [tool for tool in ("qemu-x86_64", "qemu-aarch64", "apt-get", "dpkg-deb") if which(tool) is None]
    names = " and ".join(missing)
    if {"apt-get", "dpkg-deb"} & set(missing):
        raise MissingTools(
            f"{names} not found: the arm64 Python is unpacked from Debian's packages, so verify-cpus needs a Debian or "
            "Ubuntu (in a container, for example)"
        )
    if missing:
        raise MissingTools(f"{names} not found. Install the emulators: sudo apt-get install qemu-user")
