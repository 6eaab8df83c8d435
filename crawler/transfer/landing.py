"""The two ends of a file's trip: is it there already, and what has come: is it right?"""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from crawler.errors import Mismatch
from crawler.transfer import checks
from crawler.transfer.copy import RENEWING, Copy
from crawler.transfer.desk import Desk
from crawler.transfer.order import File, Progress
from crawler.transfer.part import Part


class Landing:
    """One file's. `aside` is where bytes went that were wrong."""

    def __init__(self, copy: Copy, desk: Desk) -> None:
        self.aside: Path | None = None
        self._copy = copy
        self._desk = desk

    async def already(self) -> File | None:
        """A file that needs no asking; None: ask. What a killed run left undone is done here."""
        before, folder = self._copy.before, self._desk.folder
        if before.name:
            final = folder / before.name
            part = Part(final, fsync=self._desk.fsync)
            if not before.finished:
                if before.spans and size_of(part.part) < before.spans[-1][1]:
                    self._copy.forget()  # somebody removed it
            elif size_of(part.part) == before.size:
                if size_of(final) >= 0 and part.part.samefile(final):
                    part.part.unlink()  # killed between the two halves of a rename
                else:
                    await self._desk.on_disk(part.finish, None, before.modified, replace=True)
                return self._file(final, before.size, before.digest)
            elif size_of(final) == before.size and self._desk.rules.exists not in RENEWING:
                return self._file(final, before.size, before.digest)
            else:
                self._copy.forget()
        if self._desk.rules.exists == "skip" and not before.spans:
            final = folder / self._copy.early_name()
            if (size := size_of(final)) >= 0:
                return File(self._copy.order.url, "here", final, size, reason="exists")
        return None

    async def finish(self, held: list[bytes], announced: list[tuple[str, str]]) -> File:
        """All bytes came, `held` of a small file are in memory. Right? Then it gets its name.

        `announced` are the server's own checksums. Raises Mismatch, the wrong bytes put aside.
        """
        copy, desk = self._copy, self._desk
        size = copy.size or 0
        if copy.order.size is not None and size != copy.order.size:
            raise Mismatch(f"{size} bytes, {copy.order.size} expected")
        part = copy.part or copy.new_part()
        wanted = [*copy.order.checksums, *announced]
        if not part.is_open and (wanted or desk.fsync):
            await desk.book.save(copy.order.url, copy.progress(()))
            await desk.on_disk(_write, part, held)
            held = []
            await desk.on_disk(part.sync)
        digest = await self._verified(part, wanted) if wanted else ""
        progress = copy.progress(((0, size),) if size else ())
        progress = msgspec.structs.replace(progress, finished=True, size=size, digest=digest)
        await desk.book.save(copy.order.url, progress)
        replace = desk.rules.exists in RENEWING
        while True:
            try:
                await desk.on_disk(_finished, part, held, size, copy.modified, replace=replace)
                break
            except FileExistsError:  # somebody made one in the meantime
                held = []
                part = await self._elsewhere(part, progress)
        return self._file(part.path, size, digest)

    async def _verified(self, part: Part, wanted: list[tuple[str, str]]) -> str:
        """The strongest digest that fits. Raises Mismatch."""
        names = {name for name, _ in wanted}
        have = await self._desk.on_disk(checks.digests_of, part.part, names)
        trouble = checks.wrong(wanted, have)
        if not trouble:
            return checks.strongest(have)
        if self._desk.rules.keep_wrong:
            self.aside = await self._desk.on_disk(part.put_aside)
        else:
            part.close()
            part.part.unlink(missing_ok=True)
        self._copy.part = None
        raise Mismatch(trouble)

    async def _elsewhere(self, part: Part, progress: Progress) -> Part:
        """The next free name, the bytes with it."""
        copy, desk = self._copy, self._desk
        desk.claims.give_back(copy.name, copy.order.url)
        copy.claim(copy.early_name())
        moved = copy.new_part()
        part.part.rename(moved.part)
        await desk.book.save(copy.order.url, msgspec.structs.replace(progress, name=copy.name))
        return moved

    def _file(self, path: Path, size: int | None, digest: str) -> File:
        return File(self._copy.order.url, "done", path, size, digest, aside=self.aside)


def size_of(path: Path) -> int:
    """Bytes of a regular file; -1: there is none."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _write(part: Part, chunks: list[bytes]) -> None:
    part.open(None, fresh=True)
    if chunks:
        part.write(chunks, 0)


def _finished(
    part: Part, chunks: list[bytes], size: int, modified: float | None, *, replace: bool
) -> None:
    """A small file in one go; a large one only gets its name."""
    if not part.is_open and (chunks or not part.part.exists()):
        _write(part, chunks)
    part.finish(size, modified, replace=replace)
