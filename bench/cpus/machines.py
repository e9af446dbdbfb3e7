"""The CPUs that are compared, and what it takes to have them here. QEMU's user mode emulates the instructions of
another CPU; what the emulated program asks onnxruntime's kernels to be chosen by, CPUID and the auxiliary vector,
is that CPU's."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# What these flags of /proc/cpuinfo have in common: U8S8 products summed in 32 bits, without saturation.
_VNNI = {"avx512_vnni": "AVX512 VNNI", "avx_vnni": "AVX VNNI"}


class MissingTools(Exception):
    """An emulator, or what prepares one, is not installed; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One CPU. `cpu` is QEMU's name for it, None where the program runs natively."""

    name: str
    title: str  # for the table
    architecture: str  # x86_64 or aarch64
    cpu: str | None = None
    share: float = 1.0  # of the photographs; slow or exotic CPUs get fewer
    cpuinfo: str = ""  # /proc/cpuinfo of an arm64 CPU, which QEMU 7 does not emulate


def _arm_cpuinfo(features: str, part: str, variant: str, revision: str) -> str:
    """One core as arm64's Linux prints it (arch/arm64/kernel/cpuinfo.c); implementer 0x41 is Arm."""
    lines = {
        "processor": "0",
        "BogoMIPS": "243.75",
        "Features": features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": variant,
        "CPU part": part,
        "CPU revision": revision,
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n"


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_ARMV8_2 = f"{_ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
_ARMV8_4 = f"{_ARMV8_2} jscvt fcma sha3 sha512 sve asimdfhm i8mm bf16"

EMULATED = (
    Machine("x86_64-avx2", "x86_64 AVX2 without VNNI (Haswell)", "x86_64", "Haswell"),
    Machine(
        "arm64-dot",
        "arm64 dot products (Neoverse N1, Graviton2)",
        "aarch64",
        "neoverse-n1",
        cpuinfo=_arm_cpuinfo(_ARMV8_2, "0xd0c", "0x3", "1"),
    ),
    Machine(
        "arm64-i8mm",
        "arm64 I8MM and SVE (QEMU max, as Graviton3)",
        "aarch64",
        "max",
        share=0.2,
        cpuinfo=_arm_cpuinfo(_ARMV8_4, "0xd40", "0x1", "1"),
    ),
    Machine(
        "arm64-neon",
        "arm64 NEON only (Cortex-A57)",
        "aarch64",
        "cortex-a57",
        share=0.2,
        cpuinfo=_arm_cpuinfo(_ARMV8, "0xd07", "0x1", "0"),
    ),
)


def native(cpuinfo: str) -> Machine:
    """This CPU, described from the text of its /proc/cpuinfo."""
    model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.+)$", cpuinfo, re.MULTILINE)
    vnni = [title for flag, title in _VNNI.items() if flags and flag in flags[1].split()]
    title = f"{model[1].strip() if model else platform.machine()}, native, {' and '.join(vnni) or 'without VNNI'}"
    return Machine("native", title, platform.machine())


def require_tools(which: Callable[[str], str | None] = shutil.which, machine: str = platform.machine()) -> None:
    """Raises MissingTools, which says what to install, unless all CPUs can be emulated here."""
    if machine != "x86_64":
        raise MissingTools(
            f"verify-cpus compares with x86_64 as it is, and this machine is {machine}: run it on x86_64 Linux"
        )
    packages = {
        "qemu-x86_64": "qemu-user",
        "qemu-aarch64": "qemu-user",
        "apt-get": "apt",
        "dpkg-deb": "dpkg",
    }
    missing = [tool for tool in packages if which(tool) is None]
    if not missing:
        return
    if {"apt-get", "dpkg-deb"} & set(missing):
        raise MissingTools(
            f"{' and '.join(missing)} not found: the arm64 Python is unpacked from Debian's packages, so verify-cpus "
            "needs a Debian or Ubuntu (in a container, for instance)"
        )
    wanted = " ".join(sorted({packages[tool] for tool in missing}))
    raise MissingTools(f"{' and '.join(missing)} not found. Install what is missing: sudo apt-get install {wanted}")
