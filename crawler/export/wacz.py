"""Package the archive as one WACZ 1.1.1 file: WARCs, index, pages, and the hashes of all of them.

The index is CDXJ in compressed blocks (ZipNum), so that a viewer fetches only the block it needs.
The WARCs are stored in the ZIP uncompressed: a record can be read at its offset, also over HTTP.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import time
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import msgspec

from crawler.export.cdxj import cdxj_lines, timestamp
from crawler.export.output_file import open_output
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.record_format import SUFFIX
from crawler.parse.reader import HTML
from crawler.version import __version__

BLOCK_LINES: Final = 1024
"""Index lines in one compressed block, as in archiveweb.page."""

READ_BYTES: Final = 1 << 20
"""Bytes per read."""

SPOOL_MAX_BYTES: Final = 8 << 20
"""Bytes of the index, or of the list of pages, kept in memory before a temporary file is used."""


def write_wacz(archive: WarcReader, path: Path, *, title: str) -> int:
    """Write the file, complete or not at all; returns the number of pages in it.

    Raises FatalError when it cannot be written, ConfigError when the surt package is missing.
    """
    with open_output(path) as file, zipfile.ZipFile(file, "w") as package:
        return _write_package(package, archive, title)


def incompatibility(archive: WarcReader) -> str | None:
    """Why other programs could not read a package of this archive; None: they can.

    WACZ 1.1.1 allows plain and gzipped WARCs. No viewer finds a record compressed with zstd (tried:
    replayweb.page 2.4, pywb 2.8).
    """
    if any(path.name.endswith(SUFFIX["zstd"]) for path in archive.files.values()):
        return (
            "the archive is compressed with zstd, which replayweb.page and other viewers cannot "
            "read: crawl with --warc-compression gzip for a package that they open"
        )
    return None


def _write_package(package: zipfile.ZipFile, archive: WarcReader, title: str) -> int:
    """Write all members; returns the number of pages."""
    resources = []
    for source in archive.files.values():
        with source.open("rb") as file:  # its current length: a crawl may be appending to it
            length = os.fstat(file.fileno()).st_size
            name = f"archive/{source.name}"
            resources.append(_add_member(package, name, _read(file, length), length))
    index: list[str] = ['!meta 0 {"format": "cdxj-gzip-1.0", "filename": "index.cdx.gz"}\n']
    blocks = _index_blocks(cdxj_lines(archive), index)
    resources.append(_add_generated(package, "indexes/index.cdx.gz", blocks))
    idx = "".join(index).encode()
    resources.append(_add_member(package, "indexes/index.idx", [idx], len(idx), deflate=True))
    count = [0]
    lines = _page_lines(archive, count)
    resources.append(_add_generated(package, "pages/pages.jsonl", lines, deflate=True))
    description = msgspec.json.format(
        msgspec.json.encode(
            {
                "profile": "data-package",
                "wacz_version": "1.1.1",
                "title": title,
                "software": f"crawler {__version__}",
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "resources": resources,
            }
        )
    )
    digest = _add_member(package, "datapackage.json", [description], len(description))["hash"]
    digest_record = msgspec.json.encode({"path": "datapackage.json", "hash": digest})
    _add_member(package, "datapackage-digest.json", [digest_record], len(digest_record))
    return count[0]


def _add_member(
    package: zipfile.ZipFile,
    name: str,
    chunks: Iterable[bytes],
    length: int,
    *,
    deflate: bool = False,
) -> dict[str, Any]:
    """Write one member of `length` bytes; returns its entry in datapackage.json.

    The length decides whether the local header has a ZIP64 field. The central directory has one
    only for members that need it, and viewers (wabac 2.27) skip the local header's field only where
    they see one there: both must have it, or neither.
    """
    info = zipfile.ZipInfo(name, time.gmtime()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    digest = hashlib.sha256()
    size = 0
    with package.open(info, "w", force_zip64=length > zipfile.ZIP64_LIMIT) as member:
        for chunk in chunks:
            member.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {
        "name": name.rpartition("/")[2].lower(),
        "path": name,
        "hash": f"sha256:{digest.hexdigest()}",
        "bytes": size,
    }


def _add_generated(
    package: zipfile.ZipFile, name: str, chunks: Iterable[bytes], *, deflate: bool = False
) -> dict[str, Any]:
    """Write a member whose length is known only once it has been generated."""
    with SpooledTemporaryFile(SPOOL_MAX_BYTES) as file:
        for chunk in chunks:
            file.write(chunk)
        length = file.tell()
        file.seek(0)
        return _add_member(package, name, _read(file, length), length, deflate=deflate)


def _read(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file, or as many as it has."""
    while length and (chunk := file.read(min(READ_BYTES, length))):
        length -= len(chunk)
        yield chunk


def _index_blocks(lines: Iterator[str], index: list[str]) -> Iterator[bytes]:
    """The lines in compressed blocks; each block's first key and position is appended to
    `index`.
    """
    offset = 0
    while block := list(islice(lines, BLOCK_LINES)):
        compressed = gzip.compress("".join(f"{line}\n" for line in block).encode(), mtime=0)
        digest = hashlib.sha256(compressed).hexdigest()
        key = " ".join(block[0].split(" ", 2)[:2])
        entry = {
            "offset": offset,
            "length": len(compressed),
            "digest": f"sha256:{digest}",
            "filename": "index.cdx.gz",
        }
        index.append(f"{key} {msgspec.json.encode(entry).decode()}\n")
        offset += len(compressed)
        yield compressed


def _page_lines(archive: WarcReader, count: list[int]) -> Iterator[bytes]:
    """The list of pages for viewers: HTML pages with status 200. `count[0]` is set to their
    number.
    """
    encode = msgspec.json.Encoder().encode
    yield b'{"format": "json-pages-1.0", "id": "pages", "title": "All Pages"}\n'
    for capture in archive.captures.every():
        if capture.status == 200 and capture.mime in HTML:
            count[0] += 1
            yield (
                encode(
                    {
                        "id": f"{capture.position:x}",
                        "url": capture.url,
                        "ts": timestamp(capture.at),
                        "title": capture.title or capture.url,
                    }
                )
                + b"\n"
            )
