"""Downloads in tests: servers of files, honest and lying, and a whole download in one call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from crawler.bootstrap.download_stream import download
from crawler.downloads.download_request import DownloadRequest, DownloadResult
from helpers.website import Answer, Asked, Reply

PATIENCE = 120.0

LAST_MODIFIED = "Tue, 01 Sep 2026 10:00:00 GMT"
DATE = "Wed, 02 Sep 2026 10:00:00 GMT"


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that nothing compresses, the same every time."""
    return random.Random(seed).randbytes(size)


def span_of(asked: Asked, size: int) -> tuple[int, int] | None:
    """The range that was asked for; None: none was."""
    text = asked.headers.get("range", "")
    if not text.startswith("bytes="):
        return None
    first, _, last = text[6:].partition("-")
    return int(first), min(size, int(last) + 1 if last else size)


def ranged(
    body: bytes,
    *,
    etag: str = '"v1"',
    mime: str = "application/octet-stream",
    cut_after: int | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    pause: float = 0.0,
) -> Answer:
    """An honest server (RFC 9110 §14). `cut_after`: the connection ends after so many bytes of each
    answer; `pause` seconds between pieces of 64 KiB.
    """

    async def pieces(part: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(part), 65536):
            if pause:
                await asyncio.sleep(pause)
            yield part[at : at + 65536]

    async def answer(asked: Asked) -> Reply:
        span = span_of(asked, len(body))
        condition = asked.headers.get("if-range")
        fields = (*headers, ("Accept-Ranges", "bytes"), ("Last-Modified", LAST_MODIFIED),
                  ("Date", DATE), *((("ETag", etag),) if etag else ()))  # fmt: skip
        if span is not None and condition in {None, etag, LAST_MODIFIED}:
            start, end = span
            if start >= len(body):
                return Reply(416, b"", (*fields, ("Content-Range", f"bytes */{len(body)}")), mime)
            part, status = body[start:end], 206
            fields = (*fields, ("Content-Range", f"bytes {start}-{end - 1}/{len(body)}"))
        else:
            part, status = body, 200
        length = len(part)
        if cut_after is not None:
            part = part[:cut_after]
        return Reply(status, b"", fields, mime, length=length, stream=pieces(part))

    return answer


def lying(body: bytes, **lie: Any) -> Answer:
    """Honest about the whole file, but for the range that `lie` describes: status, fields, part."""
    honest = ranged(body, cut_after=lie.pop("cut_after", None))

    async def answer(asked: Asked) -> Reply:
        if span_of(asked, len(body)) is None:
            return await honest(asked)
        return Reply(
            lie["status"], lie["part"], tuple(lie["fields"]), lie.get("mime", "application/zip")
        )

    return answer


async def get(*orders: str | DownloadRequest, into: Path, **settings: Any) -> list[DownloadResult]:
    """Download all, and what became of each."""
    values = {"fast": True, "base": 0.01, "retries": 2, **settings}
    async with asyncio.timeout(PATIENCE), download(orders, into, **values) as files:
        return [file async for file in files]


async def get_one(order: str | DownloadRequest, into: Path, **settings: Any) -> DownloadResult:
    (file,) = await get(order, into=into, **settings)
    return file


def names_in(folder: Path) -> set[str]:
    """What the person sees: no state of ours."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".crawler-download" not in path.parts
    }
