"""`crawler fetch`: one trip to one URL, shown in full."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from crawler.cli.crawl import with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import given, options
from crawler.cli.words import plain, size
from crawler.model import Visit
from crawler.settings import Settings


@click.command(short_help="One trip to one URL, in full.")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options
def fetch(url: str, as_json: bool, **flags: Any) -> int:
    """Fetch URL once and show what came: headers, timings, and what was read in it.

    Follows no redirect and asks no robots.txt: it is you who ask, once.
    """
    settings = Settings()
    for key, value, origin in given(flags):
        settings.set(key, value, origin)
    config = settings.config()

    async def trip() -> Visit:
        from crawler.build import open_trip  # noqa: PLC0415 - aiohttp: only who fetches pays

        async with open_trip(config, with_scheme(url)) as go:
            return await go()

    visit = asyncio.run(trip())
    if as_json:
        import msgspec  # noqa: PLC0415

        tree = msgspec.to_builtins(visit, builtin_types=(bytes,), enc_hook=str)
        tree["page"].pop("body")
        for found in (*tree["extract"]["found"], *tree["found"]):
            found[2] = found[2].hex()
        click.echo(msgspec.json.encode(tree).decode())
    else:
        for line in lines(visit):
            click.echo(line)
    return Exit.OK if visit.page and visit.page.status < 400 else Exit.SERVER


def lines(visit: Visit) -> list[str]:
    """A visit as text, strangers' words made harmless."""
    page, extract = visit.page, visit.extract
    assert page is not None
    assert extract is not None
    timings = page.timings
    phases = [
        (name, value)
        for name, value in (
            ("dns", timings.dns), ("first byte", timings.ttfb), ("total", timings.total),
        )
        if value is not None
    ]  # fmt: skip
    text = [
        visit.link.url,
        f"HTTP/{page.http_version} {page.status} from {page.ip}",
        *(f"  {plain(name)}: {plain(value, 500)}" for name, value in page.headers),
        "time     " + ", ".join(f"{name} {value:.1f} ms" for name, value in phases),
        f"size     {size(page.bytes_wire)} on the wire, {size(extract.bytes_body)} decoded",
        f"outcome  {visit.outcome.value}" + (f" ({plain(visit.reason)})" if visit.reason else ""),
    ]
    if page.location:
        text.append(f"moved to {plain(page.location, 500)}")
    text.append(f"type     {plain(extract.mime)}")
    if extract.charset:
        text.append(f"charset  {extract.charset} ({extract.charset_source})")
    for name, value in (
        ("title", extract.title), ("about", extract.description), ("language", extract.lang),
        ("canonical", extract.canonical or ""), ("robots", ", ".join(extract.robots)),
        ("digest", extract.digest),
    ):  # fmt: skip
        if value:
            text.append(f"{name:<8} {plain(value, 300)}")
    text.append(f"text     {extract.text_length} characters, read in {extract.parse_ms:.1f} ms")
    text += [f"problem  {plain(problem)}" for problem in extract.problems]
    text.append(f"links    {len(extract.found)}")
    text += [
        f"  {kind:<6} {plain(url, 500)}" + (f"  ({reason})" if reason else "")
        for url, _, _, kind, reason in extract.found
    ]
    return text
