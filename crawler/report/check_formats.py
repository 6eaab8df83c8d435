"""What a link check found, as text, JSON and JUnit XML. Nothing here reads or writes a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from crawler.report.anchors import Missing
from crawler.report.broken import BrokenLink
from crawler.utils.units import counted

NOTED: Final = 20
"""Redirects for good that are told one by one in the text; all are in the JSON."""


class PermanentRedirect(msgspec.Struct, frozen=True):
    """A link that is good, and whose server says that it lies elsewhere for good (301, 308)."""

    url: str
    target: str
    status: int


class CheckResult(msgspec.Struct, frozen=True):
    """The result of a check."""

    pages: int  # read
    links: int  # asked for in all, pages among them
    refused: int  # not asked for: robots.txt or the guard of private addresses forbids it
    broken: tuple[BrokenLink, ...]
    anchors: tuple[Missing, ...]
    complete: bool  # False: it was stopped, or reached a limit
    incomplete: int = 0  # pages that were not read whole: a limit left links out
    ending: str = ""  # why no page was read; empty: one was
    unsure: tuple[
        BrokenLink, ...
    ] = ()  # others' hosts turned us away: nothing is known of the link
    redirects: tuple[PermanentRedirect, ...] = ()

    @property
    def sound(self) -> bool:
        return not (self.broken or self.anchors)


def as_text(checked: CheckResult) -> Iterator[str]:
    """For people: a broken link a paragraph, the sums last."""
    for one in checked.broken:
        yield f"{_cause(one)}  {one.url}"
        yield from _where(one)
    for missing in checked.anchors:
        yield f"no #{missing.fragment}  {missing.url}"
        for page in missing.sources:
            yield f"     on {page}"
        if missing.pages > len(missing.sources):
            yield f"     … and {missing.pages - len(missing.sources)} pages more"
    for one in checked.unsure:
        yield f"unsure: {_cause(one)}  {one.url}"
        yield from _where(one)
    for note in checked.redirects[:NOTED]:
        yield f"note: {note.status}  {note.url} lies at {note.target} for good"
    if len(checked.redirects) > NOTED:
        yield f"note: … and {len(checked.redirects) - NOTED} such redirects more (--format json)"
    anchors = f", {len(checked.anchors)} missing anchors" if checked.anchors else ""
    unsure = f", {len(checked.unsure)} unsure" if checked.unsure else ""
    refused = (
        f", {checked.refused} not asked for (robots.txt, private addresses)"
        if checked.refused
        else ""
    )
    stopped = "" if checked.complete else "; stopped before the end"
    if checked.incomplete:
        stopped += f"; {counted(checked.incomplete, 'page')} not read whole, links were left out"
    if checked.ending:
        yield checked.ending
    yield (
        f"checked {counted(checked.links, 'link')}, {checked.pages} of them pages that were read: "
        f"{len(checked.broken)} broken{anchors}{unsure}{refused}{stopped}"
    )


def _cause(one: BrokenLink) -> str:
    """The status where that is what failed it; of a redirect in a circle, 302 says nothing."""
    return one.reason if one.reason.partition(":")[0] != "status" else str(one.status)


def _where(one: BrokenLink) -> Iterator[str]:
    for source in one.sources:
        way = f" (by way of {source.through})" if source.through else ""
        yield f"     on {source.url}{way}"
    if one.pages > len(one.sources):
        yield f"     … and {one.pages - len(one.sources)} pages more"


def as_json(checked: CheckResult) -> str:
    tree: dict[str, Any] = msgspec.to_builtins(checked)
    return msgspec.json.encode({"sound": checked.sound, **tree}).decode()


def as_junit(checked: CheckResult, good: Iterator[str]) -> Iterator[str]:
    """The form that CI systems read: a test case a link. `good` are the URLs that are there."""
    failures = len(checked.broken) + len(checked.anchors)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    tests = checked.links + len(checked.anchors)
    yield f'<testsuites tests="{tests}" failures="{failures}">'
    yield (
        f'<testsuite name="crawler check" tests="{tests}" failures="{failures}" errors="0" '
        f'skipped="{len(checked.unsure)}">'
    )
    for one in checked.broken:
        pages = "\n".join(
            f"on {source.url}" + (f" by way of {source.through}" if source.through else "")
            for source in one.sources
        )
        yield _failed(one.url, one.reason, pages)
    for missing in checked.anchors:
        pages = "\n".join(f"on {page}" for page in missing.sources)
        yield _failed(f"{missing.url}#{missing.fragment}", "anchor: the page has no such id", pages)
    for one in checked.unsure:
        yield (
            f'<testcase classname="link" name={_quoted(one.url)}>'
            f"<skipped message={_quoted(one.reason)}/></testcase>"
        )
    for url in good:
        yield f'<testcase classname="link" name={_quoted(url)}/>'
    yield "</testsuite>"
    yield "</testsuites>"


def _failed(name: str, reason: str, pages: str) -> str:
    return (
        f'<testcase classname="link" name={_quoted(name)}>'
        f"<failure message={_quoted(reason)}>{escape(_ODD.sub('�', pages))}</failure></testcase>"
    )


def _quoted(text: str) -> str:
    return quoteattr(_ODD.sub("�", text))


_ODD = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 §2.2 does not allow."""
