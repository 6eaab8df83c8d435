"""A visit as the record that is written down: the field names that people know (Heritrix, katana).

One flat object a visit. Times are RFC 3339 in UTC or milliseconds, sizes bytes; a field whose value
is not known is null, never left out, so that every line has the same columns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crawler.records import CrawlResult, Outcome, Outlink, Page, ParsedPage, Timings

_NOTHING_READ = ParsedPage()
_NO_TIMINGS = Timings(total=0.0)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One line of pages.jsonl."""

    url: str
    final_url: str
    outcome: str
    reason: str | None
    status: int | None
    kind: str
    depth: int
    via: str | None
    hops: int
    attempts: int
    fetched_at: str | None
    mime: str | None
    charset: str | None
    charset_source: str | None
    bytes_wire: int | None
    bytes_body: int | None
    ttfb_ms: float | None
    fetch_ms: float | None
    parse_ms: float | None
    digest: str | None
    text_digest: str | None
    duplicate_of: str | None
    etag: str | None
    last_modified: str | None
    title: str | None
    description: str | None
    lang: str | None
    canonical: str | None
    hreflang: tuple[tuple[str, str], ...]
    robots_meta: tuple[str, ...]
    text_length: int | None
    simhash: str | None
    links_out: int | None
    ip: str | None
    http_version: str | None
    records: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]
    run: int


def record(visit: CrawlResult, run: int = 1) -> Record:
    """The record of a final visit. `final_url` is where a redirect leads, else the URL itself.
    `run` is 1 in a crawl, and one more with each recrawl.
    """
    link, page = visit.link, visit.page
    extract = visit.extract or _NOTHING_READ
    read = visit.extract is not None
    known = link.known if visit.outcome is Outcome.UNCHANGED else None
    timings = page.timings if page else _NO_TIMINGS
    return Record(
        url=link.url,
        final_url=_final_url(page, visit.found) or link.url,
        outcome=visit.outcome.value,
        reason=visit.reason or None,
        status=page.status if page else None,
        kind=link.kind.value,
        depth=link.depth,
        via=link.via,
        hops=link.hops,
        attempts=link.attempt + (page is not None or visit.reason != ""),
        fetched_at=rfc3339(page.fetched_at) if page else None,
        mime=extract.mime or (_mime(page) if page else None),
        charset=extract.charset or None,
        charset_source=extract.charset_source or None,
        bytes_wire=page.bytes_wire if page else None,
        bytes_body=extract.bytes_body if read else None,
        ttfb_ms=_ms(timings.ttfb),
        fetch_ms=_ms(timings.total) if page else None,
        parse_ms=_ms(extract.parse_ms) if read else None,
        digest=extract.digest or (known.digest if known else None),
        text_digest=extract.text_digest or (known.text_digest if known else None),
        duplicate_of=visit.duplicate_of,
        etag=(page.header("etag") or None) if page else None,
        last_modified=(page.header("last-modified") or None) if page else None,
        title=extract.title or None,
        description=extract.description or None,
        lang=extract.lang or None,
        canonical=extract.canonical,
        hreflang=extract.hreflang,
        robots_meta=extract.robots,
        text_length=extract.text_length if read else None,
        simhash=f"{extract.simhash:016x}" if extract.simhash is not None else None,
        links_out=len(extract.found) if read else None,
        ip=page.ip if page else None,
        http_version=page.http_version if page else None,
        records=extract.records,
        problems=extract.problems,
        run=run,
    )


def _final_url(page: Page | None, found: tuple[Outlink, ...]) -> str | None:
    if page is None or page.location is None:
        return None
    return found[0][0] if found else page.location


def _mime(page: Page) -> str | None:
    return page.header("content-type").partition(";")[0].strip().lower() or None


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def rfc3339(moment: float) -> str:
    """Unix time as 2026-11-24T10:00:00.123Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
