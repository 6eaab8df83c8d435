"""The two ends of a file's trip: is it there already, and what has come: is it right?"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from crawler.downloads import checksums
from crawler.downloads.content_coding import undone
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadResult, FileProgress
from crawler.downloads.duplicate import duplicate
from crawler.downloads.partial_file import RENEWING, PartialFile
from crawler.downloads.temp_file import TempFile
from crawler.errors import FileMismatch, SinkError

Checks = Sequence[tuple[str, str]]
"""`(algorithm, hexadecimal digest)`"""


class Finalizer:
    """One file's. `aside` is where bytes went that were wrong."""

    def __init__(self, copy: PartialFile, desk: DownloadContext) -> None:
        self.aside: Path | None = None
        self._copy = copy
        self._desk = desk

    async def already(self) -> DownloadResult | None:
        """A file that needs no asking; None: ask. What a killed run left undone is done here."""
        before, desk = self._copy.before, self._desk
        if before.name:
            part = TempFile(desk.place(before.name), fsync=desk.fsync)
            final = part.place
            if not before.finished:
                if before.spans and size_of(part.part) < before.spans[-1][1]:
                    self._copy.forget()  # somebody removed it
            elif size_of(part.part) == before.size:
                if size_of(final) >= 0 and Path(part.part).samefile(final):
                    Path(part.part).unlink()  # killed between the two halves of a rename by link
                else:
                    await self._named(part, partial(part.finish, replace=True))
                return await self._handed(self._file(before.size, before.digest))
            elif size_of(final) == before.size and desk.rules.exists not in RENEWING:
                return await self._handed(self._file(before.size, before.digest))
            else:
                self._copy.forget()
        elif desk.rules.exists == "continue":
            await desk.disk.run(self._adopt)
        if desk.rules.exists == "skip" and not before.spans:
            final = desk.place(self._copy.early_name())
            if (size := size_of(final)) >= 0:
                file = DownloadResult(
                    self._copy.order.url, "here", Path(final), size, reason="exists"
                )
                return await self._handed(file)
        return None

    def _adopt(self) -> None:
        """Go on with a file that another program left unfinished, if there is one: under its name,
        or with `.part` behind it. Raises SinkError.
        """
        name = self._copy.early_name()
        part = TempFile(self._desk.place(name), fsync=False)
        if os.path.lexists(f"{part.place}.aria2"):
            return  # it has holes, and only aria2 knows where
        try:
            if size_of(part.part) < 0 < size_of(part.place):
                Path(part.place).rename(part.part)
        except OSError as error:
            raise SinkError(f"{error.filename or part.place}: {error.strerror}") from error
        if (size := size_of(part.part)) > 0:
            self._copy.adopt(name, size)

    async def undo(self, held: list[bytes], most: int) -> list[bytes]:
        """What came is coded: put the file itself in its place, `most` bytes of it at most.

        What is `held` of it afterwards. Raises TooLarge, Truncated, ProtocolError, SinkError.
        """
        copy, desk = self._copy, self._desk
        part = copy.part or copy.new_part()
        coded = Path(part.part)
        source = coded if part.is_open else b"".join(held)
        if part.is_open:
            await desk.disk.run(part.seal, copy.size, None)
        else:
            await desk.disk.run(part.open, None, fresh=True)  # its folder, too
            part.close()
        plain = Path(f"{part.part}.plain")
        work = partial(undone, source, copy.coded, desk.undo, plain, most)
        copy.size = await desk.disk.run(work)
        await desk.disk.run(plain.replace, coded)
        await desk.disk.run(part.open, None, fresh=False)
        copy.part, copy.coded = part, ""
        return []

    async def finish(
        self, held: list[bytes], announced: list[tuple[str, str]], wire: int
    ) -> DownloadResult:
        """All bytes came, `held` of a small file are in memory. Right? Then it gets its name.

        `announced` are the server's own checksums, `wire` the bytes that came in this run. Raises
        FileMismatch, the wrong bytes put aside.
        """
        copy, desk = self._copy, self._desk
        size = copy.size or 0
        if copy.order.size is not None and size != copy.order.size:
            raise FileMismatch(f"{size} bytes, {copy.order.size} expected")
        part = copy.part or copy.new_part()
        if not part.is_open and copy.spans.total:  # an earlier run had it all, but not its name
            await desk.disk.run(part.open, None, fresh=False)
        wanted = [*copy.order.checksums, *announced]
        if not part.is_open:
            digest = await self._checked(part, held, wanted)
            held = [] if wanted or desk.fsync else held
        else:
            names = {name for name, _ in wanted}
            have = (
                await desk.disk.run(checksums.digests_of, Path(part.part), names) if wanted else {}
            )
            digest = await self._right(part, wanted, have)
            await desk.disk.run(part.seal, size, copy.modified)
        progress = copy.finished(size, digest)
        await desk.book.save(copy.order.url, progress)
        replace = desk.rules.exists in RENEWING
        while True:
            try:
                await self._named(part, partial(_finished, part, held, copy.modified, replace))
                break
            except FileExistsError:  # somebody made one in the meantime
                held = []
                part = await self._elsewhere(part, progress)
        return await self._handed(self._file(size, digest, wire))

    async def _checked(self, part: TempFile, held: list[bytes], wanted: Checks) -> str:
        """The digest of a small file, which is written where it may not wait for its name: it is
        to be looked at first, or to survive a power cut before its name does.
        """
        if not wanted and not self._desk.fsync:
            return ""
        copy = self._copy
        await self._desk.book.save(copy.order.url, copy.progress(()))
        names = {name for name, _ in wanted}
        work = partial(_written, part, held, copy.modified, names)
        return await self._right(part, wanted, await self._desk.disk.together(work))

    async def _right(self, part: TempFile, wanted: Checks, have: Mapping[str, str]) -> str:
        """The strongest digest that fits. Raises FileMismatch."""
        trouble = checksums.wrong(wanted, have)
        if not trouble:
            return checksums.strongest(have)
        if self._desk.rules.keep_wrong:
            self.aside = await self._desk.disk.run(part.put_aside)
        else:
            part.close()
            Path(part.part).unlink(missing_ok=True)
        self._copy.part = None
        raise FileMismatch(trouble)

    async def _named(self, part: TempFile, work: Callable[[], None]) -> None:
        """Work that makes the file's name."""
        await self._desk.disk.together(work, part.folder if self._desk.fsync else None)

    async def _elsewhere(self, part: TempFile, progress: FileProgress) -> TempFile:
        """The next free name, the bytes with it."""
        copy, desk = self._copy, self._desk
        desk.folders.meet(copy.name)
        desk.claims.give_back(copy.name, copy.order.url)
        copy.claim(copy.early_name())
        moved = copy.new_part()
        Path(part.part).rename(moved.part)
        await desk.book.save(copy.order.url, msgspec.structs.replace(progress, name=copy.name))
        return moved

    async def _handed(self, file: DownloadResult) -> DownloadResult:
        """The file, once its further names have their copies. Raises SinkError."""
        desk = self._desk
        for name in self._copy.order.also:
            assert file.path is not None
            claimed = desk.claims.claim(name, f"{file.url} as {name}", replace=True)
            target = Path(desk.place(claimed))
            await desk.disk.run(
                duplicate, file.path, target, exists=desk.rules.exists, fsync=desk.fsync
            )
        return file

    def _file(self, size: int | None, digest: str, wire: int = 0) -> DownloadResult:
        path = self._desk.folder / self._copy.name
        return DownloadResult(
            self._copy.order.url, "done", path, size, digest, "", wire, self.aside
        )


def size_of(path: Path | str) -> int:
    """Bytes of a regular file; -1: there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _written(
    part: TempFile, chunks: list[bytes], modified: float | None, names: Iterable[str]
) -> dict[str, str]:
    """A whole small file, nameless yet; its digests."""
    part.open(None, fresh=True)
    if chunks:
        part.write(chunks, 0)
    part.seal(None, modified)
    return checksums.digests(chunks, names)


def _finished(part: TempFile, chunks: list[bytes], modified: float | None, replace: bool) -> None:
    """A small file in one go; another one only gets its name."""
    if chunks or size_of(part.part) < 0:
        _written(part, chunks, modified, ())
    part.finish(replace=replace)
