"""The fork server, from which the parse processes come: started early, with the reader loaded.

What the executor takes from multiprocessing for one process each is made here too, without the
locks between processes that it would need for several.

Imports nothing of the pool's: what starts first is what everything else is loaded beside.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from types import ModuleType
from typing import Any, Final

from crawler.utils.parent_death import safe_path

MALLOC: Final = {
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_TOP_PAD_": "16777216",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
}
"""glibc gives the heap back after each page otherwise: 50 % of the time on small pages."""


def warm() -> None:
    """Start the fork server, which then loads the reader on its own; returns at once.

    Whoever opens a pool later waits for less.
    """
    with fork_server():
        pass


@contextlib.contextmanager
def fork_server() -> Iterator[None]:
    """See that the fork server runs, with our modules loaded and glibc told to keep its heap."""
    chosen = MALLOC | safe_path()
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    try:
        forkserver.set_forkserver_preload(["crawler.parse.workers.preload"])
        with warnings.catch_warnings():
            # The resource tracker was killed, and is started again: it has nothing of ours.
            warnings.filterwarnings("ignore", "resource_tracker: process died", UserWarning)
            with _somewhere():
                with main_hidden():
                    forkserver.ensure_running()
                yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _somewhere() -> Iterator[None]:
    """Be at `/` meanwhile if the working directory was removed: multiprocessing asks for its name.

    What is relative finds nothing before, meanwhile or afterwards.
    """
    try:
        os.getcwd()  # noqa: PTH109 - only whether there is one
    except FileNotFoundError:
        gone = os.open(".", os.O_RDONLY)
        try:
            os.chdir("/")
            yield
        finally:
            os.fchdir(gone)
            os.close(gone)
    else:
        yield


@contextlib.contextmanager
def main_hidden() -> Iterator[None]:
    """Start processes that do not import the user's script: a script without a `__main__` guard
    would start a crawl in each of them, and a notebook has no script at all.
    """
    main = sys.modules.get("__main__")
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        if main is not None:
            sys.modules["__main__"] = main


class OneProcess(ForkServerContext):
    """What a `ProcessPoolExecutor` of one process makes its queues of.

    Each end of both pipes has one user then: the executor's threads on this side, which a lock of
    threads keeps apart, and the process on the other. A lock between processes would be a named
    semaphore, which needs a writable /dev/shm, and which a process that is killed while it holds
    it never gives back.
    """

    def Lock(self) -> Any:  # noqa: N802 - the name of the method that is replaced
        return _Lock()

    def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802, ARG002
        """Of calls that wait in the pipe: the pool sends two at most, so nothing counts them."""
        return _Unbounded()


class _Lock:
    """A lock of threads; the process that it is sent to gets one of its own."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire, self.release = lock.acquire, lock.release

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> tuple[type[_Lock], tuple[()]]:
        return _Lock, ()


class _Unbounded:
    """A semaphore that never makes anyone wait."""

    def __init__(self) -> None:
        self._semlock = self  # as multiprocessing's own have one, which its queue asks

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: ARG002
        return True

    def release(self) -> None: ...

    def _is_zero(self) -> bool:
        return False

    def __reduce__(self) -> tuple[type[_Unbounded], tuple[()]]:
        return _Unbounded, ()
