"""How much of the memory that we may use is used: the container's limit, not the machine's.

cgroup v2 keeps `memory.max` and `memory.current` in the group's folder, v1 has other names; page
cache that can be dropped (`inactive_file`) is not counted, as Kubernetes does.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

_ROOT: Final = Path("/sys/fs/cgroup")

_ENDLESS: Final = 1 << 60
"""cgroup v1 writes "no limit" as a number near the largest."""


class MemoryUse:
    """Reads the limit anew each time: it can be changed while we run."""

    HOLD: ClassVar[float] = 0.9
    """Above this share the youngest job is held: the kernel would otherwise kill one of us."""
    BACK: ClassVar[float] = 0.75

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
        return None if text == "max" or int(text) >= _ENDLESS else int(text)

    def used(self) -> int:
        """Bytes that cannot be given back without asking us."""
        try:
            current = int(self._files[1].read_text("ascii"))
            lines = self._files[2].read_text("ascii").splitlines()
        except OSError:
            return 0
        names = dict(line.split() for line in lines)
        cache = names.get("total_inactive_file", names.get("inactive_file", "0"))
        return max(0, current - int(cache))

    def share(self) -> float:
        """From 0 to 1; 0 where there is no limit."""
        limit = self.limit()
        return 0.0 if not limit else self.used() / limit
