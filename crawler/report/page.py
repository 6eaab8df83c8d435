"""Render the report as one self-contained HTML file: no network, no script; light and dark."""

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

from crawler.export.output_file import open_output
from crawler.policy.end_message import sentence
from crawler.report.build import build_report
from crawler.report.crawl_diff import CrawlDiff
from crawler.report.data import BarValue, ReportData, TimeSlice
from crawler.report.page_records import PageRecords
from crawler.utils.units import amount
from crawler.utils.units import in_bytes as size
from crawler.version import __version__

REPORT_FILE: Final = "report.html"

TIMELINE_HEIGHT: Final = 120
"""Height of the time line's SVG in its units; the width is one unit per slice."""

TEMPLATE_OPTIONS: Final[dict[str, Any]] = {"trim_blocks": True, "lstrip_blocks": True}
"""Jinja options; a compiled template depends on them as well as on its text."""

REASON_TEXTS: Final = {
    "outOfScope": "outside the crawl's scope",
    "kind": "a kind of link that was not requested (images, styles, scripts …)",
    "robotsTxt": "forbidden by robots.txt",
    "robotsUnreachable": "the site's robots.txt could not be fetched",
    "tooDeep": "more clicks from a seed than allowed",
    "tooLong": "the URL is too long",
    "excluded": "matches an --exclude pattern",
    "notIncluded": "matches no --include pattern",
    "trap:segments": "a trap: too many path segments",
    "trap:repeats": "a trap: a path that repeats itself",
    "trap": "a trap: endless pages",
    "dns": "the host name has no address",
    "connection": "no connection, or it broke",
    "tls": "TLS was refused",
    "timeout": "the server took too long",
    "truncated": "the body ended too early",
    "too-large": "larger than allowed",
    "garbled": "not HTTP, or a broken encoding",
    "mime": "a content type that was not requested",
    "forbidden": "an address that is never visited",
    "parse": "the page could not be read",
    "redirect": "a redirect that leads nowhere",
    "tooManyLinks": "more links on a page than scope.max_links; the first were taken",
    "tooManyTags": "more tags on a page than there is memory for; the first were read",
    "tooManyAttributes": "more attributes on a page than there is memory for; the first were read",
    "charsetNotRead": "in an encoding that browsers do not read (ISO-2022-KR …)",
    "tooManyRecords": "a plugin returned more records than are kept per page",
    "tooManyEntries": "more URLs or bytes in a sitemap than allowed",
    "sitemapForeign": "a sitemap on a domain that is not its index's, nor in scope",
    "tooNested": "sitemaps nested too deeply",
}
"""Explanations of reasons."""


def write_report(folder: Path, page_records: PageRecords | None = None) -> Path:
    """Write DIR/report.html; an older one stays intact until the new one is complete. Raises
    CrawlerError.

    `page_records`: what was read from pages.jsonl already.
    """
    path = folder / REPORT_FILE
    text = render(build_report(folder, page_records))
    with open_output(path) as file:
        file.write(text.encode("utf-8", "replace"))
    return path


def render(data: ReportData) -> str:
    """The report as HTML. All text from the web is escaped."""
    return (
        templates()
        .get_template("report.html.jinja")
        .render(
            data=data,
            ending=_ending_sentence(data),
            line=timeline(data.slices),
            peak=max((piece.visits for piece in data.slices), default=0) / data.step,
            seconds=(data.last - data.first) if data.first and data.last else 0.0,
        )
    )


def _ending_sentence(data: ReportData) -> str:
    """How the crawl ended, or that it has not ended."""
    if not data.finish_reason:
        return "The crawl has not ended: it is running, or was killed and can be resumed"
    pending = data.states["queued"] + data.states["resting"]
    text = sentence(
        data.finish_reason,
        pending=pending,
        left=data.left,
        incomplete=sum(bar.number for bar in data.incomplete),
        folder=data.folder,
    )
    return text[0].upper() + text[1:]


def render_changes(changes: CrawlDiff) -> str:
    """A comparison of two crawls as HTML."""
    kinds = ("added", "removed", "changed", "moved", "unreachable")
    template = templates().get_template("diff.html.jinja")
    return template.render(changes=changes, kinds=kinds, version=__version__)


class _BytecodeCache(FileSystemBytecodeCache):
    """Caches compiled templates beside Python's own bytecode.

    Compiling takes 35 ms, as much as the rest of a small crawl's report. A changed template, Jinja
    version or option is compiled again. Where the cache cannot be written, or
    PYTHONDONTWRITEBYTECODE is set, templates are compiled each time.
    """

    def __init__(self) -> None:
        tag = sys.implementation.cache_tag
        super().__init__(str(Path(cache_from_source(__file__)).parent), f"%s.{tag}.jinja")

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002
        return name.removesuffix(".jinja")

    def get_source_checksum(self, source: str) -> str:
        return super().get_source_checksum(f"{jinja2.__version__} {TEMPLATE_OPTIONS}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                super().dump_bytecode(bucket)


@lru_cache(maxsize=1)
def templates() -> jinja2.Environment:
    """The Jinja environment with the templates beside this file and their filters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        bytecode_cache=_BytecodeCache(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        **TEMPLATE_OPTIONS,
    )
    environment.filters.update(
        amount=amount, size=size, duration=duration, ms=ms, utc_time=utc_time, meaning=meaning,
        clock=clock, widths=widths,
    )  # fmt: skip
    return environment


def timeline(slices: Sequence[TimeSlice]) -> list[tuple[int, float, float, TimeSlice]]:
    """Index, height, height of the failed part, and slice, for each bar."""
    scale = TIMELINE_HEIGHT / (max((piece.visits for piece in slices), default=0) or 1)
    return [
        (index, piece.visits * scale, piece.failed * scale, piece)
        for index, piece in enumerate(slices)
    ]


def widths(bars: Sequence[BarValue]) -> list[tuple[BarValue, float, float]]:
    """Each bar with its width and its share of the total, in percent."""
    maximum = max((bar.number for bar in bars), default=0) or 1
    total = sum(bar.number for bar in bars) or 1
    return [(bar, bar.number / maximum * 100, bar.number / total * 100) for bar in bars]


def meaning(reason: str) -> str:
    """The explanation of a reason; empty: none is needed."""
    word = reason.partition(":")[0]
    if word == "status":
        return ""
    return REASON_TEXTS.get(reason) or REASON_TEXTS.get(word, "")


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
    """Milliseconds as text, or seconds from 10,000 ms on."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def utc_time(at: float | None) -> str:
    """A Unix time as date and time in UTC; None: a dash."""
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def clock(at: float) -> str:
    """A Unix time as time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
