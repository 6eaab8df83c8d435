"""Which links were in hand when a run died of them, so that no link can end every resume.

    frontier.hand     a number for each link on lease, in memory that outlives the process (mmap):
                      half a microsecond a link, no system call
    frontier.crash    what the command line's fault handler writes when a signal ends the process

A run that is killed from outside, by `kill -9` or a power cut, died of nothing that it had in hand:
its links are blamed for nothing (decision 0100). One that ended by a bug in the engine, by a signal
of its own (SIGSEGV, SIGABRT …) or by the kernel's out-of-memory killer may have.
"""

from __future__ import annotations

import contextlib
import mmap
import zlib
from pathlib import Path
from typing import Final

from crawler.errors import FrontierError

HAND: Final = ".hand"
CRASH: Final = ".crash"

SLOTS: Final = 4096
"""Links in hand that are noted; more are not at fault more often than others."""

_HEAD: Final = 3  # cells before them: out-of-memory kills so far + 1, the boot, a bug


class CrashSuspects:
    """The links on lease, by number: a link's id, or minus its host's for a robots.txt."""

    def __init__(self, path: Path) -> None:
        """`path`: the frontier's file, which the others lie beside. Raises FrontierError."""
        self._path = path.with_suffix(HAND)
        self._crash = path.with_suffix(CRASH)
        self.suspects = self._left_behind()
        size = 8 * (_HEAD + SLOTS)
        try:
            with self._path.open("wb+") as file:
                file.truncate(size)
                self._memory = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise FrontierError(f"{self._path}: {error.strerror}") from error
        self._cells = memoryview(self._memory).cast("q")
        self._cells[0], self._cells[1] = _killed() + 1, _boot()
        self._free = list(range(_HEAD, _HEAD + SLOTS))
        self._slots: dict[int, int] = {}

    def take(self, number: int) -> None:
        """The link goes out."""
        if self._free:
            slot = self._slots[number] = self._free.pop()
            self._cells[slot] = number

    def drop(self, number: int) -> None:
        """The link was settled, or goes back."""
        slot = self._slots.pop(number, None)
        if slot is not None:
            self._cells[slot] = 0
            self._free.append(slot)

    def close(self, *, bug: bool) -> None:
        """The run ends; `bug`: of one in the engine."""
        self._cells[2] = bug
        self._cells.release()
        self._memory.close()
        if not bug:
            self._path.unlink(missing_ok=True)

    def _left_behind(self) -> list[int]:
        """What the last run had in hand when it died, if it died of what it had in hand."""
        try:
            cells = memoryview(self._path.read_bytes()).cast("q")
        except (OSError, TypeError):  # it ended well, or the file is none
            return []
        with contextlib.suppress(OSError):
            if self._crash.stat().st_size:
                return [number for number in cells[_HEAD:] if number]
        starved = bool(cells[0]) and cells[1] == _boot() and _killed() + 1 > cells[0]
        return [number for number in cells[_HEAD:] if number] if cells[2] or starved else []


def _killed() -> int:
    """Processes that the kernel has killed for want of memory since it started (Linux)."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _boot() -> int:
    """A number for this start of the machine."""
    with contextlib.suppress(OSError):
        return zlib.crc32(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    return 0
