"""`crawler status`: what a stopped or running crawl has done, read from its frontier."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.cli.formatting import amount, counted, duration, plain, size
from crawler.config.workdir import FRONTIER
from crawler.policy.end_message import NO_PAGES, sentence_of
from crawler.policy.waits import wait_sentence

if TYPE_CHECKING:
    from crawler.frontier.sqlite.overview import FrontierOverview


@click.command(short_help="What a stopped or running crawl has done.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def status(folder: Path, as_json: bool) -> None:
    """Show how far the crawl in DIR is, running or not, without touching it."""
    import msgspec  # noqa: PLC0415 - not for `--help`

    from crawler.frontier.sqlite.overview import peek  # noqa: PLC0415

    view = peek(folder / FRONTIER)
    if as_json:
        click.echo(msgspec.json.encode(view).decode())
        return
    rows = lines(view, folder)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:>{width}}  {text}")


def lines(view: FrontierOverview, folder: Path, now: float | None = None) -> list[tuple[str, str]]:
    """What is shown, a row each. `now`: Unix time of the view; None: it is new."""
    now = time.time() if now is None else now
    counts = view.counts
    state = "running" if view.running else "finished" if not counts.pending else "stopped"
    statuses = ", ".join(f"{amount(n)} × {code}" for code, n in view.statuses.items())
    hosts = ", ".join(f"{plain(name, 60)} ({amount(n)})" for name, n in view.hosts.items())
    others = (
        f"{amount(counts.done)} done, {amount(counts.moved)} moved, "
        f"{amount(counts.unchanged)} unchanged, "
        f"{amount(counts.refused)} refused, {amount(counts.failed)} failed, "
        f"{amount(counts.braked)} braked"
    )
    rows = [
        ("state", state if view.running else _ended(view, folder)),
        ("pages", f"{amount(counts.pages)} read, {size(view.bytes_wire)}"),
        ("queue", f"{amount(counts.queued)} queued, {amount(counts.resting)} waiting to retry"),
        ("others", others),
        ("status", statuses or "none"),
        ("reasons", _by_reason(view.reasons)),
        ("skipped", _by_reason(view.skipped)),
        ("braked", _by_reason(view.braked)),
        (
            "same",
            f"{counted(view.duplicates, 'page has', 'pages have')} the bytes of an earlier one",
        ),
        ("hosts", f"{amount(counts.hosts)}: {hosts}" if hosts else "none"),
        *(("waits", plain(wait_sentence(wait, now), 300)) for wait in view.waits),
        *_waits("delays", view.crawl_delays, "between requests, says its robots.txt"),
        ("last", f"{duration(view.idle)} ago" if view.idle is not None else "nothing visited yet"),
    ]
    if state == "stopped":
        rows.append(("next", f"crawler resume {shlex.quote(str(folder))}"))
    elif view.braked and not view.running:
        what = next(iter(view.braked))
        rows.append(("next", f"crawler release {shlex.quote(str(folder))} {what}"))
    return rows


def _ended(view: FrontierOverview, folder: Path) -> str:
    """The sentence of the summary; how a crawl was stopped its frontier does not know."""
    counts = view.counts
    natural = "finished" if counts.pages else NO_PAGES
    reason = "stopped" if counts.pending else natural
    return sentence_of(reason, counts, folder=str(folder))


def _by_reason(numbers: dict[str, int]) -> str:
    return ", ".join(f"{amount(n)} × {plain(why, 60)}" for why, n in numbers.items()) or "none"


def _waits(name: str, hosts: dict[str, float], why: str) -> list[tuple[str, str]]:
    shown = ", ".join(f"{plain(host, 60)} {duration(left)}" for host, left in hosts.items())
    return [(name, f"{shown} ({why})")] if hosts else []
