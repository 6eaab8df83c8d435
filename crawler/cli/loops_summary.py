"""Progress line and summary of a crawl with several loops. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crawler.cli.exits import Exit, SeedOutcome, exit_code
from crawler.cli.formatting import amount, duration, plain, size
from crawler.cli.loop_process import LoopResult
from crawler.cli.summary import led, not_sent, told
from crawler.engine.stats import StatsSnapshot
from crawler.export.merge_crawls import MergeResult
from crawler.policy.end_message import sentence_of
from crawler.policy.plugin_stats import PluginStats, joined, sentences
from crawler.records import Counts
from crawler.utils.units import unicode

if TYPE_CHECKING:
    from crawler.frontier.redis.codec import JobStats

GRAVEST: Final = (
    "aborted", "interrupted", "size-limit", "time-limit", "max-pages", "hosts-down", "no-pages",
    "finished",
)  # fmt: skip
"""Of several ends the first of these is the crawl's."""

LISTED: Final = 12


class JointResult(msgspec.Struct, frozen=True):
    """How a run ended. `counts` None: the server could not be asked. `merged` None: no records."""

    reason: str
    folder: Path
    loops: int
    died: int
    elapsed: float
    told: tuple[LoopResult, ...]
    counts: Counts | None
    merged: MergeResult | None


def reason_of(ends: Sequence[LoopResult]) -> str:
    """Why the crawl ended, of why its loops did."""
    return min((one.reason for one in ends), key=GRAVEST.index)


def ended(joint: JointResult) -> str:
    """The one sentence, of all loops."""
    counts = joint.counts or Counts()
    incomplete = sum(_sum(one.shot.incomplete for one in joint.told).values())
    return sentence_of(joint.reason, counts, folder=str(joint.folder), incomplete=incomplete)


def exit_of(joint: JointResult) -> Exit:
    """As of a crawl of one loop that had all these visits."""
    first = joint.told[0].shot
    shot = msgspec.structs.replace(
        first,
        pages=sum(one.shot.pages for one in joint.told),
        reasons=_sum(one.shot.reasons for one in joint.told),
        plugins=plugins(joint),
    )
    fates = [SeedOutcome[name] for one in joint.told for name in one.fates]
    robots = _sum(one.shot.robots for one in joint.told)
    ever = joint.counts is None or joint.counts.pages > 0
    return exit_code(joint.reason, shot, fates, robots, ever=ever)


def plugins(joint: JointResult) -> tuple[PluginStats, ...]:
    """What rules and plugins did, in all loops together."""
    return joined(one.shot.plugins for one in joint.told)


def line_of(stats: JobStats, alive: int) -> str:
    """How far it is, on one line."""
    return (
        f"{amount(stats.done)} done, {amount(stats.queued + stats.resting)} queued, "
        f"{amount(stats.leased)} in hand, {amount(stats.failed)} failed, {alive} loops"
    )


def lines(joint: JointResult) -> list[str]:
    """One line a row."""
    rows = _rows(joint)
    width = max(len(name) for name, _ in rows)
    return [f"{name:>{width}}  {text}" for name, text in rows]


def tree(joint: JointResult) -> dict[str, Any]:
    """The same for programs."""
    shots = [one.shot for one in joint.told]
    summed = ("visits", "pages", "retries", "bytes_wire", "bytes_body", "links_found", "duplicates")
    cpu = ("loop_cpu", "child_cpu")  # seconds, of all loops and of their parse processes
    counted = ("outcomes", "statuses", "reasons", "robots", "incomplete")
    return {
        "finish_reason": joint.reason,
        "ending": ended(joint),
        "dir": unicode(str(joint.folder)),
        "loops": joint.loops,
        "loops_died": joint.died,
        "elapsed": joint.elapsed,
        "counts": msgspec.to_builtins(joint.counts),
        "records": joint.merged.records if joint.merged else 0,
        "repeated": joint.merged.repeated if joint.merged else 0,
        "seeds_failed": [
            {"url": url, "reason": reason, "leads_to": target or None}
            for url, reason, target in _troubles(joint)
        ],
        **{name: sum(getattr(shot, name) for shot in shots) for name in summed},
        **{name: sum(getattr(shot.gauges, name) for shot in shots) for name in cpu},
        **{name: _sum(getattr(shot, name) for shot in shots) for name in counted},
        "plugins": msgspec.to_builtins(plugins(joint)),
        "unsent": _unsent(shots),
    }


def _rows(joint: JointResult) -> list[tuple[str, str]]:
    facts = tree(joint)
    died = f" ({joint.died} died on the way)" if joint.died else ""
    each = ", ".join(amount(one.shot.pages) for one in joint.told)
    pages = (
        f"{amount(facts['pages'])} in {duration(joint.elapsed)} "
        f"({facts['pages'] / joint.elapsed:.1f}/s), {size(facts['bytes_wire'])} on the wire, "
        f"{size(facts['bytes_body'])} decoded"
    )
    rows = [
        ("ended", ended(joint)),
        ("pages", pages),
        ("loops", f"{joint.loops}{died}: {each} pages"),
        ("visits", f"{_list(facts['outcomes'])}, {amount(facts['retries'])} retries"),
    ]
    if statuses := sorted(facts["statuses"].items()):
        rows.append(("status", ", ".join(f"{amount(n)} × {status}" for status, n in statuses)))
    rows += [(name, _list(facts[name])) for name in ("reasons", "robots") if facts[name]]
    rows += [("extraction", plain(said, 400)) for said in sentences(plugins(joint))]
    moves = dict.fromkeys(move for one in joint.told for move in one.moves)
    rows += [("seed", led(*move)) for move in moves]
    rows += [("seed", told(*trouble)) for trouble in _troubles(joint)]
    rows += [("login", not_sent(one)) for one in facts["unsent"]]
    if (counts := joint.counts) is not None:
        urls = (
            f"{amount(counts.seen)} seen on {amount(counts.hosts)} hosts: "
            f"{amount(counts.done)} done, {amount(counts.pending)} still queued, "
            f"{amount(counts.refused)} refused, {amount(counts.failed)} failed, "
            f"{amount(counts.braked)} braked"
        )
        rows.append(("urls", urls))
    if joint.merged is not None:
        rows.append(
            ("records", f"{amount(joint.merged.records)} in {joint.folder / 'pages.jsonl'}")
        )
    if joint.counts is None or joint.counts.pending:
        rows.append(("next", f"crawler resume {shlex.quote(str(joint.folder))}"))
    return rows


def _troubles(joint: JointResult) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(trouble for one in joint.told for trouble in one.troubles))


def _unsent(shots: Sequence[StatsSnapshot]) -> list[str]:
    """Logins that no loop sent."""
    every = [one for shot in shots[:1] for one in shot.unsent]
    return [one for one in every if all(one in shot.unsent for shot in shots)]


def _sum(some: Iterable[Mapping[Any, int]]) -> dict[Any, int]:
    total: Counter[Any] = Counter()
    for one in some:
        total.update(one)
    return dict(total.most_common())


def _list(numbers: Mapping[str, int]) -> str:
    shown = [f"{amount(n)} {plain(name, 60)}" for name, n in list(numbers.items())[:LISTED]]
    return ", ".join(shown) or "none"
