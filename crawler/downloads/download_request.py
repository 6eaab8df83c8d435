"""The records of a download: request, progress and result of one file. Frozen, no I/O.

DownloadRequest ──FileDownload──▶ FileProgress (after each save to disk) ──▶ DownloadResult
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class DownloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file to download.

    `name` is its path relative to the download folder; None: taken from the response and the URL.
    `headers` are sent to the origin of `url` only. `checksums` are `(algorithm, hexadecimal
    digest)`; `size` is in bytes, None: unknown. `mirrors` serve the same bytes, best first. `also`
    are further names, each of which gets a copy.
    """

    url: str
    name: str | None = None
    headers: dict[str, str] = {}
    checksums: tuple[tuple[str, str], ...] = ()
    size: Annotated[int, Meta(ge=0)] | None = None
    mirrors: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class FileProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is on disk of one file; written only after the bytes it describes.

    `name` is the claimed path, relative to the folder: the bytes are in `name.part` until
    `finished` says that all of them are there, verified, and ready to be renamed. `spans` are the
    byte ranges present, `(start, end)` with an exclusive end. `validator` is sent in If-Range (an
    ETag or a date); without one the bytes cannot be continued. `spoilt` are sources that served
    wrong bytes. `modified` is in Unix time.
    """

    name: str = ""
    size: int | None = None
    spans: tuple[tuple[int, int], ...] = ()
    validator: str = ""
    source: str = ""  # URL that the spans were fetched from
    modified: float | None = None
    spoilt: tuple[str, ...] = ()
    finished: bool = False
    digest: str = ""


class DownloadResult(msgspec.Struct, frozen=True):
    """The result of one file.

    `status` is done, here (it was there already) or failed. `path` None: failed. `digest` is the
    verified `algorithm:hex`, empty when there was no checksum. `reason` is a machine-readable word
    with a detail after a colon. `wire` is the number of bytes received for it in this run. `aside`
    is the path that wrong bytes were kept under.
    """

    url: str
    status: str
    path: Path | None = None
    size: int | None = None
    digest: str = ""
    reason: str = ""
    wire: int = 0
    aside: Path | None = None
