"""What a command and everything it starts costs: `python -m crawler.bench.meter OUT LIMIT COMMAND…`

CPU time is exact, not sampled: this process adopts what its children leave behind (Linux,
PR_SET_CHILD_SUBREAPER) and the kernel adds up what it has waited for. Memory is sampled: the sum of
proportional set sizes, so that pages shared between processes count once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Final

import msgspec
import psutil

SAMPLE_INTERVAL_S: Final = 0.1  # seconds between samples of memory and threads
CHILD_GRACE_S: Final = 5.0  # seconds that children may outlive the command
PR_SET_CHILD_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER, <linux/prctl.h>
EXIT_TIMEOUT: Final = 124  # the exit code of a command that took too long, as of coreutils' timeout


class ProcessCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of a whole process tree, start-up included. Seconds; bytes. `code` is the command's own."""

    code: int
    wall: float
    user: float
    system: float
    memory: int  # the peak of the sum
    processes: int  # most at a time
    threads: int  # most at a time
    switches: int  # voluntary: it waited
    preempted: int  # involuntary: another was let in


class ProcessWatcher:
    """Samples the tree below this process, and ends it when its time is up."""

    def __init__(self, limit: float) -> None:
        self.memory = self.processes = self.threads = 0
        self.late = False
        self._end = time.monotonic() + limit
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(SAMPLE_INTERVAL_S):
            tree = me.children(recursive=True)
            memory = threads = processes = 0
            for one in tree:
                with contextlib.suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
                    memory += _memory(one)
                    threads += one.num_threads()
                    processes += 1
            self.memory = max(self.memory, memory)
            self.threads = max(self.threads, threads)
            self.processes = max(self.processes, processes)
            if time.monotonic() > self._end:
                self.late = True
                kill(tree)


def _memory(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", 0) or full.rss)


def kill(tree: Sequence[psutil.Process]) -> None:
    """End processes; those that have ended already are fine."""
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def measure(command: Sequence[str], limit: float) -> ProcessCost:
    """Run a command and wait for it and all its descendants. OSError when it cannot be started."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    child = subprocess.Popen(command)  # noqa: S603 - what the benchmark asks for
    watcher = ProcessWatcher(limit)
    code: int | None = None
    wall, end = 0.0, float("inf")
    try:
        while True:
            try:
                pid, status = os.waitpid(-1, 0 if code is None else os.WNOHANG)
            except ChildProcessError:
                break  # no child is left
            if pid == child.pid:
                wall = time.monotonic() - began
                code = child.returncode = os.waitstatus_to_exitcode(status)
                end = time.monotonic() + CHILD_GRACE_S
            elif not pid:
                if time.monotonic() > end:
                    kill(psutil.Process().children(recursive=True))
                time.sleep(0.005)
    finally:
        watcher.stop()
        kill(psutil.Process().children(recursive=True))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert code is not None
    return ProcessCost(
        code=EXIT_TIMEOUT if watcher.late else code,
        wall=wall,
        user=used.ru_utime,
        system=used.ru_stime,
        memory=watcher.memory,
        processes=watcher.processes,
        threads=watcher.threads,
        switches=used.ru_nvcsw,
        preempted=used.ru_nivcsw,
    )


def main(out: str, limit: str, *command: str) -> int:
    """Measure, write the Cost as JSON, and exit as the command did."""
    cost = measure(command, float(limit))
    Path(out).write_bytes(msgspec.json.encode(cost))
    return max(0, cost.code) if cost.code >= 0 else 128 - cost.code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
