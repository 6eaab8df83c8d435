"""What the person sees at the end: what happened, what held it up, where it lies. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from crawler.cli.formatting import amount, counted, duration, plain, size
from crawler.engine.stats import StatsSnapshot, bottleneck
from crawler.policy.autothrottle import HostPace
from crawler.policy.end_message import sentence_of
from crawler.policy.internal_errors import REASON as INTERNAL
from crawler.policy.plugin_stats import sentences
from crawler.policy.waits import Wait, wait_sentence
from crawler.records import Counts
from crawler.utils.units import unicode

TOO_LONG: Final = "tooLong"

LISTED: Final = 12
"""Entries of one row at most."""


class CrawlEnding(msgspec.Struct, frozen=True):
    """How a crawl ended."""

    reason: str
    folder: Path
    shot: StatsSnapshot
    counts: Counts
    troubles: tuple[tuple[str, str, str], ...] = ()  # seeds that failed: url, reason, target
    paces: tuple[HostPace, ...] = ()  # hosts worth a word
    robots: bool = True  # robots.txt was obeyed
    waits: tuple[Wait, ...] = ()  # what is left waits for
    at: float = 0.0  # Unix time of that
    moves: tuple[tuple[str, str], ...] = ()  # seeds that led to another host: url, target


def ended(ending: CrawlEnding) -> str:
    """The one sentence."""
    return sentence_of(
        ending.reason,
        ending.counts,
        folder=str(ending.folder),
        incomplete=sum(ending.shot.incomplete.values()),
    )


def summary(ending: CrawlEnding) -> list[str]:
    """One line a row."""
    rows = _rows(ending)
    width = max(len(name) for name, _ in rows)
    return [f"{name:>{width}}  {text}" for name, text in rows]


def summary_json(ending: CrawlEnding) -> str:
    """The same for programs: one JSON object on one line."""
    tree = {
        "finish_reason": ending.reason,
        "ending": ended(ending),
        "dir": unicode(str(ending.folder)),
        "robots_obeyed": ending.robots,
        "counts": msgspec.to_builtins(ending.counts),
        "bottleneck": bottleneck(ending.shot),
        "seeds_failed": [
            {"url": url, "reason": reason, "leads_to": target or None}
            for url, reason, target in ending.troubles
        ],
        "waits": [msgspec.to_builtins(wait) for wait in ending.waits],
        "seeds_moved": [{"url": url, "leads_to": target} for url, target in ending.moves],
        "hosts_held_back": [msgspec.to_builtins(pace) for pace in ending.paces],
        **msgspec.to_builtins(ending.shot, str_keys=True),
    }
    return msgspec.json.encode(tree).decode()


def _rows(ending: CrawlEnding) -> list[tuple[str, str]]:
    shot, counts, gauges = ending.shot, ending.counts, ending.shot.gauges
    pages = (
        f"{amount(shot.pages)} in {duration(shot.elapsed)} ({shot.pages_per_second:.1f}/s), "
        f"{size(shot.bytes_wire)} on the wire, {size(shot.bytes_body)} decoded"
    )
    rows = [
        ("ended", ended(ending)),
        ("pages", pages),
        ("visits", f"{amount(shot.visits)}, {counted(shot.retries, 'retry', 'retries')}"),
    ]
    if shot.statuses:
        rows.append(("status", ", ".join(f"{amount(n)} × {s}" for s, n in shot.statuses.items())))
    if shot.reasons:
        rows.append(("reasons", f"{_list(shot.reasons)} (of visits and retries)"))
    if bugs := shot.reasons.get(INTERNAL, 0):
        rows.append(("bugs", _bugs(bugs)))
    if not ending.robots:
        rows.append(("robots", "NOT obeyed: --no-robots"))
    elif shot.robots:
        names = ", ".join(plain(name, 60) for name in shot.robots_hosts)
        which = f" of {names}" if names else ""
        rows.append(("robots", f"{_list(shot.robots)} (robots.txt{which} that could not be had)"))
    rows += [("seed", led(*move)) for move in ending.moves]
    rows += [("seed", told(*trouble)) for trouble in ending.troubles]
    rows += [("login", not_sent(one)) for one in shot.unsent]
    rows.append(("urls", _urls(counts)))
    if counts.braked:
        rows.append(("braked", _braked(counts, ending.folder)))
    if shot.incomplete:
        rows.append(("cut", f"pages not read whole: {_list(shot.incomplete)}"))
    rows += [("extraction", plain(said, 400)) for said in sentences(shot.plugins)]
    if shot.duplicates:
        rows.append(("same", f"{amount(shot.duplicates)} with the bytes of an earlier page"))
    if shot.fetch_seconds:
        p50, p95, p99 = shot.fetch_ms
        rows.append(("fetch", f"{p50:.0f} ms median, {p95:.0f} ms p95, {p99:.0f} ms p99"))
    if len(shot.slowest) > 1:
        slow = (f"{plain(host.name, 60)} {host.mean_ms:.0f} ms" for host in shot.slowest)
        rows.append(("slowest", ", ".join(slow)))
    rows += [("pace", held_back(pace)) for pace in ending.paces]
    rows += [("waits", plain(wait_sentence(wait, ending.at), 300)) for wait in ending.waits]
    loop = (
        f"lag {gauges.lag_mean_ms:.0f} ms mean, {gauges.lag_max_ms:.0f} ms at most, "
        f"{gauges.loop_cpu:.1f} s CPU; parsing {gauges.child_cpu:.1f} s "
        f"in {counted(gauges.processes, 'process', 'processes')}"
    )
    rows += [
        ("loop", loop),
        ("held up by", bottleneck(shot)),
        ("output", str(ending.folder)),
        ("next", _next(ending)),
    ]
    return rows


def _bugs(number: int) -> str:
    return (
        f"{counted(number, 'link')} failed by a bug in this program (`internal`): the log above "
        f"says where; please report it"
    )


def _urls(counts: Counts) -> str:
    """What became of every URL: said of URLs alone, for a visit may end otherwise than its URL. The
    last hop of a circle of redirects fails all of its hops, which had been seen to lead on.
    """
    states = {
        "done": counts.done, "unchanged": counts.unchanged, "moved": counts.moved,
        "failed": counts.failed, "refused": counts.refused, "braked": counts.braked,
    }  # fmt: skip
    told = [f"{amount(number)} {state}" for state, number in states.items() if number]
    told.append(f"{amount(counts.pending)} still queued")
    return f"{amount(counts.seen)} seen on {counted(counts.hosts, 'host')}: {', '.join(told)}"


def held_back(pace: HostPace) -> str:
    """Why a host was not asked faster."""
    said = plain(pace.name, 60)
    if pace.parked:
        said += f": parked for {duration(pace.parked)} after {counted(pace.failures, 'failure')}"
    elif pace.failures and pace.parks:
        said += f": not answering, {counted(pace.failures, 'failure')} in a row"
    if pace.crawl_delay is not None:
        asked, kept = duration(pace.crawl_delay), duration(pace.delay)
        said += f": asks for {asked} between requests, {kept} are kept"
    return f"{said}; {amount(pace.queued)} queued" if pace.queued else said


def told(url: str, reason: str, target: str) -> str:
    """A seed's failure in one line."""
    said = f"{plain(url, 300)} failed: {plain(reason, 200) or 'no answer'}"
    if target:
        said += f"; it leads to {plain(target, 300)}: start there, or widen --scope"
    elif reason == "robotsTxt":
        said += " (the site's robots.txt forbids it)"
    return said


def not_sent(setting: str) -> str:
    """A login or header whose host was never met, in one line."""
    return f"{plain(setting, 300)} was not sent: no request went there"


def led(url: str, target: str) -> str:
    """A seed that redirected to another host, in one line."""
    return (
        f"{plain(url, 300)} redirects to {plain(target, 300)}, which was crawled in its place "
        "(not wanted: --no-seed-redirects)"
    )


def _next(ending: CrawlEnding) -> str:
    folder = shlex.quote(str(ending.folder))
    if ending.reason == "max-pages":
        more = ending.counts.pages * 2 or 100
        return f"crawler resume {folder} --max-pages {more}"
    return f"crawler resume {folder}" if ending.counts.pending else f"crawler status {folder}"


def _braked(counts: Counts, folder: Path) -> str:
    where = shlex.quote(str(folder))
    long = min(counts.left.get(TOO_LONG, 0), counts.braked)
    if long == counts.braked:
        said = f"{counted(long, 'link is', 'links are')} longer than scope.max_url, parked"
        which = TOO_LONG
    else:
        said = f"{counted(counts.braked, 'link looks', 'links look')} like a web without an end"
        said += f" or too long ({amount(long)}), parked" if long else ", parked"
        which = "'trap:*'"
    return f"{said}; see them: crawler status {where}; follow them: crawler release {where} {which}"


def _list(numbers: Mapping[str, int]) -> str:
    shown = [f"{amount(n)} {plain(name, 60)}" for name, n in list(numbers.items())[:LISTED]]
    if len(numbers) > LISTED:
        shown.append("…")
    return ", ".join(shown) or "none"
