"""Facts → one HTML file that needs nothing else: no network, no script; light and dark."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.bccache import Bucket, FileSystemBytecodeCache

from crawler.errors import FatalError
from crawler.policy.end_message import sentence
from crawler.report.build import gather
from crawler.report.crawl_diff import CrawlDiff
from crawler.report.data import BarValue, ReportData, TimeSlice
from crawler.report.page_records import PageRecords
from crawler.utils.units import amount
from crawler.utils.units import in_bytes as size
from crawler.version import __version__

NAME: Final = "report.html"

HEIGHT: Final = 120
"""Units of the time line's picture; its width is one a slice."""

SYNTAX: Final[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True}
"""How templates are read: what a compiled one depends on beside its text."""

WORDS: Final = {
    "outOfScope": "outside the crawl's scope",
    "kind": "a kind of link that was not asked for (images, styles, scripts …)",
    "robotsTxt": "forbidden by robots.txt",
    "robotsUnreachable": "the site's robots.txt could not be had",
    "tooDeep": "more clicks from a seed than allowed",
    "tooLong": "the URL is too long",
    "excluded": "matches an --exclude pattern",
    "notIncluded": "matches no --include pattern",
    "trap:segments": "a trap: too many path segments",
    "trap:repeats": "a trap: a path that repeats itself",
    "trap": "a trap: pages without an end",
    "dns": "the host name has no address",
    "connection": "no connection, or it broke",
    "tls": "TLS was refused",
    "timeout": "the server took too long",
    "truncated": "the body ended too early",
    "too-large": "larger than allowed",
    "garbled": "not HTTP, or a broken encoding",
    "mime": "a content type that was not asked for",
    "forbidden": "an address that is never visited",
    "parse": "the page could not be read",
    "redirect": "a redirect that leads nowhere",
    "tooManyLinks": "more links on a page than scope.max_links; the first were taken",
    "tooManyTags": "more tags on a page than there is memory for; the first were read",
    "tooManyAttributes": "more attributes on a page than there is memory for; the first were read",
    "charsetNotRead": "in an encoding that browsers do not read (ISO-2022-KR …)",
    "tooManyRecords": "a plugin gave more than is kept of one page",
    "tooManyEntries": "more addresses in a sitemap, or bytes, than one may have",
    "sitemapForeign": "a sitemap on a domain that is not its index's, nor in scope",
    "tooNested": "sitemaps inside sitemaps without end",
}
"""What the reasons mean, for those who do not know them."""


def write_report(folder: Path, lines: PageRecords | None = None) -> Path:
    """Make DIR/report.html anew; the old one stays whole until then. Raises CrawlerError.

    `lines`: what was read of pages.jsonl already.
    """
    path = folder / NAME
    text = render(gather(folder, lines))
    temporary = path.with_name(f".{NAME}.part")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        temporary.replace(path)
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error
    return path


def render(facts: ReportData) -> str:
    """The page. Everything that a stranger wrote is escaped."""
    return (
        templates()
        .get_template("report.html.jinja")
        .render(
            facts=facts,
            ending=_ending(facts),
            line=timeline(facts.slices),
            peak=max((one.visits for one in facts.slices), default=0) / facts.step,
            seconds=(facts.last - facts.first) if facts.first and facts.last else 0.0,
        )
    )


def _ending(facts: ReportData) -> str:
    """The one sentence; in a report that is written while it runs, none."""
    if not facts.finish_reason:
        return "No word of an end: it is running, or was killed and can be resumed"
    pending = facts.states["queued"] + facts.states["resting"]
    said = sentence(
        facts.finish_reason,
        pending=pending,
        left=facts.left,
        incomplete=sum(bar.number for bar in facts.incomplete),
        folder=facts.folder,
    )
    return said[0].upper() + said[1:]


def render_changes(changes: CrawlDiff) -> str:
    """A comparison as a page of the same kind."""
    kinds = ("added", "removed", "changed", "moved", "unreachable")
    template = templates().get_template("diff.html.jinja")
    return template.render(changes=changes, kinds=kinds, version=__version__)


class _Compiled(FileSystemBytecodeCache):
    """Templates as Python's own modules: compiled once, kept beside their bytecode.

    Compiling costs 35 ms, as much as everything else about the report of a small crawl. A changed
    template, Jinja or setting is compiled anew; where nothing can be written, or
    PYTHONDONTWRITEBYTECODE says so, each time that none was written before.
    """

    def __init__(self) -> None:
        tag = sys.implementation.cache_tag
        super().__init__(str(Path(cache_from_source(__file__)).parent), f"%s.{tag}.jinja")

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002
        return name.removesuffix(".jinja")

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(f"{jinja2.__version__} {SYNTAX}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)


@lru_cache(maxsize=1)
def templates() -> jinja2.Environment:
    """The templates beside this file, with the words they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        bytecode_cache=_Compiled(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        **SYNTAX,
    )
    environment.filters.update(
        amount=amount, size=size, duration=duration, ms=ms, moment=moment, meaning=meaning,
        clock=clock, widths=widths,
    )  # fmt: skip
    return environment


def timeline(slices: Sequence[TimeSlice]) -> list[tuple[int, float, float, TimeSlice]]:
    """Place, height and height of the failed part of each bar."""
    most = max((one.visits for one in slices), default=0) or 1
    return [
        (place, one.visits / most * HEIGHT, one.failed / most * HEIGHT, one)
        for place, one in enumerate(slices)
    ]


def widths(bars: Sequence[BarValue]) -> list[tuple[BarValue, float, float]]:
    """Each bar with its length and its share of all, in percent."""
    most = max((bar.number for bar in bars), default=0) or 1
    total = sum(bar.number for bar in bars) or 1
    return [(bar, bar.number / most * 100, bar.number / total * 100) for bar in bars]


def meaning(reason: str) -> str:
    """A reason in plain words, where there are any."""
    word = reason.partition(":")[0]
    if word == "status":
        return ""
    return WORDS.get(reason) or WORDS.get(word, "")


def duration(seconds: float) -> str:
    """3725.2 → 1 h 2 min."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def ms(value: float | None) -> Any:
    """Milliseconds, or seconds once there are many."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def moment(at: float | None) -> str:
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
