"""The library's `download()`: an async iterator that yields each file as soon as it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawler.downloads.download_request import DownloadRequest, DownloadResult

if TYPE_CHECKING:
    from crawler.config.model import Config


@asynccontextmanager
async def download(
    files: Sequence[str | DownloadRequest],
    dir: Path | str = ".",  # noqa: A002 - the word that everyone uses for it
    *,
    config: Config | None = None,
    **settings: Any,
) -> AsyncIterator[AsyncIterator[DownloadResult]]:
    """Files from URLs or orders into a folder, as an async iterator.

    `async with download(["https://…/a.zip"], "data") as files: async for file in files: …`

    Every order comes out once, in the order in which they end: `file.status` is done, here (it was
    there already) or failed, with `file.reason`; a failure raises nothing. `settings` are
    configuration keys by their last name (`connections`, `limit_rate`, `max_filesize` …), on top of
    `config`, on top of `transfer.defaults.DEFAULTS`. Leaving early stops; what is there is gone on
    with by the next call for the same folder. Raises ConfigError, FatalError.
    """
    from crawler.bootstrap.download_setup import open_depot  # noqa: PLC0415 - aiohttp: only who downloads pays
    from crawler.config.loader import Settings, with_settings  # noqa: PLC0415
    from crawler.downloads.defaults import DEFAULTS  # noqa: PLC0415

    if config is None:
        base = Settings()
        for key, value in DEFAULTS.items():
            base.set(key, value, "download")
        config = base.config()
    chosen = with_settings(config, **settings)
    orders = [DownloadRequest(one) if isinstance(one, str) else one for one in files]
    arrived: asyncio.Queue[DownloadResult | None] = asyncio.Queue(256)
    left = False

    async def tell(file: DownloadResult) -> None:
        if not left:
            await arrived.put(file)

    async with open_depot(chosen, orders, Path(dir), tell=tell) as depot:

        async def run() -> None:
            try:
                await depot.crawl.run()
            finally:
                await tell_end()

        async def tell_end() -> None:
            if not left:
                await arrived.put(None)

        task = asyncio.create_task(run(), name="download")

        async def each() -> AsyncIterator[DownloadResult]:
            for file in depot.here:
                yield file
            while (file_or_end := await arrived.get()) is not None:
                yield file_or_end
            await task  # what ended it, where that was an error

        stream = each()
        try:
            yield stream
        finally:
            left = True
            depot.crawl.abort()
            while not arrived.empty():
                arrived.get_nowait()
            await stream.aclose()  # type: ignore[attr-defined]
            await asyncio.wait([task])
