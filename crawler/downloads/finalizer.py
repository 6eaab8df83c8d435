"""The beginning and the end of a file download: is the file there already, and is it right?"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from crawler.downloads import checksums
from crawler.downloads.content_coding import decode_to_file
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadResult, FileProgress
from crawler.downloads.duplicate import duplicate
from crawler.downloads.partial_file import REPLACE_MODES, PartialFile
from crawler.downloads.temp_file import TempFile
from crawler.errors import FileMismatch, SinkError

Checks = Sequence[tuple[str, str]]
"""`(algorithm, hexadecimal digest)` pairs."""


class Finalizer:
    """Finds an existing file, and verifies and renames a complete one. `aside` is where wrong bytes
    were moved; None: nowhere.
    """

    def __init__(self, partial: PartialFile, context: DownloadContext) -> None:
        self.aside: Path | None = None
        self._partial = partial
        self._context = context

    async def find_existing(self) -> DownloadResult | None:
        """The result for a file that needs no request; None: it must be requested. Completes what a
        killed run left unfinished.
        """
        saved, context = self._partial.saved, self._context
        if saved.name:
            if (result := await self._complete_saved(saved)) is not None:
                return result
        elif context.settings.exists == "continue":
            await context.disk.run(self._adopt)
        if context.settings.exists == "skip" and not saved.spans:
            path = Path(context.path_of(self._partial.provisional_name()))
            if (size := size_of(path)) >= 0:
                url = self._partial.request.url
                return await self._with_copies(
                    DownloadResult(url, "here", path, size, reason="exists")
                )
        return None

    async def _complete_saved(self, saved: FileProgress) -> DownloadResult | None:
        """The result of a file that an earlier run completed; it is renamed if that was not done.

        None: bytes are missing. Saved progress whose bytes were removed is reset.
        """
        context = self._context
        temp = TempFile(context.path_of(saved.name), fsync=context.fsync)
        if not saved.finished:
            if saved.spans and size_of(temp.temp_path) < saved.spans[-1][1]:
                self._partial.reset()
            return None
        if size_of(temp.temp_path) == saved.size:
            if size_of(temp.final_path) >= 0 and Path(temp.temp_path).samefile(temp.final_path):
                Path(temp.temp_path).unlink()  # killed between link and unlink
            else:
                await self._run_rename(temp, functools.partial(temp.publish, replace=True))
        elif size_of(temp.final_path) != saved.size or context.settings.exists in REPLACE_MODES:
            self._partial.reset()
            return None
        return await self._with_copies(self._result(saved.size, saved.digest))

    def _adopt(self) -> None:
        """Continue a file that another program left unfinished, under its final name or with
        `.part` appended. Raises SinkError.
        """
        name = self._partial.provisional_name()
        temp = TempFile(self._context.path_of(name), fsync=False)
        if os.path.lexists(f"{temp.final_path}.aria2"):
            return  # it has gaps that only aria2 knows
        try:
            if size_of(temp.temp_path) < 0 < size_of(temp.final_path):
                Path(temp.final_path).rename(temp.temp_path)
        except OSError as error:
            raise SinkError(f"{error.filename or temp.final_path}: {error.strerror}") from error
        if (size := size_of(temp.temp_path)) > 0:
            self._partial.adopt(name, size)

    async def decode(self, buffered: list[bytes], max_bytes: int) -> list[bytes]:
        """Replace the encoded bytes with the decoded file, which may have `max_bytes`.

        Returns what is still buffered (nothing). Raises TooLarge, Truncated, ProtocolError,
        SinkError.
        """
        partial, context = self._partial, self._context
        temp = partial.temp or partial.new_temp_file()
        encoded = Path(temp.temp_path)
        source = encoded if temp.is_open else b"".join(buffered)
        if temp.is_open:
            await context.disk.run(temp.complete, partial.size, None)
        else:
            await context.disk.run(temp.open, None, fresh=True)  # creates its folder, too
            temp.close()
        plain = Path(f"{temp.temp_path}.plain")
        work = functools.partial(
            decode_to_file, source, partial.coding, context.decode, plain, max_bytes
        )
        partial.size = await context.disk.run(work)
        await context.disk.run(plain.replace, encoded)
        await context.disk.run(temp.open, None, fresh=False)
        partial.temp, partial.coding = temp, ""
        return []

    async def finish(
        self, buffered: list[bytes], server_digests: list[tuple[str, str]], wire: int
    ) -> DownloadResult:
        """Verify the complete file, `buffered` if it is small, and rename it.

        `server_digests` are checksums from the response, `wire` the bytes received in this run.
        Raises FileMismatch; wrong bytes are kept or removed as configured.
        """
        partial, context = self._partial, self._context
        size = partial.size or 0
        if partial.request.size is not None and size != partial.request.size:
            raise FileMismatch(f"{size} bytes, {partial.request.size} expected")
        temp = partial.temp or partial.new_temp_file()
        if not temp.is_open and partial.spans.total:
            # an earlier run had all of it, not yet renamed
            await context.disk.run(temp.open, None, fresh=False)
        wanted = [*partial.request.checksums, *server_digests]
        if not temp.is_open:
            digest = await self._write_and_verify(temp, buffered, wanted)
            buffered = [] if wanted or context.fsync else buffered
        else:
            names = {name for name, _ in wanted}
            work = functools.partial(checksums.file_digests, Path(temp.temp_path), names)
            have = await context.disk.run(work) if wanted else {}
            digest = await self._verify(temp, wanted, have)
            await context.disk.run(temp.complete, size, partial.modified)
        progress = partial.finished(size, digest)
        await context.store.save(partial.request.url, progress)
        replace = context.settings.exists in REPLACE_MODES
        while True:
            args = (temp, buffered, partial.modified, replace)
            try:
                await self._run_rename(temp, functools.partial(_write_and_publish, *args))
                break
            except FileExistsError:  # created by another program in the meantime
                buffered = []
                temp = await self._take_free_name(temp, progress)
        return await self._with_copies(self._result(size, digest, wire))

    async def _write_and_verify(self, temp: TempFile, buffered: list[bytes], wanted: Checks) -> str:
        """The digest of a small file. It is written before the rename only if it must be verified
        or must survive a power cut before its name does.
        """
        if not wanted and not self._context.fsync:
            return ""
        partial = self._partial
        await self._context.store.save(partial.request.url, partial.progress(()))
        names = {name for name, _ in wanted}
        work = functools.partial(_write_small, temp, buffered, partial.modified, names)
        return await self._verify(temp, wanted, await self._context.disk.run_grouped(work))

    async def _verify(self, temp: TempFile, wanted: Checks, have: Mapping[str, str]) -> str:
        """The strongest digest. Raises FileMismatch if one differs."""
        mismatch = checksums.find_mismatch(wanted, have)
        if not mismatch:
            return checksums.strongest_digest(have)
        if self._context.settings.keep_wrong:
            self.aside = await self._context.disk.run(temp.set_aside)
        else:
            temp.close()
            Path(temp.temp_path).unlink(missing_ok=True)
        self._partial.temp = None
        raise FileMismatch(mismatch)

    async def _run_rename(self, temp: TempFile, work: Callable[[], None]) -> None:
        """Run work that creates the file's name; with fsync, its folder is synced."""
        await self._context.disk.run_grouped(work, temp.folder if self._context.fsync else None)

    async def _take_free_name(self, temp: TempFile, progress: FileProgress) -> TempFile:
        """Move the bytes to the next free name."""
        partial, context = self._partial, self._context
        context.directory.add(partial.name)
        context.names.release(partial.name, partial.request.url)
        partial.claim(partial.provisional_name())
        moved = partial.new_temp_file()
        Path(temp.temp_path).rename(moved.temp_path)
        await context.store.save(
            partial.request.url, msgspec.structs.replace(progress, name=partial.name)
        )
        return moved

    async def _with_copies(self, file: DownloadResult) -> DownloadResult:
        """Copy the file to its further names; returns `file`. Raises SinkError."""
        context = self._context
        for name in self._partial.request.also:
            assert file.path is not None
            claimed = context.names.claim(name, f"{file.url} as {name}", replace=True)
            target = Path(context.path_of(claimed))
            await context.disk.run(
                duplicate, file.path, target, exists=context.settings.exists, fsync=context.fsync
            )
        return file

    def _result(self, size: int | None, digest: str, wire: int = 0) -> DownloadResult:
        path = self._context.folder / self._partial.name
        return DownloadResult(
            self._partial.request.url, "done", path, size, digest, "", wire, self.aside
        )


def size_of(path: Path | str) -> int:
    """Size in bytes of a regular file; -1: there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _write_small(
    temp: TempFile, chunks: list[bytes], modified: float | None, names: Iterable[str]
) -> dict[str, str]:
    """Write a whole small file under its temporary name; returns its digests."""
    temp.open(None, fresh=True)
    if chunks:
        temp.write(chunks, 0)
    temp.complete(None, modified)
    return checksums.chunk_digests(chunks, names)


def _write_and_publish(
    temp: TempFile, chunks: list[bytes], modified: float | None, replace: bool
) -> None:
    """Write a buffered small file, then rename it; a file already written is only renamed."""
    if chunks or size_of(temp.temp_path) < 0:
        _write_small(temp, chunks, modified, ())
    temp.publish(replace=replace)
