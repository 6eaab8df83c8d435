"""Memory use as a share of the limit of the container (cgroup), not of the machine.

cgroup v2 has the files `memory.max` and `memory.current`, v1 has other names. Page cache that can
be dropped (`inactive_file`) is not counted, as in Kubernetes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Final

_ROOT: Final = Path("/sys/fs/cgroup")

_NO_LIMIT_MIN: Final = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2⁶³; values from here on mean it."""


class MemoryUse:
    """Reads the limit on each call, because it can be changed while the service runs."""

    HOLD_SHARE: ClassVar[float] = 0.9
    """Above this share the youngest job is held: otherwise the kernel would kill a process."""
    RESUME_SHARE: ClassVar[float] = 0.75
    """Below this share held jobs resume."""

    def __init__(self, root: Path = _ROOT) -> None:
        v2 = root / "memory.max"
        v1 = root / "memory"
        if v2.exists():
            self._files = (v2, root / "memory.current", root / "memory.stat")
        else:
            self._files = (
                v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat",
            )  # fmt: skip

    def limit(self) -> int | None:
        """Bytes; None: there is no limit, or no cgroup."""
        try:
            text = self._files[0].read_text("ascii").strip()
        except OSError:
            return None
        return None if text == "max" or int(text) >= _NO_LIMIT_MIN else int(text)

    def used(self) -> int:
        """Bytes in use, without page cache that the kernel can drop."""
        try:
            current = int(self._files[1].read_text("ascii"))
            lines = self._files[2].read_text("ascii").splitlines()
        except OSError:
            return 0
        stat = dict(line.split() for line in lines)
        cache = stat.get("total_inactive_file", stat.get("inactive_file", "0"))
        return max(0, current - int(cache))

    def share(self) -> float:
        """Used share of the limit, from 0 to 1; 0 without a limit."""
        limit = self.limit()
        return 0.0 if not limit else self.used() / limit


def resident_memory() -> int:
    """Resident memory of this process in bytes; 0 when unknown."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError, IndexError):
        return 0
