"""How much CPU other processes have used, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class CpuClock:
    """Sums the CPU of processes that come and go, from the first look at each on.

    What a process used before that is its start, and no work on pages.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}  # by process id: at first, at last

    def look(self, pids: Iterable[int]) -> float:
        """Seconds of CPU (user and system) of all processes seen so far; 0.0 where the system does
        not tell (no /proc).
        """
        for pid in pids:
            used = _used(pid)
            if used is not None:
                first, _ = self._seen.get(pid, (used, used))
                self._seen[pid] = first, used
        return sum(last - first for first, last in self._seen.values())


def _used(pid: int) -> float | None:
    """proc(5), fields 14 and 15 of stat; None: it is gone, or not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
