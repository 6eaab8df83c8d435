"""A crawl on many machines moved into one folder: records merged, queue written, settings saved."""

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
    """What was moved."""

    finished: int
    waiting: int


async def moved_home(
    wire: RedisClient, job: str, out: Path, folders: Sequence[str]
) -> RebuiltCrawl:
    """Raises FolderLocked (DIR holds a crawl; workers are at work), ConfigError (no such job, a
    folder without records, not all folders), FatalError. The job is only read and paused: where it
    fails, remove DIR and ask again.
    """
    if is_crawl(out):
        raise FolderLocked(f"{out}: already holds a crawl")
    saved = await held_still(wire, job)
    left = await waiting(wire, job)
    open_ = {one.link.url for one in left if one.state != BRAKED}
    merged = merge(out, folders, without=open_)
    pages = out / PAGES
    settings = Settings()
    settings.toml(saved, f"job {job}")
    config = msgspec.structs.replace(
        settings.config(), frontier=FrontierConfig(),
    )  # fmt: skip
    config = msgspec.structs.replace(
        config, output=msgspec.structs.replace(config.output, dir=str(out))
    )
    write_config(config, out)
    try:
        marks = {PAGES: pages.stat().st_size}
        if merged.archive.files:  # it goes on behind what was collected
            marks[WARC] = merged.archive.mark
        await moved_out(wire, job, out / FRONTIER, left, _finished(pages), marks)
    except OSError as error:
        raise FrontierError(f"{error.filename or out}: {error.strerror}") from error
    return RebuiltCrawl(merged.records, len(open_))


def _finished(pages: Path) -> Iterator[FinishedUrl]:
    decode = msgspec.json.Decoder(FinishedUrl).decode
    with pages.open("rb") as lines:
        for line in lines:
            yield decode(line)
