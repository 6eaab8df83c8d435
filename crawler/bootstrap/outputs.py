"""What a crawl writes, by its configuration: the sinks of its folder, in the order of writing.

Nothing is opened here but the upload; build.py opens the others and cuts each to its mark.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from crawler.config.model import Config
from crawler.output.body_files import BodyFiles
from crawler.output.graph import GraphFile
from crawler.output.jsonl import JsonLines, RecordLines
from crawler.output.markdown_files import MarkdownFiles
from crawler.output.skipped import SkippedFile
from crawler.output.upload import Upload
from crawler.output.warc.writer import WarcWriter
from crawler.policy.user_agent import user_agent
from crawler.version import __version__

if TYPE_CHECKING:
    from crawler.frontier.redis.redis_frontier import RedisFrontier
    from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier

Output: TypeAlias = JsonLines | GraphFile | BodyFiles | MarkdownFiles | SkippedFile | WarcWriter
"""A sink of ours: opened, cut to its mark and closed here."""


async def upload_of(stack: AsyncExitStack, config: Config, folder: Path) -> Upload | None:
    if not config.output.upload:
        return None
    return await stack.enter_async_context(Upload(folder, config.output.upload))


def outputs_of(
    config: Config,
    folder: Path,
    frontier: SqliteFrontier | RedisFrontier,
    upload: Upload | None,
) -> list[Output]:
    """Not open yet. `upload` is offered each archive that is finished."""
    outputs: list[Output] = []
    durable = config.output.durable

    def run() -> int:
        return frontier.run

    if config.output.jsonl:
        outputs.append(JsonLines(folder / "pages.jsonl", durable=durable, run=run))
    if (
        config.output.graph and config.frontier.url is None
    ):  # it names links as a folder's queue does
        outputs.append(GraphFile(folder / "graph.bin", durable=durable))
    if config.parse.plugins or config.parse.rules:
        outputs.append(RecordLines(folder / "records.jsonl", durable=durable, run=run))
    if config.output.save != "none":
        every = config.output.save == "all"
        outputs.append(BodyFiles(folder / "html", every=every, durable=durable))
    if config.output.text:
        outputs.append(MarkdownFiles(folder / "text", durable=durable))
    if config.output.warc:
        outputs.append(
            WarcWriter(
                folder / "warc",
                about=_warcinfo(config),
                max_file=config.warc.max_file,
                compression=config.warc.compression,
                digest=config.warc.digest,
                revisit=config.warc.revisit,
                durable=durable,
                finished=upload.offer if upload else None,
            )
        )
    if config.output.skipped:
        outputs.append(
            SkippedFile(
                folder / SkippedFile.name,
                take=frontier.refusals,
                keep=partial(frontier.settle, []),
                durable=durable,
            )
        )
    return outputs


def _warcinfo(config: Config) -> dict[str, str]:
    """Who made an archive, and how: the fields of its warcinfo records."""
    return {
        "software": f"crawler/{__version__}",
        "format": "WARC File Format 1.1",
        "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
        "robots": "obey" if config.robots.obey else "ignore",
        "http-header-user-agent": user_agent(config),
        **({"operator": config.fetch.contact} if config.fetch.contact else {}),
    }
