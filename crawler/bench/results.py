"""Everything that a benchmark found, as it is written to results.json. Plain records."""

from __future__ import annotations

import msgspec

from crawler.bench.findings import FindingRow, Spread
from crawler.bench.machine import Machine


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Another crawler on the same site, start-up included. Seconds of CPU for 1000 pages, MB.

    `found` are the site's pages that it asked for, `twice` its requests beyond one for a page,
    `other` those for anything else on the site (robots.txt, images …).
    """

    name: str
    version: str
    site: str
    pages: int  # that the site has
    concurrency: int
    found: int
    twice: int
    other: int
    rate: Spread
    rates: tuple[float, ...]
    cpu: Spread
    cpus: tuple[float, ...]
    memory: float
    site_share: float  # of one core
    is_limit: bool = False  # no crawler: what the client or the site can do at most


class BenchResults(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. `load` is the load average before and after; `skipped` says what and why."""

    made_at: str
    command: str
    revision: str
    version: str
    machine: Machine
    plan: str
    rounds: int
    load: tuple[float, float]
    seconds: float
    rows: tuple[FindingRow, ...] = ()
    peers: tuple[PeerRow, ...] = ()
    skipped: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
