"""Whose fault an unexpected exception is: one link's, the engine's, or the machine's. Pure.

    one link's       anything that our code raises between the lease of a link and its commit:
                     that visit fails, `internal:NAME`, and the crawl goes on
    the engine's     raised inside the frontier, whose state nobody can trust any more: the crawl
                     ends, loudly (decision 0098)
    the machine's    no memory, no room on the disk, no file descriptor, no thread left: the crawl
                     ends with a sentence, and can be resumed

A visit is the unit because a link is: what one URL or one answer makes us stumble over would make
every `resume` stumble again.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from crawler.errors import CrawlerError, FatalError

REASON: Final = "internal"
"""First word of the reason of a visit that failed by a fault of this program."""

DIED: Final = f"{REASON}:process-died"
"""The reason of a link that is not visited, because the process died with it twice."""

DEADLY: Final = 2
"""Deaths of the process with a link in hand, the second time alone, that are no chance."""

_ENGINE: Final = ("crawler.frontier.", "crawler.service.")
"""Modules whose faults are never a visit's."""

_EXHAUSTED: Final = frozenset(
    {
        errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE,
        errno.ENFILE, errno.EAGAIN,
    }
)  # fmt: skip


def machine_fault(error: BaseException) -> str | None:
    """A sentence on what the machine has run out of; None: it is not the machine's fault."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        if error.errno == errno.EAGAIN:  # fork and clone say so at the limit of `ulimit -u`
            return "no more processes: a limit of this user or container is reached"
        said = os.strerror(error.errno)
        return f"{error.filename}: {said}" if error.filename else said
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG and error.filename:
        return f"{error.filename}: {os.strerror(errno.ENAMETOOLONG)}"
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written to: set TMPDIR to one"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no more threads: a limit of processes or of memory is reached"
    return None


def is_of_visit(error: Exception) -> bool:
    """Whether an exception that came out of a visit is that link's alone."""
    if isinstance(error, FatalError) or machine_fault(error) is not None:
        return False
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_ENGINE):
            return False
        trace = trace.tb_next
    return True


def is_our_bug(error: Exception) -> bool:
    """Whether an exception that ended a crawl was raised by this package, or by a library that it
    called. Not one of ours that says what is wrong; nor one of who uses the package, in a sink or
    in the block that has the crawl open.
    """
    if isinstance(error, CrawlerError) or machine_fault(error) is not None:
        return False
    import site  # noqa: PLC0415 - an error's cost only
    import sysconfig  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    libraries = (sysconfig.get_path("stdlib"), *site.getsitepackages())
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if str(frame.f_globals.get("__name__", "")).startswith("crawler."):
            return True
        if not frame.f_code.co_filename.startswith(libraries):
            return False
    return False


def reason_of(error: Exception) -> str:
    """The reason of a visit that failed by this exception."""
    return f"{REASON}:{type(error).__name__}"


def told(error: Exception) -> str:
    """What was raised and where, in one line."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] == "crawler":
            place = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    said = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {said} ({place})"
