"""What runs inside a parse process: one reader, a deadline and a memory limit for each page."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Final

import msgspec

from crawler.errors import ParseError
from crawler.parse.reader import PageReader
from crawler.parse.temp_files import spooled
from crawler.parse.workers.countdown import Overdue, kept_waiting, used
from crawler.parse.workers.reader_settings import ReaderSettings, Result, Task
from crawler.records import Kind, Page, ParsedPage

if TYPE_CHECKING:
    from crawler.parse.warc_builder import WarcBuilder

CPU_SLACK: Final = 2.0
"""Seconds of CPU beyond the deadline after which the kernel ends a process that never came back."""

TICK: Final = 0.25
"""Seconds between two looks at how long a page has taken. Most pages never see one."""

LARGE: Final = 512 * 1024
"""Bytes of a page after which freed memory goes back to the system; on small pages it is kept."""

SERVER: Final = os.getpid()
"""The process that loaded this first: in a parse process, the fork server."""

PR_SET_PDEATHSIG: Final = 1
"""Of prctl(2): the signal that a process gets when its parent dies."""

_reader: PageReader
_archivist: WarcBuilder | None
_deadline: float
_spool: Path | None
_cpu_limit = 0  # seconds
_left = 0.0  # seconds that the page may still take
_looked = (0.0, 0.0)  # when that was last counted: monotonic seconds, seconds of CPU
_kept = 0.0  # seconds for which a CPU was waited for, at the last look


def start(rules: ReaderSettings) -> None:
    """Make this process a parse process. Runs once in it."""
    global _reader, _archivist, _deadline, _spool  # noqa: PLW0603 - a worker process is the one place for state like this
    _die_with_server()
    Thread(target=_die_with_crawl, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the loop decides
    signal.signal(signal.SIGALRM, _overdue)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = rules.parse.memory
    if hard != resource.RLIM_INFINITY:
        memory = min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    _deadline = rules.parse.deadline
    _spool = rules.spool
    _reader = PageReader(rules)
    _archivist = rules.archivist


def read_batch(tasks: Sequence[Task], adopted: Sequence[str] = ()) -> list[Result]:
    """Read pages one after another; what goes wrong with one is its own result."""
    if adopted:
        _reader.adopt(adopted)
    results = []
    for task in tasks:
        results.append(_read(*task))
        body = task[0].body
        if isinstance(body, Path) or len(body) > LARGE or _swelled(results[-1]):
            _give_back()
    return results


def _read(page: Page, reading: bool) -> Result:
    try:
        _arm()
        try:
            extract = _reader.read(page.link, page.headers, page.body) if reading else ParsedPage()
            if reading and page.link.kind is Kind.ROBOTS:
                return extract
            extract = _laid_aside(extract)
            if _archivist is None:
                return extract
            return msgspec.structs.replace(extract, kept=_archivist.keep(page))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except ParseError as error:
        return error
    except Overdue:
        return ParseError("deadline", f"more than {_deadline:g} s")
    except MemoryError:
        return ParseError("memory")
    except OSError as error:  # the spooled body is gone
        return ParseError("body", error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - a page that trips a parser's bug fails alone
        first = (str(error).splitlines() or [""])[0][:200]
        return ParseError("error", f"{type(error).__name__}: {first}")


def _laid_aside(extract: ParsedPage) -> ParsedPage:
    """A large body goes to its sink by way of a file: megabytes a page would wait in the crawl's
    memory for their commit. Raises ParseError(SPOOL).
    """
    body = extract.body
    if _spool is None or not isinstance(body, bytes) or len(body) <= LARGE:
        return extract
    return msgspec.structs.replace(extract, body=spooled(_spool, ".kept", [body]))


def _give_back() -> None:
    """Return free memory to the system, where the C library can: one page in hundreds, 1 ms."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _swelled(result: Result) -> bool:
    """Whether a page was much larger than what came over the wire."""
    return isinstance(result, ParseError) or result.bytes_body > LARGE


def _arm() -> None:
    """Two clocks: a signal that Python code sees, and CPU seconds that C code cannot outstay."""
    global _cpu_limit, _left, _looked  # noqa: PLW0603 - this process reads one page at a time
    cpu = time.process_time()
    _left, _looked = _deadline, (time.monotonic(), cpu)
    tick = min(TICK, _deadline)
    signal.setitimer(signal.ITIMER_REAL, tick, tick)
    seconds = int(cpu + _deadline + CPU_SLACK) + 1
    if seconds != _cpu_limit:  # three system calls that most pages can do without
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = seconds if hard == resource.RLIM_INFINITY else min(seconds, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
        _cpu_limit = seconds


def _overdue(_signal: int, _frame: FrameType | None) -> None:
    """A look at the clock. Once the time is up it raises at every look: code that swallows the
    first may not swallow the next.
    """
    global _left, _looked, _kept  # noqa: PLW0603 - see _arm
    now, cpu, kept = time.monotonic(), time.process_time(), kept_waiting()
    # A page's first look may count waits of the page before: a tick more, and no read a page.
    _left -= used(now - _looked[0], cpu - _looked[1], kept - _kept, min(TICK, _deadline))
    _looked, _kept = (now, cpu), kept
    if _left <= 0:
        raise Overdue


def _die_with_server() -> None:
    """Go when the fork server is killed, where the system can do that (Linux).

    The crawl takes this process for dead then: it learns of its end from the fork server alone.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None and os.getpid() != SERVER:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != SERVER:  # it was killed before that
            os._exit(1)


def _die_with_crawl() -> None:
    """Go when the crawl is killed, whatever this process is doing.

    The call queue never ends by itself: every parse process holds its other end too, and so they
    would keep each other and the fork server waiting for ever.
    """
    crawl = multiprocessing.parent_process()
    if crawl is not None:
        wait([crawl.sentinel])
        os._exit(1)
