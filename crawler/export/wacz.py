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
from typing import Any, Final

import msgspec

from crawler import __version__
from crawler.errors import HouseError
from crawler.export.archive import Archive
from crawler.export.cdxj import cdxj_lines, timestamp
from crawler.parse.read import HTML

BLOCK: Final = 1024
"""Lines of the index in one compressed block, as in archiveweb.page."""

STEP: Final = 1 << 20


def write_wacz(archive: Archive, path: Path, *, title: str) -> int:
    """Write the file, whole or not at all; the number of pages in it.

    Raises HouseError when it cannot be written, ConfigError when the surt package is missing.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w") as package:
            pages = _fill(package, archive, title)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise HouseError(f"{error.filename or path}: {error.strerror}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return pages


def _fill(package: zipfile.ZipFile, archive: Archive, title: str) -> int:
    resources = [
        _put(package, f"archive/{source.name}", _bytes_of(source))
        for source in archive.files.values()
    ]
    index: list[str] = ['!meta 0 {"format": "cdxj-gzip-1.0", "filename": "index.cdx.gz"}\n']
    resources.append(_put(package, "indexes/index.cdx.gz", _blocks(cdxj_lines(archive), index)))
    idx = "".join(index).encode()
    resources.append(_put(package, "indexes/index.idx", [idx], deflate=True))
    count = [0]
    lines = _pages(archive, count)
    resources.append(_put(package, "pages/pages.jsonl", lines, deflate=True))
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
    digest = _put(package, "datapackage.json", [description])["hash"]
    seal = msgspec.json.encode({"path": "datapackage.json", "hash": digest})
    _put(package, "datapackage-digest.json", [seal])
    return count[0]


def _put(
    package: zipfile.ZipFile, name: str, pieces: Iterable[bytes], *, deflate: bool = False
) -> dict[str, Any]:
    """Write one member; its entry in datapackage.json."""
    info = zipfile.ZipInfo(name, time.gmtime()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    digest = hashlib.sha256()
    size = 0
    with package.open(info, "w", force_zip64=True) as member:
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


def _bytes_of(path: Path) -> Iterator[bytes]:
    """A file as long as it is now: a crawl may be writing on it."""
    with path.open("rb") as file:
        rest = os.fstat(file.fileno()).st_size
        while rest and (piece := file.read(min(STEP, rest))):
            rest -= len(piece)
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


def _pages(archive: Archive, count: list[int]) -> Iterator[bytes]:
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
