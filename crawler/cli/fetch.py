"""`crawler fetch`: one trip to one URL, shown in full."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from crawler.cli.config_sources import config_options, merged, with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import FETCHING, options
from crawler.cli.formatting import plain, size
from crawler.config.redaction import without_secrets
from crawler.policy.user_agent import user_agent

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.records import CrawlResult, Page, ParsedPage

Headers = tuple[tuple[str, str], ...]


@click.command(short_help="One trip to one URL, in full.")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@config_options
@options(only=FETCHING)
def fetch(url: str, as_json: bool, **values: Any) -> Exit:
    """Fetch URL once and show what came: headers, timings, and what was read in it.

    Follows no redirect and asks no robots.txt: it is you who ask, once. Links show the kind they
    have and why they would not be followed.
    """
    config = merged(values, os.environ).config()
    from crawler.cli.screen import out  # noqa: PLC0415 - not for `--help`

    visit = asyncio.run(_trip(config, with_scheme(url)))
    asked = _asked(config, visit.link.url)
    out(_json(visit, asked) if as_json else "\n".join(lines(visit, asked)))
    return Exit.OK if visit.page is not None and visit.page.status < 400 else Exit.SERVER


async def _trip(config: Config, url: str) -> CrawlResult:
    from crawler.bootstrap.single_fetch import open_trip  # noqa: PLC0415 - aiohttp: only who fetches pays

    async with open_trip(config, url) as go:
        return await go()


def _asked(config: Config, url: str) -> Headers:
    """The request's headers, as the fetcher puts them together; later ones win, in any case."""
    from crawler.fetch.fetcher import HEADERS  # noqa: PLC0415 - as above

    host = urlsplit(url).netloc.rpartition("@")[2]
    by_name: dict[str, tuple[str, str]] = {}
    shown = without_secrets(config).fetch.headers
    every = {"Host": host, **HEADERS, "User-Agent": user_agent(config), **shown}
    for name, value in every.items():
        by_name[name.lower()] = (name, value)
    return tuple(by_name.values())


def _json(visit: CrawlResult, asked: Headers) -> str:
    import msgspec  # noqa: PLC0415 - not for `--help`

    tree: dict[str, Any] = msgspec.to_builtins(visit, builtin_types=(bytes,), enc_hook=str)
    for part in (tree["page"], tree["extract"]):
        if part is not None:
            part.pop("body", None)
            part["found"] = [_found(one) for one in part.pop("found", ())]
    if tree["page"] is not None:
        tree["page"].pop("found")
        tree["page"].pop("link")
    tree["found"] = [_found(one) for one in tree["found"]]
    tree.pop("rules", None)
    return msgspec.json.encode({"request": asked, **tree}).decode()


def _found(found: Any) -> dict[str, Any]:
    url, host, _, kind, reason = found
    return {"url": url, "host": host, "kind": kind, "refused": reason or None}


def lines(visit: CrawlResult, asked: Headers = ()) -> list[str]:
    """A visit as text, strangers' words made harmless."""
    text = [f"GET {plain(visit.link.url, 500)}"]
    text += [f"> {plain(name)}: {plain(value, 500)}" for name, value in asked]
    if visit.page is not None:
        text += _page(visit.page)
    reason = f" ({plain(visit.reason)})" if visit.reason else ""
    text.append(f"outcome  {visit.outcome.value}{reason}")
    if visit.retry_in is not None:
        text.append(f"again in {visit.retry_in:.1f} s, were this a crawl")
    return text + (_extract(visit.extract) if visit.extract is not None else [])


def _page(page: Page) -> list[str]:
    timings = page.timings
    phases = (("waited", timings.waited), ("dns", timings.dns), ("connect", timings.connect),
              ("first byte", timings.ttfb), ("total", timings.total))  # fmt: skip
    told = ", ".join(f"{name} {ms:.1f} ms" for name, ms in phases if ms is not None)
    text = [f"HTTP/{page.http_version} {page.status}" + (f" from {page.ip}" if page.ip else "")]
    text += [f"< {plain(name)}: {plain(value, 500)}" for name, value in page.headers]
    text += [f"time     {told}", f"size     {size(page.bytes_wire)} on the wire"]
    return text + ([f"leads to {plain(page.location, 500)}"] if page.location else [])


def _extract(extract: ParsedPage) -> list[str]:
    text = [f"decoded  {size(extract.bytes_body)}"]
    charset = f"{extract.charset} ({extract.charset_source})" if extract.charset else ""
    for name, value in (
        ("type", extract.mime), ("charset", charset), ("title", extract.title),
        ("about", extract.description), ("language", extract.lang),
        ("canonical", extract.canonical or ""), ("robots", ", ".join(extract.robots)),
        ("digest", extract.digest),
    ):  # fmt: skip
        if value:
            text.append(f"{name:<8} {plain(value, 300)}")
    text.append(f"text     {extract.text_length} characters, read in {extract.parse_ms:.1f} ms")
    text += [f"problem  {plain(problem)}" for problem in extract.problems]
    refused = sum(1 for found in extract.found if found[4])
    text.append(f"links    {len(extract.found)}, of which {refused} would not be followed")
    for url, _, _, kind, reason in extract.found:
        text.append(f"  {kind:<7} {plain(url, 500)}" + (f"  [{plain(reason)}]" if reason else ""))
    return text
