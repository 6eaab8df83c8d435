"""The fork server, from which the parse processes come: started early, with the reader loaded.

Imports nothing of the pool's: what starts first is what everything else is loaded beside.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from multiprocessing import forkserver
from types import ModuleType
from typing import Final

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
    before = {name: os.environ.get(name) for name in MALLOC}
    os.environ.update(MALLOC)
    try:
        forkserver.set_forkserver_preload(["crawler.parse.preload"])
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
