"""The archive as one WACZ 1.1.1 file: WARCs, index, pages, and the hashes of all of them.

The index is CDXJ in blocks (ZipNum), so that a viewer fetches the block it needs and nothing else.
The WARCs are stored in the ZIP as they are: a record is found at its offset, over HTTP too.
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
from crawler.export.output_file import output
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.record_format import SUFFIX
from crawler.parse.reader import HTML
from crawler.version import __version__

BLOCK: Final = 1024
"""Lines of the index in one compressed block, as in archiveweb.page."""

STEP: Final = 1 << 20
"""Bytes read at a time."""

MOST_IN_MEMORY: Final = 8 << 20
"""Bytes of the index, or of the list of pages, before it goes into a temporary file."""


def write_wacz(archive: WarcReader, path: Path, *, title: str) -> int:
    """Write the file, whole or not at all; the number of pages in it.

    Raises FatalError when it cannot be written, ConfigError when the surt package is missing.
    """
    with output(path) as file, zipfile.ZipFile(file, "w") as package:
        return _fill(package, archive, title)


def unreadable(archive: WarcReader) -> str | None:
    """Why other programs could not read a package of this archive; None: they can.

    WACZ 1.1.1 takes WARCs that are plain or gzipped. Compressed with zstd, a record is found by
    none of them (tried: replayweb.page 2.4, pywb 2.8).
    """
    if any(path.name.endswith(SUFFIX["zstd"]) for path in archive.files.values()):
        return (
            "the archive is compressed with zstd, which replayweb.page and other viewers cannot "
            "read: crawl with --warc-compression gzip for a package that they open"
        )
    return None


def _fill(package: zipfile.ZipFile, archive: WarcReader, title: str) -> int:
    resources = []
    for source in archive.files.values():
        with source.open("rb") as file:  # as long as it is now: a crawl may be writing on it
            length = os.fstat(file.fileno()).st_size
            name = f"archive/{source.name}"
            resources.append(_put(package, name, _pieces(file, length), length))
    index: list[str] = ['!meta 0 {"format": "cdxj-gzip-1.0", "filename": "index.cdx.gz"}\n']
    blocks = _blocks(cdxj_lines(archive), index)
    resources.append(_put_made(package, "indexes/index.cdx.gz", blocks))
    idx = "".join(index).encode()
    resources.append(_put(package, "indexes/index.idx", [idx], len(idx), deflate=True))
    count = [0]
    lines = _pages(archive, count)
    resources.append(_put_made(package, "pages/pages.jsonl", lines, deflate=True))
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
    digest = _put(package, "datapackage.json", [description], len(description))["hash"]
    seal = msgspec.json.encode({"path": "datapackage.json", "hash": digest})
    _put(package, "datapackage-digest.json", [seal], len(seal))
    return count[0]


def _put(
    package: zipfile.ZipFile,
    name: str,
    pieces: Iterable[bytes],
    length: int,
    *,
    deflate: bool = False,
) -> dict[str, Any]:
    """Write one member of `length` bytes; its entry in datapackage.json.

    The length decides whether the local header has a ZIP64 field. The central directory has one
    only for members that need it, and viewers (wabac 2.27) skip the local header's field only where
    they see one there: both have it, or neither.
    """
    info = zipfile.ZipInfo(name, time.gmtime()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    digest = hashlib.sha256()
    size = 0
    with package.open(info, "w", force_zip64=length > zipfile.ZIP64_LIMIT) as member:
        for piece in pieces:
            member.write(piece)
            digest.update(piece)
            size += len(piece)
    return {
        "name": name.rpartition("/")[2].lower(),
        "path": name,
        "hash": f"sha256:{digest.hexdigest()}",
        "bytes": size,
    }


def _put_made(
    package: zipfile.ZipFile, name: str, pieces: Iterable[bytes], *, deflate: bool = False
) -> dict[str, Any]:
    """Write a member that is made as it goes: its length is known when all of it is there."""
    with SpooledTemporaryFile(MOST_IN_MEMORY) as file:
        for piece in pieces:
            file.write(piece)
        length = file.tell()
        file.seek(0)
        return _put(package, name, _pieces(file, length), length, deflate=deflate)


def _pieces(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file, or as many as it has."""
    while length and (piece := file.read(min(STEP, length))):
        length -= len(piece)
        yield piece


def _blocks(lines: Iterator[str], index: list[str]) -> Iterator[bytes]:
    """The lines in compressed blocks; `index` gets each block's first key and place."""
    offset = 0
    while block := list(islice(lines, BLOCK)):
        packed = gzip.compress("".join(f"{line}\n" for line in block).encode(), mtime=0)
        digest = hashlib.sha256(packed).hexdigest()
        key = " ".join(block[0].split(" ", 2)[:2])
        place = {
            "offset": offset,
            "length": len(packed),
            "digest": f"sha256:{digest}",
            "filename": "index.cdx.gz",
        }
        index.append(f"{key} {msgspec.json.encode(place).decode()}\n")
        offset += len(packed)
        yield packed


def _pages(archive: WarcReader, count: list[int]) -> Iterator[bytes]:
    """What a viewer lists: the HTML pages that were answered with 200."""
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
