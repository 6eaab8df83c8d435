"""`crawler robots`: what a robots.txt says to us, and which line decides."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import click

from crawler.cli.config_sources import config_options, merged, with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.cli.formatting import counted, plain
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.engine.robots_fetcher import RobotsResponse
    from crawler.policy.robots_txt import RobotsTxt

WHAT_IT_MEANS: Final = {
    "2": "read",
    "3": "no file: everything is allowed (RFC 9309 §2.3.1.3)",
    "4": "no file: everything is allowed (RFC 9309 §2.3.1.3)",
}

SHOWN: Final = 20
"""Lines and sitemaps listed at most; --json has them all."""


@click.command(short_help="What a robots.txt says, and why.")
@click.argument("url")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--agent", metavar="NAME", help="Another crawler's product token.  [ours]")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@config_options
@options(only=("fetch.", "robots.timeout"))
def robots(
    url: str, paths: tuple[str, ...], agent: str | None, as_json: bool, **values: Any
) -> Exit:
    """Fetch the robots.txt of URL's site and explain it: where it came from, which group speaks to
    us, and for URL and each PATH the rule that decides, with its line.

    Exit code 0: everything asked about may be fetched; 8: something may not, or nothing may because
    the file could not be had.
    """
    config = merged(values, os.environ).config()
    from crawler.cli.screen import out  # noqa: PLC0415 - not for `--help`
    from crawler.policy.robots_txt import product_name, read_robots  # noqa: PLC0415 - as above
    from crawler.policy.urls import Urls  # noqa: PLC0415 - as above
    from crawler.policy.user_agent import product_token  # noqa: PLC0415 - as above

    if agent is not None and product_name(agent) != agent:
        raise ConfigError(f"--agent {agent!r}: no product token (letters, digits, - and _ only)")
    urls = Urls(config.urls)
    seed = urls.canonical(with_scheme(url))
    if seed is None:
        raise ConfigError(f"{url!r}: not a http or https URL")
    asked = [urls.join(seed, path) for path in ("", *paths)]
    name = agent or product_token(config)
    answer = asyncio.run(_ask(config, seed))
    read = read_robots(answer.status, answer.body, name, answer.refusal)
    wanted = [one for one in dict.fromkeys(asked) if one is not None]
    show = _json if as_json else _text
    out(show(answer, read, name, wanted))
    return Exit.OK if all(read.allows(one) for one in wanted) else Exit.SERVER


async def _ask(config: Config, url: str) -> RobotsResponse:
    from crawler.bootstrap.single_fetch import open_robots  # noqa: PLC0415 - aiohttp: only who fetches pays

    async with open_robots(config, url) as ask:
        return await ask()


def _text(answer: RobotsResponse, read: RobotsTxt, agent: str, urls: list[str]) -> str:
    return "\n".join(lines(answer, read, agent, urls))


def lines(answer: RobotsResponse, read: RobotsTxt, agent: str, urls: list[str]) -> list[str]:
    """The explanation as text, strangers' words made harmless."""
    first, *more = answer.hops
    text = [f"GET {plain(first, 500)}"]
    text += [f"  leads to {plain(hop, 500)}" for hop in more]
    text.append(f"status   {_status(answer, read)}")
    if answer.body:
        text.append(f"size     {len(answer.body)} bytes, {_count(answer.body)} lines")
    text.append(f"agent    {plain(agent)}")
    if not read.unreachable:
        text.append(f"group    {_group(read)}")
    text += [f"  {rule.line:>5}  {plain(str(rule), 300)}" for rule in read.rules[:SHOWN]]
    if len(read.rules) > SHOWN:
        text.append(f"         … {len(read.rules) - SHOWN} more rules")
    if read.delay is not None:
        text.append(f"delay    {read.delay:g} s between requests")
    text += [f"sitemap  {plain(url, 500)}" for url in read.sitemaps[:SHOWN]]
    for url in urls:
        text += [plain(url, 500), f"  {plain(str(read.explain(url)), 500)}"]
    return text


def _count(body: bytes) -> int:
    return len(body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n").split(b"\n"))


def _status(answer: RobotsResponse, read: RobotsTxt) -> str:
    if answer.trouble == "too-many-redirects":
        return "more than 5 redirects: everything is allowed (RFC 9309 §2.3.1.2)"
    if read.unreachable:
        return (
            f"{plain(answer.trouble)}: everything is forbidden until there is an answer "
            "(RFC 9309 §2.3.1.4)"
        )
    return f"{answer.status}: {WHAT_IT_MEANS[str(answer.status)[0]]}"


def _group(read: RobotsTxt) -> str:
    if not read.group:
        return "none speaks to us: everything is allowed"
    where = ", ".join(str(number) for number in read.group_lines[:SHOWN])
    rules = len(read.rules)
    return f"{read.group}, named in line {where}, with {counted(rules, 'rule')}"


def _json(answer: RobotsResponse, read: RobotsTxt, agent: str, urls: list[str]) -> str:
    import msgspec  # noqa: PLC0415 - not for `--help`

    def verdict(url: str) -> dict[str, Any]:
        told = read.explain(url)
        return {
            "url": url,
            "allowed": told.allowed,
            "line": told.rule.line if told.rule else None,
            "rule": str(told.rule) if told.rule else None,
            "why": str(told),
        }

    tree = {
        "hops": answer.hops,
        "status": answer.status,
        "trouble": answer.trouble or None,
        "unreachable": read.unreachable,
        "agent": agent,
        "group": read.group or None,
        "group_lines": read.group_lines,
        "delay": read.delay,
        "sitemaps": read.sitemaps,
        "rules": [{"line": rule.line, "rule": str(rule)} for rule in read.rules],
        "urls": [verdict(url) for url in urls],
    }
    return msgspec.json.encode(tree).decode()
