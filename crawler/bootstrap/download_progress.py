"""The progress of a download: one set of figures for the display, the JSON lines and the service.

Whoever looks, as often as they like, asks `ProgressWatcher.look`; the transfers know nothing of it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import msgspec

from crawler.downloads.download_request import DownloadResult
from crawler.policy.autothrottle import HostPace
from crawler.policy.waits import reason_of
from crawler.utils.units import counted, duration

if TYPE_CHECKING:
    from crawler.bootstrap.download_setup import DownloadSession

WINDOW: Final = 5.0
"""Seconds over which a rate is taken."""

MARK_EVERY: Final = 0.2
"""Seconds between marks of a rate at least, however many look: two who look see the same."""


class ActiveFile(msgspec.Struct, frozen=True):
    """A file that is under way. Sizes in bytes, rates a second; None: not known (yet)."""

    url: str
    name: str | None
    size: int | None
    received: int
    connections: int
    rate: int
    eta: float | None


class WaitingHost(msgspec.Struct, frozen=True):
    """A host whose files wait, and why its next one does. `rest` and `parked` in seconds."""

    host: str
    queued: int
    in_flight: int
    width: int
    rest: float
    parked: float
    why: str


class DownloadProgress(msgspec.Struct, frozen=True):
    """A download at one moment. `done`, `here` (they were there already), `failed` and `waiting`
    count files; `bytes` came over the wire in this run; `eta` is in seconds, None while it is not
    known how much is left.
    """

    elapsed: float
    done: int
    here: int
    failed: int
    running: tuple[ActiveFile, ...]
    waiting: int
    bytes: int
    rate: int
    eta: float | None
    hosts: tuple[WaitingHost, ...]


class TransferRate:
    """Bytes a second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        seen = self._seen
        if not seen or now - seen[-1][0] >= MARK_EVERY:
            seen.append((now, count))
        while len(seen) > 2 and now - seen[1][0] >= WINDOW:
            seen.popleft()
        then, before = seen[0]
        return (count - before) / (now - then) if now > then else 0.0


class ProgressWatcher:
    """Sums up one run. `tell` hears of each file that is final, `here` among them."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()  # by status
        self.began = time.monotonic()
        self._rate = TransferRate()
        self._rates: dict[str, TransferRate] = {}

    def tell(self, file: DownloadResult) -> None:
        self.files[file.status] += 1

    def look(self, depot: DownloadSession) -> DownloadProgress:
        """Everything at this moment."""
        desk, crawl, now = depot.desk, depot.crawl, time.monotonic()
        running = []
        for url, one in desk.running.items():
            rate = self._rates.setdefault(url, TransferRate()).at(now, one.received)
            left = (one.size - one.received) / rate if one.size and rate else None
            running.append(
                ActiveFile(url, one.name or None, one.size, one.received, one.connections,
                       round(rate), left)
            )  # fmt: skip
        for url in self._rates.keys() - desk.running.keys():
            del self._rates[url]
        rate = self._rate.at(now, desk.wire)
        known = [(one.size, one.received) for one in running if one.size]
        left = sum(whole - received for whole, received in known)
        waiting = max(0, crawl.frontier.pending - len(running))  # type: ignore[attr-defined]
        return DownloadProgress(
            elapsed=round(now - self.began, 3),
            done=self.files["done"],
            here=self.files["here"],
            failed=self.files["failed"],
            running=tuple(running),
            waiting=waiting,
            bytes=desk.wire,
            rate=round(rate),
            eta=left / rate if rate and not waiting and len(known) == len(running) else None,
            hosts=tuple(_host(one) for one in crawl.frontier.paces() if one.queued),
        )


def _host(pace: HostPace) -> WaitingHost:
    return WaitingHost(
        pace.name, pace.queued, pace.in_flight, pace.width, round(pace.rest, 1),
        round(pace.parked, 1), why(pace),
    )  # fmt: skip


def why(pace: HostPace) -> str:
    """Why the host's next file waits."""
    if pace.parked:
        return f"it failed {counted(pace.failures, 'time')}: tried again in {duration(pace.parked)}"
    if pace.rest > 1:
        why = f": {reason_of(pace.why, pace.url)}" if pace.why else ""
        return f"it rests for {duration(pace.rest)}{why}"
    if pace.in_flight >= pace.width:
        return f"{pace.in_flight} of {pace.width} connections are in use"
    return "for a free connection"
