"""What /proc tells of the processes that the runtime emulator starts. See proc(5)."""

from __future__ import annotations

import re
from pathlib import Path


def session_of(leader: int) -> list[int]:
    """Processes of the session that `leader` began, itself not; none where there is no /proc."""
    return [pid for pid, session in _processes("sid") if session == leader and pid != leader]


def peak_bytes(parent: int) -> int | None:
    """Most resident memory that the child of `parent` has held so far; None where there is no /proc."""
    for pid, its_parent in _processes("ppid"):
        if its_parent == parent:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            return 1024 * int(peak[1]) if peak else None
    return None


def _processes(field: str) -> list[tuple[int, int]]:
    """(process id, its parent or session) of all processes; proc(5), /proc/PID/stat."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # the name before may hold anything
        except OSError:
            continue  # ended meanwhile
        found.append((int(stat.parent.name), int(fields[{"ppid": 1, "sid": 3}[field]])))
    return found
