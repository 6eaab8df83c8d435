"""Record the calls into a package, page by page, in a crawl and in its parse processes.

`url_walk.py` calls `install` from a `sitecustomize` module, so that every Python process of a crawl
runs it first. The calls of a crawl's own process are divided into records where it was
silent, those of a parse process by the batches that it receives. Each record is one line of JSON.
Standard library only: it must not import what it measures.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

START: Final = 0
"""The lowest two bits of RESUME's argument where a function begins, not after yield or await."""

INLINED: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<module>"})
"""Not counted: comprehensions have no frame from Python 3.12 on, modules run once."""

SILENCE_S: Final = 0.1
"""Seconds without a call after which a record of the main process begins: with the default delay
between two requests to a host, a quarter of a second, it is one visit."""

EXECUTOR: Final = "_process_worker"
"""The function of `concurrent.futures` that calls ours with a batch in a parse process."""


class CallRecorder:
    """A profile function for `sys.setprofile`; writes its records into `folder`."""

    def __init__(self, package: Path, folder: Path, role: str) -> None:
        self._package = f"{package}{os.sep}"
        self._file = (folder / f"{role}-{os.getpid()}.jsonl").open("a", encoding="utf-8")
        self._main = role == "main"
        self._names: dict[CodeType, tuple[str, str, bytes] | None] = {}
        self._walk: list[tuple[str, str]] = []
        self._resumes = 0
        self._last = time.monotonic()

    def start(self) -> None:
        """Record this thread from now on, and threads that start later."""
        if self._main:
            atexit.register(self._flush)
        threading.setprofile(self)
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        try:
            ours = self._names[code]
        except KeyError:
            ours = self._names[code] = self._name(code)
        if ours is None:
            return
        file, function, instructions = ours
        if instructions[frame.f_lasti + 1] & 3 != START:
            self._resumes += 1
            return
        if self._begins(frame.f_back):
            self._flush()
        self._walk.append((file, function))

    def _name(self, code: CodeType) -> tuple[str, str, bytes] | None:
        if not code.co_filename.startswith(self._package) or code.co_name in INLINED:
            return None
        file = Path(code.co_filename.removeprefix(self._package)).as_posix()
        return file, code.co_qualname, code.co_code

    def _begins(self, caller: FrameType | None) -> bool:
        if not self._main:
            return caller is not None and caller.f_code.co_name == EXECUTOR
        last, self._last = self._last, time.monotonic()
        return self._last - last > SILENCE_S

    def _flush(self) -> None:
        walk, self._walk = self._walk, []
        resumes, self._resumes = self._resumes, 0
        self._file.write(json.dumps({"walk": walk, "resumes": resumes}) + "\n")
        self._file.flush()  # a parse process ends without closing its files


def install(package: str, folder: str) -> None:
    """Record this process if it is the crawl, and its children if it is the fork server."""
    words = " ".join(sys.orig_argv)
    if "multiprocessing.forkserver" in words:
        os.register_at_fork(
            after_in_child=lambda: CallRecorder(Path(package), Path(folder), "parse").start()
        )
    elif "-m crawler crawl" in words:
        CallRecorder(Path(package), Path(folder), "main").start()
