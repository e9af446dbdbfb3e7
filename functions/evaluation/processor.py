"""What the figures were measured on."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def processor(cpuinfo: str, fallback: str) -> tuple[str, bool | None]:
    """Name of the processor in the text of /proc/cpuinfo, `fallback` where it has none, and whether it has VNNI.

    VNNI: the instructions for INT8, AVX512_VNNI or AVX_VNNI. None where no flags of x86 are listed.
    """
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    vnni = bool({"avx512_vnni", "avx_vnni"} & set(flags[1].split())) if flags else None
    return (name[1].strip() if name else fallback), vnni


def this_processor() -> tuple[str, bool | None]:
    """That of the machine we are on."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    return processor(cpuinfo, platform.machine() or "unknown")
