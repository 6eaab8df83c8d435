"""What is asked for and how far it is: the records of a download. Frozen, no I/O.

Order ──transfer──▶ Progress (as often as something is safe on disk) ──▶ File
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class DownloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file, as somebody wants it.

    `name` is where it goes below the folder; None: the answer and the URL decide. `headers` are
    sent to `url`'s origin only. `checksums` are `(algorithm, hexadecimal digest)`; `size` in bytes,
    None: not known. `mirrors` have the same bytes, best first. `also` are further names: each gets
    a copy of its own.
    """

    url: str
    name: str | None = None
    headers: dict[str, str] = {}
    checksums: tuple[tuple[str, str], ...] = ()
    size: Annotated[int, Meta(ge=0)] | None = None
    mirrors: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class FileProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is there of a file; written only after the bytes it speaks of.

    `name` is the place that was claimed, relative to the folder: the bytes lie in `name.part`
    until `finished` says that they are all there and right and may take the name. `spans` are the
    good parts, `(start, end)`. `validator` goes into If-Range (an ETag, or a date); without one
    nothing can be added to the bytes. `spoilt` are sources that gave wrong bytes.
    """

    name: str = ""
    size: int | None = None
    spans: tuple[tuple[int, int], ...] = ()
    validator: str = ""
    source: str = ""  # where the spans came from
    modified: float | None = None
    spoilt: tuple[str, ...] = ()
    finished: bool = False
    digest: str = ""


class DownloadResult(msgspec.Struct, frozen=True):
    """One file as it was handed over, or why it was not.

    `status` is one of done, here (it was there already), failed. `path` None: failed. `digest` is
    `algorithm:hex` of what was verified, empty when there was nothing to verify by. `reason` is a
    machine-readable word with a detail after a colon. `wire` are the bytes that came for it in this
    run. `aside` is where wrong bytes were put.
    """

    url: str
    status: str
    path: Path | None = None
    size: int | None = None
    digest: str = ""
    reason: str = ""
    wire: int = 0
    aside: Path | None = None
