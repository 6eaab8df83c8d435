"""The result of a link check as text, JSON and JUnit XML. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from crawler.export.xml_text import replace_invalid
from crawler.report.anchors import Missing
from crawler.report.broken import BrokenLink
from crawler.utils.units import counted

MAX_REDIRECT_NOTES: Final = 20
"""Permanent redirects listed in the text; the JSON has all of them."""


class PermanentRedirect(msgspec.Struct, frozen=True):
    """A working link whose server redirects permanently (301, 308)."""

    url: str
    target: str
    status: int


class CheckResult(msgspec.Struct, frozen=True):
    """The result of a link check."""

    pages: int  # parsed
    links: int  # requested in all, including pages
    refused: int  # not requested: forbidden by robots.txt or the address guard
    broken: tuple[BrokenLink, ...]
    anchors: tuple[Missing, ...]
    complete: bool  # False: stopped early, or a limit was reached
    incomplete: int = 0  # incompletely parsed pages: a limit left links out
    ending: str = ""  # why no page was parsed; empty: at least one was
    unsure: tuple[BrokenLink, ...] = ()  # external hosts that rejected the crawler
    redirects: tuple[PermanentRedirect, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether no link and no anchor is broken."""
        return not (self.broken or self.anchors)


def as_text(result: CheckResult) -> Iterator[str]:
    """For people: a paragraph per broken link, the sums last."""
    for link in result.broken:
        yield f"{_reason(link)}  {link.url}"
        yield from _source_lines(link)
    for missing in result.anchors:
        yield f"no #{missing.fragment}  {missing.url}"
        for page in missing.sources:
            yield f"     on {page}"
        if missing.pages > len(missing.sources):
            yield f"     … and {missing.pages - len(missing.sources)} pages more"
    for link in result.unsure:
        yield f"unsure: {_reason(link)}  {link.url}"
        yield from _source_lines(link)
    for redirect in result.redirects[:MAX_REDIRECT_NOTES]:
        yield f"note: {redirect.status}  {redirect.url} redirects permanently to {redirect.target}"
    if len(result.redirects) > MAX_REDIRECT_NOTES:
        more = len(result.redirects) - MAX_REDIRECT_NOTES
        yield f"note: … and {more} more permanent redirects (--format json)"
    anchors = f", {len(result.anchors)} missing anchors" if result.anchors else ""
    unsure = f", {len(result.unsure)} unsure" if result.unsure else ""
    refused = (
        f", {result.refused} not requested (robots.txt, private addresses)"
        if result.refused
        else ""
    )
    ending = "" if result.complete else "; stopped before the end"
    if result.incomplete:
        ending += f"; {counted(result.incomplete, 'page')} not read whole, links were left out"
    if result.ending:
        yield result.ending
    yield (
        f"checked {counted(result.links, 'link')}, {result.pages} of them pages that were read: "
        f"{len(result.broken)} broken{anchors}{unsure}{refused}{ending}"
    )


def _reason(link: BrokenLink) -> str:
    """The status where it is the cause, else the reason: of a redirect loop, 302 says nothing."""
    return link.reason if link.reason.partition(":")[0] != "status" else str(link.status)


def _source_lines(link: BrokenLink) -> Iterator[str]:
    for source in link.sources:
        through = f" (by way of {source.through})" if source.through else ""
        yield f"     on {source.url}{through}"
    if link.pages > len(link.sources):
        yield f"     … and {link.pages - len(link.sources)} pages more"


def as_json(result: CheckResult) -> str:
    """The result as one JSON object."""
    tree: dict[str, Any] = msgspec.to_builtins(result)
    return msgspec.json.encode({"sound": result.sound, **tree}).decode()


def as_junit(result: CheckResult, good: Iterator[str]) -> Iterator[str]:
    """The format that CI systems read: a test case per link. `good` are the URLs that work."""
    failures = len(result.broken) + len(result.anchors)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    tests = result.links + len(result.anchors)
    yield f'<testsuites tests="{tests}" failures="{failures}">'
    yield (
        f'<testsuite name="crawler check" tests="{tests}" failures="{failures}" errors="0" '
        f'skipped="{len(result.unsure)}">'
    )
    for link in result.broken:
        pages = "\n".join(
            f"on {source.url}" + (f" by way of {source.through}" if source.through else "")
            for source in link.sources
        )
        yield _failed_test(link.url, link.reason, pages)
    for missing in result.anchors:
        pages = "\n".join(f"on {page}" for page in missing.sources)
        yield _failed_test(
            f"{missing.url}#{missing.fragment}", "anchor: the page has no such id", pages
        )
    for link in result.unsure:
        yield (
            f'<testcase classname="link" name={_quote(link.url)}>'
            f"<skipped message={_quote(link.reason)}/></testcase>"
        )
    for url in good:
        yield f'<testcase classname="link" name={_quote(url)}/>'
    yield "</testsuite>"
    yield "</testsuites>"


def _failed_test(name: str, reason: str, pages: str) -> str:
    pages = escape(replace_invalid(pages))
    return (
        f'<testcase classname="link" name={_quote(name)}>'
        f"<failure message={_quote(reason)}>{pages}</failure></testcase>"
    )


def _quote(text: str) -> str:
    return quoteattr(replace_invalid(text))
