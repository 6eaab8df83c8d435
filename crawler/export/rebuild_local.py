"""Move a crawl on many machines into one local folder: records merged, queue written, settings
saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from crawler.config.loader import Settings
from crawler.config.model import FrontierConfig
from crawler.config.workdir import FRONTIER, is_crawl, write_config
from crawler.errors import FolderLocked, FrontierError
from crawler.export.merge_crawls import PAGES, merge
from crawler.export.merge_warcs import WARC
from crawler.frontier.migrate.to_sqlite import FinishedUrl, held_still, moved_out, waiting
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.sqlite.statements import BRAKED


class RebuiltCrawl(msgspec.Struct, frozen=True):
    """Numbers of URLs that were moved."""

    finished: int
    waiting: int


async def rebuild_local(
    client: RedisClient, job: str, out: Path, folders: Sequence[str]
) -> RebuiltCrawl:
    """Rebuild the crawl of a Redis job in `out`, from the workers' folders.

    Raises FolderLocked (`out` contains a crawl; workers are running), ConfigError (no such job, a
    folder without records, a folder missing), FatalError. The job is only read and paused: after a
    failure, remove `out` and repeat.
    """
    if is_crawl(out):
        raise FolderLocked(f"{out}: already holds a crawl")
    saved = await held_still(client, job)
    unfinished = await waiting(client, job)
    unsettled = {item.link.url for item in unfinished if item.state != BRAKED}
    merged = merge(out, folders, unsettled=unsettled)
    pages = out / PAGES
    settings = Settings()
    settings.toml(saved, f"job {job}")
    config = settings.config()
    output = msgspec.structs.replace(config.output, dir=str(out))
    config = msgspec.structs.replace(config, frontier=FrontierConfig(), output=output)
    write_config(config, out)
    try:
        marks = {PAGES: pages.stat().st_size}
        if merged.archive.files:  # the crawl appends after the merged archive
            marks[WARC] = merged.archive.mark
        await moved_out(client, job, out / FRONTIER, unfinished, _finished(pages), marks)
    except OSError as error:
        raise FrontierError(f"{error.filename or out}: {error.strerror}") from error
    return RebuiltCrawl(merged.records, len(unsettled))


def _finished(pages: Path) -> Iterator[FinishedUrl]:
    decode = msgspec.json.Decoder(FinishedUrl).decode
    with pages.open("rb") as lines:
        for line in lines:
            yield decode(line)
