"""The archive's index as sorted CDXJ, as pywb and other replay software reads it.

A line is `surt timestamp {json}`. Keys are made by the `surt` package, which pywb and cdxj-indexer
use too, so they are identical. No record is decompressed: 60 µs a capture, nearly all of it in
`surt`, where indexing the WARC files again takes 1 ms.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from crawler.errors import ConfigError
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture


def cdxj_lines(archive: WarcReader) -> Iterator[str]:
    """The lines sorted by key (as bytes), then time; sorted on disk, so memory is bounded."""
    surt = surt_function()
    encode = msgspec.json.Encoder().encode
    with (
        TemporaryDirectory(prefix="crawler-cdxj-") as scratch,
        closing(sqlite3.connect(Path(scratch) / "sort.db", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE line (key TEXT, at INTEGER, text TEXT)")
        db.execute("BEGIN")
        for capture in archive.captures.every():
            stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(capture.at // 1_000_000))
            key = surt(capture.url)
            text = f"{key} {stamp} {encode(_cdxj_fields(archive, capture)).decode()}"
            db.execute("INSERT INTO line VALUES (?, ?, ?)", (key, capture.at, text))
        db.execute("COMMIT")
        for (text,) in db.execute("SELECT text FROM line ORDER BY key, at"):
            yield text


def surt_function() -> Callable[[str], str]:
    """The function that makes keys. Raises ConfigError when its package is not installed."""
    try:
        from surt import surt  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("CDXJ needs the surt package: pip install 'crawler[archive]'") from error
    make: Callable[[str], str] = surt
    return make


def timestamp(at: int) -> str:
    """Microseconds (Unix time) as RFC 3339 in whole seconds, the format of WACZ's pages."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at // 1_000_000))


def _cdxj_fields(archive: WarcReader, capture: Capture) -> dict[str, str]:
    name, offset = archive.name_of(capture)
    return {
        "url": capture.url,
        "mime": "warc/revisit" if capture.original is not None else capture.mime or "unk",
        "status": str(capture.status),
        "digest": capture.digest,
        "length": str(capture.length),
        "offset": str(offset),
        "filename": name,
    }
