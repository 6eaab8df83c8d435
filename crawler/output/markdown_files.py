"""text/: the main content of each page as Markdown, one file a page, beside and like the bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from crawler.errors import SinkError
from crawler.output.body_files import keep, path_for
from crawler.records import CrawlResult


def text_path(url: str) -> str:
    """The relative path of a page's Markdown: `path_for`'s with another ending."""
    return f"{path_for(url, 'text/html').removesuffix('.html')}.md"


class MarkdownFiles:
    """Implements `protocols.Sink`; a file that is written again is the same file."""

    name = "texts"

    def __init__(self, folder: Path, *, durable: str = "process") -> None:
        self._folder = folder
        self._fsync = durable == "power"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        texts = [
            (text_path(visit.link.url), visit.extract.markdown.encode("utf-8", "replace"))
            for visit in visits
            if visit.extract is not None and visit.extract.markdown is not None
        ]
        if texts:
            try:
                await asyncio.to_thread(keep, self._folder, texts, fsync=self._fsync)
            except OSError as error:
                raise SinkError(f"{error.filename or self._folder}: {error.strerror}") from error
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut."""
