"""What the person sees at the end: what happened, what held it up, where it lies, what next."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crawler.cli.words import amount, duration, plain, size
from crawler.model import Counts
from crawler.tally import Snapshot, bottleneck

REASONS = {
    "finished": "finished: every link in scope was visited",
    "max-pages": "reached --max-pages",
    "time-limit": "reached --time-limit",
    "size-limit": "reached --size-limit",
    "interrupted": "interrupted",
    "aborted": "stopped at once",
}


def show(
    shot: Snapshot, counts: Counts, reason: str, folder: Path, *, no_color: bool = False
) -> None:
    """Print the summary to stdout."""
    console = Console(no_color=no_color, highlight=False)
    console.print(table(shot, counts, reason, folder))


def table(shot: Snapshot, counts: Counts, reason: str, folder: Path) -> Table:
    """The summary as rows."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", justify="right")
    rows.add_column(overflow="fold")
    rows.add_row("ended", Text(REASONS.get(reason, reason), style="bold"))
    rows.add_row(
        "pages",
        f"{amount(shot.pages)} in {duration(shot.elapsed)} "
        f"({shot.pages_per_second:.1f}/s), {size(shot.bytes_wire)} on the wire, "
        f"{size(shot.bytes_body)} decoded",
    )
    rows.add_row("visits", _list(shot.outcomes) + f", {amount(shot.retries)} retries")
    if shot.statuses:
        rows.add_row("status", _list({str(key): value for key, value in shot.statuses.items()}))
    if shot.reasons:
        rows.add_row("reasons", plain(_list(shot.reasons)))
    rows.add_row(
        "urls",
        f"{amount(counts.seen)} seen: {amount(counts.done)} done, {amount(counts.pending)} still "
        f"queued, {amount(counts.refused)} refused, {amount(counts.failed)} failed",
    )
    p50, p95, p99 = shot.fetch_ms
    rows.add_row("fetch", f"{p50:.0f} ms median, {p95:.0f} ms p95, {p99:.0f} ms p99")
    slow = [f"{plain(host.name, 60)} {host.mean_ms:.0f} ms" for host in shot.slowest if host.visits]
    if len(slow) > 1:
        rows.add_row("slowest", ", ".join(slow))
    gauges = shot.gauges
    rows.add_row(
        "loop",
        f"lag {gauges.lag_max_ms:.0f} ms at most, {gauges.loop_cpu:.1f} s CPU; "
        f"parsing {gauges.child_cpu:.1f} s in {gauges.processes} processes",
    )
    rows.add_row("held up by", bottleneck(shot))
    rows.add_row("output", str(folder / "pages.jsonl"))
    rows.add_row("next", _next(counts, folder))
    return rows


def summary_json(shot: Snapshot, counts: Counts, reason: str, folder: Path) -> str:
    """The same for programs: one JSON object."""
    tree = {
        "finish_reason": reason,
        "dir": str(folder),
        "counts": msgspec.to_builtins(counts),
        "bottleneck": bottleneck(shot),
        **msgspec.to_builtins(shot, str_keys=True),
    }
    return msgspec.json.encode(tree).decode()


def _next(counts: Counts, folder: Path) -> str:
    if counts.pending:
        return f"crawler resume {folder}"
    return f"crawler status {folder}"


def _list(numbers: dict[str, int]) -> str:
    return ", ".join(f"{amount(number)} {name}" for name, number in numbers.items()) or "none"
