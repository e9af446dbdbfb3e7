"""The processor that figures were measured on."""

import platform
import re
from pathlib import Path


def this_processor() -> tuple[str, bool | None]:
    """Name of this machine's processor, and whether it has VNNI, the instructions for INT8; None if unknown."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    return processor(cpuinfo, platform.machine() or "unknown")


def processor(cpuinfo: str, fallback: str) -> tuple[str, bool | None]:
    """The same from the text of /proc/cpuinfo. `fallback` is the name if the text has none.

    Both AVX512_VNNI and AVX_VNNI count. The text of a processor that is not x86 has no flags: None.
    """
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    vnni = bool({"avx512_vnni", "avx_vnni"} & set(flags[1].split())) if flags else None
    return (name[1].strip() if name else fallback), vnni
