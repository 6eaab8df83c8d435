"""`crawler why`: everything that is known of one URL, and what would bring it back."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from crawler.cli.config_sources import saved, with_scheme
from crawler.cli.formatting import counted, duration, plain, size
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.frontier.sqlite.url_history import UrlHistory, UrlState

SHOWN: Final = 8
"""Steps of the way to a URL that are shown; the others are counted."""


@click.command(short_help="The whole story of one URL.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def why(folder: Path, url: str, as_json: bool) -> None:
    """Say why the crawl in DIR visited URL, or did not.

    How it was found, what was decided by which rule, what came of it. For a URL that was never
    seen: what would happen to it.

    Reads only, also while the crawl runs.
    """
    rows, tree = tell(folder, with_scheme(url), time.time())
    if as_json:
        import msgspec  # noqa: PLC0415 - not for `--help`

        click.echo(msgspec.json.encode(tree).decode())
        return
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:>{width}}  {plain(text, 2000)}")


def tell(folder: Path, url: str, now: float) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The story in rows, and as a tree. Raises ConfigError, FrontierError."""
    from crawler.frontier.sqlite.overview import adopted, missing  # noqa: PLC0415 - not for `--help`
    from crawler.frontier.sqlite.url_history import story  # noqa: PLC0415
    from crawler.policy.scope import Scope  # noqa: PLC0415
    from crawler.policy.trap_rules import template_names  # noqa: PLC0415
    from crawler.policy.urls import Urls, fingerprint, host_key, origin  # noqa: PLC0415

    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: {missing(folder)}")
    config = saved(folder).config()
    urls = Urls(config.urls)
    canonical, changed = urls.explain(url)
    if canonical is None:
        raise ConfigError(f"{url}: not a http or https URL ({', '.join(changed)})")
    host, home = host_key(canonical), origin(canonical)
    told = story(
        folder / FRONTIER,
        key=fingerprint(canonical, host),
        host=host,
        origin=home,
        templates=template_names(canonical),
    )
    seen = told.seen
    seeds = [one for one in map(urls.canonical, config.seeds) if one is not None]
    kind, depth = (seen.kind, seen.depth) if seen else ("page", 0)
    scope = Scope(config.scope, seeds, adopted(folder / FRONTIER))
    reason = scope.judge(canonical, host, depth, kind)
    verdict = scope.explain(canonical, host, depth, kind)
    robots = _robots(config, told, canonical, now)
    end = _outcome(told, reason, now)
    rows = [("url", canonical)]
    if changed:
        rows.append(("as given", f"{url} (changed by {', '.join(changed)})"))
    rows += _found(seen, told.incomplete)
    rows += [("scope", verdict), ("robots", robots), ("host", _host(config, told, now))]
    if told.host.brake:
        rows.append(("brake", f"its template is braked: {told.host.brake}"))
    rows.append(("outcome", end))
    if advice := _advice(folder, canonical, told, reason):
        rows.append(("next", advice))
    import msgspec  # noqa: PLC0415

    tree = {
        "url": canonical,
        "given": url,
        "rules": changed,
        "scope": {"reason": reason or None, "words": verdict},
        "robots": robots,
        "outcome": end,
        "next": advice or None,
        "seen": msgspec.to_builtins(seen),
        "host": {
            "name": host,
            "known": told.host.known,
            "queued": told.host.queued,
            "rest_until": told.host.rest_until or None,
            "parked_until": told.host.parked_until or None,
            "width": told.host.width,
            "brake": told.host.brake or None,
        },
    }
    return rows, tree


def _found(seen: UrlState | None, incomplete: int) -> list[tuple[str, str]]:
    if seen is None:
        said = "never: the crawl has not met this URL"
        if incomplete:
            pages = counted(incomplete, "page was", "pages were")
            said += f"; {pages} not read whole, it may stand in the rest"
        return [("found", said)]
    how = "as a seed" if not seen.way else f"on {seen.way[0]}"
    if seen.hops:
        how = f"by redirect from {seen.way[0]}, hop {seen.hops}"
    clicks = f"{counted(seen.depth, 'click')}"
    rows = [("found", f"{how}; kind {seen.kind}, {clicks} from its seed")]
    if len(seen.way) > 1:
        way = [*seen.way[: SHOWN - 1], seen.way[-1]] if len(seen.way) > SHOWN else [*seen.way]
        if len(seen.way) > SHOWN:
            way.insert(-1, f"… {len(seen.way) - SHOWN} more …")
        rows.append(("way", " ← ".join(way)))
    return rows


def _robots(config: Config, told: UrlHistory, url: str, now: float) -> str:
    from crawler.policy.robots_txt import read_robots  # noqa: PLC0415
    from crawler.policy.user_agent import product_token  # noqa: PLC0415

    if not config.robots.obey:
        return "not obeyed (robots.obey = false)"
    rules = told.host.rules
    if rules is None:
        return "its robots.txt has not been asked for yet"
    robots = read_robots(rules.status, rules.body, product_token(config), rules.trouble)
    said = str(robots.explain(url))
    status = "no answer" if rules.status is None else f"status {rules.status}"
    until = rules.expires_at - now
    age = f"good for {duration(until)} more" if until > 0 else "due to be asked for again"
    return f"{said} (robots.txt: {status}, {age})"


def _host(config: Config, told: UrlHistory, now: float) -> str:
    host, pace = told.host, config.pace
    if not host.known:
        return "not met yet"
    rest = host.rest_until - now
    parts = [f"{counted(host.queued, 'link')} queued"]
    if rest > 0:
        parts.append(f"resting for {duration(rest)} more")
    if host.parked_until > now:
        parts.append(
            f"parked after failures in a row, for {duration(host.parked_until - now)} more"
        )
    if pace.fast:
        parts.append("not paced (pace.fast)")
    else:
        delay = pace.delay
        if host.rules is not None and host.rules.delay is not None:
            asked = min(host.rules.delay, pace.max_crawl_delay)
            if asked > delay:
                delay = asked
                parts.append("its Crawl-delay counts")
        wide = pace.per_host if host.width is None else min(pace.per_host, int(host.width))
        parts.append(f"at most {wide} at a time, {duration(delay)} apart")
    return ", ".join(parts)


def _outcome(told: UrlHistory, reason: str, now: float) -> str:
    seen = told.seen
    if seen is None:
        if reason:
            from crawler.policy.trap_rules import is_brake  # noqa: PLC0415

            return f"would be {'parked' if is_brake(reason) else 'skipped'} where it is found"
        return "would be queued when a page links to it"
    tries = f" after {seen.attempts} tries" if seen.attempts > 1 else ""
    when = f" at {_moment(seen.visited_at)}" if seen.visited_at is not None else ""
    answer = f" status {seen.status}" if seen.status is not None else ""
    words = {
        "queued": f"queued, {counted(seen.ahead or 0, 'link')} of its host before it",
        "resting": f"failed{when} ({seen.reason}), tried again "
        + (f"at {_moment(seen.due)}" if seen.due and seen.due > now else "when it is its turn"),
        "done": f"done{when}:{answer}, {size(seen.bytes or 0)}{tries}",
        "moved": f"moved{when}:{answer}, to {seen.target or 'a URL that is not followed'}",
        "unchanged": f"unchanged{when}:{answer}",
        "refused": f"refused{when}: {seen.reason}",
        "failed": f"failed{when}: {seen.reason}{tries}",
        "skipped": f"not followed: {seen.reason}",
        "braked": f"parked: {seen.reason}",
    }
    said = words[seen.state]
    if seen.target is not None and seen.state != "moved":
        said += f"; it redirects to {seen.target}"
    if seen.state == "moved" and seen.reason:
        said += f" ({seen.reason})"
    if seen.state == "done" and seen.reason:
        said += f"; not read whole, links were left out: {seen.reason}"
    if seen.duplicate_of is not None:
        said += f"; the same bytes as {seen.duplicate_of}"
    if seen.released:
        said += "; released, no brake stops it"
    return said


def _advice(folder: Path, url: str, told: UrlHistory, reason: str) -> str:
    """What would bring it back; nothing where there is nothing to bring back."""
    where, what, seen = shlex.quote(str(folder)), shlex.quote(url), told.seen
    state = seen.state if seen else ""
    if state == "braked":
        return f"crawler release {where} {what}; then crawler resume {where}"
    if state == "failed" or (state == "refused" and _unreachable(seen)):
        return f"crawler retry {where}"
    if seen is not None and (seen.reason or "").startswith("forbidden"):
        return "an address or port that links do not lead to; as a seed it is visited"
    if state == "refused":
        return "the site's robots.txt decides; it is read anew when it expires"
    if state in {"queued", "resting"}:
        return f"crawler resume {where}, unless it runs"
    if state in {"", "skipped"}:
        start = f"crawler crawl {what} -O {where} --resume"
        if reason in {"excluded", "notIncluded"}:
            return f"change the setting that refuses it, and start there: {start}"
        return f"start there: {start}"
    return ""


def _unreachable(seen: UrlState | None) -> bool:
    from crawler.policy.robots_txt import UNREACHABLE  # noqa: PLC0415

    return seen is not None and (seen.reason or "").partition(":")[0] == UNREACHABLE


def _moment(when: float | None) -> str:
    return "" if when is None else f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%SZ}"
