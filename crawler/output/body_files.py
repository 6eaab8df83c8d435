"""The bodies themselves, one file a page, under paths that cannot leave their folder.

A file is written under a temporary name and renamed, keyed by its URL, so writing twice is the same
as once and no mark is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from crawler.errors import SinkError
from crawler.records import CrawlResult, Kind
from crawler.utils.no_symlinks import make_folders, open_new

MAX_NAME = 100
"""Characters kept of one path segment; file systems end at 255 bytes."""

MAX_FOLDERS = 12
"""Folders kept of a deep path; the hash tells the rest apart."""

HTML = frozenset({"text/html", "application/xhtml+xml"})

DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
"""Names that are no files on Windows, whatever stands behind their first dot."""

_ODD = re.compile(r"[^a-z0-9_.~+=@,-]")


def path_for(url: str, mime: str) -> str:
    """The relative path of a page's body: readable folders, and a name that only this URL has.

    `https://example.com/Docs/a.html?x=1` → `example.com/docs/a.html.5ad3…9c.html`: every part is
    lower-cased ASCII without leading dots, so nothing escapes the folder, no name is a device, no
    two URLs meet on a file system that folds case or Unicode; the 80 bits of SHA-256 keep apart
    what that makes alike.
    """
    parts = urlsplit(url)
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    *folders, leaf = [_tame(part) for part in parts.path.split("/")[1:]] or [""]
    names = [_tame(parts.netloc) or "_", *(f"{name}_" for name in folders[:MAX_FOLDERS] if name)]
    suffix = ".html" if mime in HTML else Path(leaf).suffix or ".bin"
    return "/".join([*names, f"{leaf or 'index'}.{digest}{suffix}"])


def _tame(part: str) -> str:
    """One path segment as a harmless name; may be empty."""
    name = _ODD.sub("_", part.lower())[:MAX_NAME].strip(".")
    stem, dot, rest = name.partition(".")
    return f"{stem}_{dot}{rest}" if stem in DEVICES else name


class BodyFiles:
    """Implements `protocols.Sink`; needs the parse processes to send the decoded body back."""

    name = "files"

    def __init__(self, folder: Path, *, every: bool, durable: str = "process") -> None:
        self._folder = folder
        self._every = every
        self._fsync = durable == "power"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        bodies: list[tuple[str, bytes | Path]] = []
        for visit in visits:
            extract = visit.extract
            if extract is None or extract.body is None or visit.link.kind is Kind.ROBOTS:
                continue
            if self._every or extract.mime in HTML:
                bodies.append((path_for(visit.link.url, extract.mime), extract.body))
            elif isinstance(extract.body, Path):
                extract.body.unlink(missing_ok=True)
        if bodies:
            try:
                await asyncio.to_thread(keep, self._folder, bodies, fsync=self._fsync)
            except OSError as error:
                raise SinkError(f"{error.filename or self._folder}: {error.strerror}") from error
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut: a file that is written again is the same file."""


def keep(folder: Path, bodies: Sequence[tuple[str, bytes | Path]], *, fsync: bool) -> None:
    """Write files under relative paths, each whole or not at all; what is a file is moved."""
    for relative, body in bodies:
        path = make_folders(folder, relative)
        temporary = path.with_name(f".{path.name}.part")
        try:
            if isinstance(body, Path):
                temporary.unlink(missing_ok=True)
                shutil.move(body, temporary)
            with temporary.open("ab") if isinstance(body, Path) else open_new(temporary) as file:
                if isinstance(body, bytes):
                    file.write(body)
                if fsync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
