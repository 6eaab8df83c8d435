"""What a crawl writes, by its configuration: the sinks of its folder, in the order of writing.

Nothing is opened here but the upload; build.py opens the others and cuts each to its mark.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from crawler import __version__
from crawler.config import Config
from crawler.identity import user_agent
from crawler.sinks.files import Files
from crawler.sinks.graph import Graph
from crawler.sinks.jsonl import JsonLines, RecordLines
from crawler.sinks.skipped import Skipped
from crawler.sinks.texts import Texts
from crawler.sinks.upload import Upload
from crawler.sinks.warc import Warc

if TYPE_CHECKING:
    from crawler.frontier.redis import RedisFrontier
    from crawler.frontier.sqlite import SqliteFrontier

Output: TypeAlias = JsonLines | Graph | Files | Texts | Skipped | Warc
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
        outputs.append(Graph(folder / "graph.bin", durable=durable))
    if config.parse.plugins or config.parse.rules:
        outputs.append(RecordLines(folder / "records.jsonl", durable=durable, run=run))
    if config.output.save != "none":
        every = config.output.save == "all"
        outputs.append(Files(folder / "html", every=every, durable=durable))
    if config.output.text:
        outputs.append(Texts(folder / "text", durable=durable))
    if config.output.warc:
        outputs.append(
            Warc(
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
            Skipped(
                folder / Skipped.name,
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
