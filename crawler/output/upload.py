"""Finished files copied to wherever fsspec can write: `s3://…`, `gs://…`, `memory://`.

The crawl writes to its own folder and stays as safe as it is; copies follow. An archive's file goes
out as soon as the next one was begun and its end is committed, everything else when the crawl ends.
A file that is there with the same length is not sent again, so copying may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from crawler.errors import ConfigError, SinkError

log = logging.getLogger(__name__)

SMALL: Final = 1 << 20
"""Bytes below which a file is sent whether or not its length is the same: it may be another."""

FINISHED: Final = ".warc"
"""In the name of a file that never changes while its length does not."""


class Upload:
    """Copies files of `folder` below `target`, one at a time, beside the crawl.

    What cannot be copied is tried again at the end; what then still fails is a SinkError when the
    block is left, and nothing is lost: it lies in the folder. When the crawl itself failed, only
    what was offered is copied.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self._folder = folder
        self._target = target
        self._waiting: asyncio.Queue[Path | None] = asyncio.Queue()
        self._fs: Any = None
        self._root = ""
        self._copier: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises ConfigError when the place is none that fsspec knows."""
        self._fs, self._root = await asyncio.to_thread(open_target, self._target)
        self._copier = asyncio.create_task(self._copy(), name="upload")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._copier is not None
        self._waiting.put_nowait(None)
        await self._copier
        if kind is None:
            await asyncio.to_thread(copy_all, self._folder, self._fs, self._root, self._target)

    def offer(self, path: Path) -> None:
        """A file that will not change any more."""
        self._waiting.put_nowait(path)

    async def _copy(self) -> None:
        while (path := await self._waiting.get()) is not None:
            try:
                await asyncio.to_thread(copy, path, self._folder, self._fs, self._root)
            except Exception as error:  # noqa: BLE001 - every file system has its own; again later
                log.warning("%s is not copied yet: %s", path.name, error)


def open_target(target: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises ConfigError in one line."""
    try:
        import fsspec.core  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("uploads need fsspec: pip install 'crawler[upload]'") from error
    try:
        system, root = fsspec.core.url_to_fs(target)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(f"output.upload: {target}: {error}") from error
    return system, str(root).rstrip("/")


def copy_all(folder: Path, system: Any, root: str, target: str) -> int:
    """Copy a crawl's files; the number that were sent. Raises SinkError for those that failed."""
    sent = 0
    failures: list[str] = []
    for path in _files(folder):
        try:
            sent += copy(path, folder, system, root)
        except Exception as error:  # noqa: BLE001 - every file system has its own
            failures.append(f"{path.relative_to(folder)}: {error}")
    if failures:
        raise SinkError(
            f"{len(failures)} files could not be copied to {target} ({failures[0]}); "
            f"again with: crawler export upload {folder} {target}"
        )
    return sent


def copy(path: Path, folder: Path, system: Any, root: str) -> bool:
    """Copy one file, unless it is there; whether it was sent. Raises what the file system does."""
    there = f"{root}/{path.relative_to(folder).as_posix()}"
    size = path.stat().st_size
    if (FINISHED in path.name or size >= SMALL) and system.exists(there):
        system.invalidate_cache(there)
        if system.size(there) == size:
            return False
    system.makedirs(there.rpartition("/")[0], exist_ok=True)
    system.put_file(str(path), there)
    return True


def _files(folder: Path) -> Iterator[Path]:
    """What a crawl left behind, but for what lives only as long as it runs."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        scratch = inside.parts[0] == "spool" or path.suffix in {".lock", ".part"}
        if path.is_file() and not scratch and not path.name.endswith(("-wal", "-shm")):
            yield path
