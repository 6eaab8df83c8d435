"""The memory of a process and all that it started, as Linux counts it."""

from __future__ import annotations

import asyncio
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and its descendants; those that end meanwhile are left out."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def memory(pid: int) -> int:
    """Resident bytes of the whole tree; a page that several share counts for each."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total


class Peak:
    """Looks every 20 ms until it is cancelled."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid

    async def watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, memory(self._pid))
            await asyncio.sleep(0.02)
