"""Reading WARC files with fastwarc and warcio, and comparing what they hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warcio.archiveiterator import ArchiveIterator

from crawler.output.warc.writer import WarcWriter
from crawler.parse.warc_builder import WarcBuilder
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, Timings


def files(folder: Path) -> list[Path]:
    return sorted((folder / "warc").glob("*.warc*"))


def exchanges(folder: Path) -> Iterator[tuple[str, Any, Any, bytes]]:
    """Type, WARC headers, HTTP headers and payload of every record, as warcio reads them."""
    for path in files(folder):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, check_digests="raise"):
                body = record.raw_stream.read()
                yield record.rec_type, record.rec_headers, record.http_headers, body


def indexed_by_others(folder: Path) -> str:
    """The CDXJ that cdxj-indexer makes of the files."""
    indexer = Path(sys.executable).with_name("cdxj-indexer")
    return subprocess.check_output([indexer, "-s", *files(folder)], text=True)


def check(folder: Path) -> None:
    """`warcio check` has nothing to say."""
    command = [sys.executable, "-m", "warcio.cli", "check", "-v", *map(str, files(folder))]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
    assert "digest pass" in told.stdout
    assert "failed" not in told.stdout


def visit(path: str, body: bytes, spool: Path, status: int = 200, at: float = 1e9) -> CrawlResult:
    link = CrawlUrl(f"https://a.test{path}", "a.test", id=1)
    one = Page(link, status, (("Content-Type", "text/html"),), body, at, Timings(1.0), len(body))
    kept = WarcBuilder("gzip", "sha256", spool).keep(one)
    return CrawlResult(link, Outcome.DONE, one, kept=kept)


def sink(folder: Path, **more: Any) -> WarcWriter:
    return WarcWriter(
        folder, about={"software": "test"}, max_file=more.pop("max_file", 1500), **more
    )
