"""`crawler try RULES URL`: what a file of extraction rules, or a plugin, finds on one page."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import click

from crawler.cli.config_sources import config_options, merged, with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import FETCHING, options
from crawler.cli.formatting import plain

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.records import CrawlResult


@click.command("try", short_help="What extraction rules find on one page.")
@click.argument("rules")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Only the records, JSON lines on stdout.")
@config_options
@options(only=FETCHING)
def try_(rules: str, url: str, as_json: bool, **values: Any) -> Exit:
    """Fetch URL once and show the records that RULES take from it.

    RULES is a TOML file as for --rules, or a plugin as for --plugin (module:function,
    file.py:function). Exit code 8 when the page could not be had or a rule went wrong on it.
    """
    settings = merged(values, os.environ)
    key = "parse.rules" if rules.endswith(".toml") else "parse.plugins"
    settings.set("parse.rules", [], "RULES")
    settings.set("parse.plugins", [], "RULES")
    settings.set(key, [rules], "RULES")
    config = settings.config()
    from crawler.cli.screen import Screen, out  # noqa: PLC0415 - not for `--help`

    visit = asyncio.run(_trip(config, with_scheme(url)))
    extract, say = visit.extract, Screen().say
    records = extract.records if extract is not None else ()
    import msgspec  # noqa: PLC0415

    for record in records:
        text = msgspec.json.encode(record)
        out((text if as_json else msgspec.json.format(text, indent=2)).decode())
    for problem in extract.problems if extract is not None else ():
        say(f"problem: {problem}")
    page = visit.page
    status = f"{page.status}" if page is not None else "no answer"
    say(f"{len(records)} records from {plain(visit.link.url, 300)} ({status})")
    if page is not None and page.location:
        say(f"it leads to {plain(page.location, 300)}: try that")
    failed = page is None or page.status >= 400 or (extract is not None and extract.problems)
    return Exit.SERVER if failed else Exit.OK


async def _trip(config: Config, url: str) -> CrawlResult:
    from crawler.bootstrap.single_fetch import open_trip  # noqa: PLC0415 - aiohttp: only who fetches pays

    async with open_trip(config, url) as go:
        return await go()
