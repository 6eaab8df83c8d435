"""A copy to browse from disk, made from the archive: the last good answer of every URL as a file.

A pass over the whole archive, because only then it is known which links lead to something that is
there. It may be repeated and killed at any time: a file is written beside its place and moved
there, and only when its bytes differ. An answer that is not good (a 500, a 404 of today) is in the
archive but changes nothing here; a 304 says that what is here is still right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import ada_url
import msgspec
import webencodings

from crawler.errors import FatalError, ParseError
from crawler.export.link_rewriter import attributes_of, replace_links, start_tags
from crawler.export.mirror_paths import mirror_path, to_be_hashed
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture
from crawler.parse.css import replace_urls
from crawler.parse.decode import UNICODE, declares_utf8, sheet_text, to_text
from crawler.parse.query_encoding import encoded_query
from crawler.parse.reader import HTML, XHTML
from crawler.parse.xhtml import as_html
from crawler.policy.urls import Urls
from crawler.utils.no_symlinks import make_folders, open_new

MIRROR: Final = "mirror"
"""The folder's name in the crawl's."""

LEDGER: Final = "mirror.db"
"""What was written, beside the copies; so that the next pass knows what to leave and to remove."""

CSS: Final = "text/css"
HOPS: Final = 20
"""Redirects followed from one link."""

_SCHEMA: Final = """
CREATE TABLE copy (
    url      TEXT PRIMARY KEY,
    position INTEGER,  -- of the last good answer; NULL: there was none
    target   TEXT,     -- where it led when it was last a redirect; NULL: nowhere
    path     TEXT      -- of its file; NULL: it has none
) WITHOUT ROWID;
"""


class MirrorResult(msgspec.Struct, frozen=True):
    """What a pass did."""

    files: int
    written: int
    removed: int
    start: Path  # what to open
    problems: tuple[str, ...] = ()

    def sentence(self) -> str:
        return (
            f"{self.files} files, {self.written} written, {self.removed} removed; open {self.start}"
        )


def write_mirror(archive: WarcReader, folder: Path, urls: Urls) -> MirrorResult:
    """Bring `folder` to what the archive holds. Raises FatalError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ledger = folder / LEDGER
        fresh = folder / f".{LEDGER}.part"
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a broken one is made again
            db.execute("PRAGMA journal_mode = OFF")
            db.executescript(_SCHEMA)
            db.execute("BEGIN")
            with closing(_Before(ledger)) as before:
                result = _Pass(archive, folder, urls, db, before).run()
            db.execute("COMMIT")
        fresh.replace(ledger)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        where = getattr(error, "filename", None) or folder
        raise FatalError(f"{where}: {reason}") from error
    return result


class _Before:
    """What the last pass wrote; nothing when there was none, or its ledger is damaged."""

    def __init__(self, ledger: Path) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.execute("CREATE TABLE copy (path TEXT, position INTEGER)")
        if ledger.exists():
            try:
                there = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)
                try:
                    there.execute("SELECT path, position FROM copy LIMIT 1").fetchall()
                except sqlite3.DatabaseError:
                    there.close()
                    raise
            except sqlite3.DatabaseError:
                return
            self._db.close()
            self._db = there

    def position(self, path: str) -> int | None:
        """The capture that the file was made from."""
        row = self._db.execute("SELECT position FROM copy WHERE path = ?", (path,)).fetchone()
        return None if row is None else int(row[0])

    def paths(self) -> Iterator[str]:
        for (path,) in self._db.execute("SELECT path FROM copy WHERE path IS NOT NULL"):
            yield path

    def close(self) -> None:
        self._db.close()


class _Pass:
    """One pass over an archive."""

    def __init__(
        self,
        archive: WarcReader,
        folder: Path,
        urls: Urls,
        db: sqlite3.Connection,
        before: _Before,
    ) -> None:
        self._archive = archive
        self._folder = folder
        self._urls = urls
        self._db = db
        self._before = before
        self._written = 0
        self._problems: list[str] = []
        self._path_of = lru_cache(1 << 16)(self._resolve)

    def run(self) -> MirrorResult:
        self._survey()
        start = self._name()
        files = 0
        query = "SELECT position, path FROM copy WHERE path IS NOT NULL ORDER BY position"
        for position, path in self._db.execute(query):
            capture = self._archive.captures.at(position)
            assert capture is not None
            files += 1
            try:
                self._write(capture, path)
            except ParseError as error:
                self._problems.append(f"{capture.url}: {error}")
        removed = self._remove()
        if start is not None:
            self._put("index.html", _door(start))
        return MirrorResult(
            files,
            self._written,
            removed,
            self._folder / (start or ""),
            tuple(self._problems),
        )

    def _survey(self) -> None:
        """The last good answer and the last redirect of every URL."""
        for capture in self._archive.captures.every():
            if capture.status == 200:
                self._db.execute(
                    "INSERT INTO copy (url, position) VALUES (?1, ?2) ON CONFLICT (url) "
                    "DO UPDATE SET position = ?2, target = NULL",
                    (capture.url, capture.position),
                )
            elif capture.target is not None:
                self._db.execute(
                    "INSERT INTO copy (url, target) VALUES (?1, ?2) ON CONFLICT (url) "
                    "DO UPDATE SET target = ?2",
                    (capture.url, self._urls.canonical(capture.target)),
                )

    def _name(self) -> str | None:
        """Give every copy its path; that of the first page, to open the mirror with."""
        start = first = None
        # Sorted before the first row comes, so that the table may change under it.
        rows = self._db.execute("SELECT url FROM copy WHERE position IS NOT NULL ORDER BY position")
        for (url,) in rows:
            mime = self._call(url)
            first = first or url
            if start is None and mime in HTML:
                start = url
        self._tell_apart()
        row = self._db.execute("SELECT path FROM copy WHERE url = ?", (start or first,)).fetchone()
        return None if row is None else str(row[0])

    def _call(self, url: str, *, hashed: bool = False) -> str:
        """Give a copy its path; its MIME type."""
        query = "SELECT position FROM copy WHERE url = ?"
        capture = self._archive.captures.at(self._db.execute(query, (url,)).fetchone()[0])
        assert capture is not None
        path = mirror_path(url, capture.mime, hashed=hashed)
        self._db.execute("UPDATE copy SET path = ? WHERE url = ?", (path, url))
        return capture.mime

    def _tell_apart(self) -> None:
        """Give names with a hash where two copies would meet on a file system that folds case."""
        self._db.execute("CREATE INDEX copy_exact ON copy (path)")
        self._db.execute("CREATE INDEX copy_folded ON copy (path COLLATE NOCASE)")
        shared = self._db.execute(
            "SELECT path FROM copy WHERE path IS NOT NULL GROUP BY path COLLATE NOCASE "
            "HAVING count(*) > 1"
        ).fetchall()
        for (path,) in shared:
            same = self._db.execute(
                "SELECT url, path FROM copy WHERE path = ? COLLATE NOCASE", (path,)
            ).fetchall()
            for url in to_be_hashed(same):
                self._call(url, hashed=True)
        self._db.execute("DROP INDEX copy_folded")
        self._db.execute("CREATE UNIQUE INDEX copy_path ON copy (path COLLATE NOCASE)")

    def _resolve(self, url: str) -> str | None:
        """The path of what a URL leads to, through redirects; None: it is not in the mirror."""
        path: str | None = None
        for _ in range(HOPS):
            row = self._db.execute("SELECT path, target FROM copy WHERE url = ?", (url,)).fetchone()
            if row is None:
                return path
            path = row[0] or path
            if row[1] is None or row[1] == url:
                return path
            url = row[1]
        return path

    # ── files ────────────────────────────────────────────────────────────────────────────────

    def _write(self, capture: Capture, path: str) -> None:
        if capture.mime in HTML:
            self._put(path, self._html(capture, path))
        elif capture.mime == CSS:
            self._put(path, self._css(capture, path))
        elif self._before.position(path) != capture.position or not (self._folder / path).exists():
            self._copy(capture, path)

    def _html(self, capture: Capture, path: str) -> bytes:
        body = self._archive.payload(capture).decoded()
        declared = declares_utf8(body)
        encoding = webencodings.lookup(capture.charset or "utf-8")
        if encoding is None or encoding.name == "utf-8":
            # Bytes that are not UTF-8 stay what they are; a browser will make of them what it did.
            text = body.decode("utf-8", "surrogateescape")
        else:
            text, _, _ = to_text(body, capture.charset)
            declared = False
        # A query was asked for in the page's encoding; on disk the page is in UTF-8.
        meant: Callable[[str], str] = _unchanged
        if encoding is not None and encoding.name not in UNICODE:
            meant = partial(encoded_query, charset=encoding.name)
        if capture.mime == XHTML:
            text = as_html(text)
        base = self._base(capture.url, text)
        new = replace_links(
            text,
            # A page names the same link again and again.
            lru_cache(None)(lambda link: self._place(meant(link), base, capture.url, path)),
            lambda link: _absolute(base, meant(link)) or link,
        )
        # On disk no header tells the charset; a byte order mark outranks what a page says itself.
        mark = "" if declared or new.startswith("\ufeff") else "\ufeff"
        return (mark + new).encode("utf-8", "surrogateescape")

    def _base(self, url: str, text: str) -> str:
        if "<base" not in text and "<BASE" not in text.upper():
            return url
        for name, start, end, _ in start_tags(text):
            if name == "base":
                for one in attributes_of(text, name, start, end):
                    if one.name == "href":
                        return _absolute(url, one.value.strip()) or url
        return url

    def _css(self, capture: Capture, path: str) -> bytes:
        body = self._archive.payload(capture).decoded()
        text, charset = sheet_text(body, capture.charset)
        if charset in UNICODE and not charset.startswith("utf-16"):
            text = body.decode("utf-8", "surrogateescape")

        def place(link: str) -> str:
            recoded = link if charset in UNICODE else encoded_query(link, charset)
            new = self._place(recoded, capture.url, capture.url, path)
            return link if new == recoded else new

        new = replace_urls(text, place)
        if new == text:
            return body
        # On disk no header names its charset: what was none of UTF-8's gets a mark.
        mark = "" if body.startswith(b"\xef\xbb\xbf") or charset == "utf-8" else "\ufeff"
        return (mark + new).encode("utf-8", "surrogateescape")

    def _place(self, link: str, base: str, url: str, path: str) -> str:
        """A link as it shall be on disk: relative where we have its target, else absolute."""
        if link.startswith("#") and base == url:
            return link
        absolute = _absolute(base, link)
        if absolute is None:
            return link
        rest, mark, fragment = absolute.partition("#")
        target = self._urls.canonical(rest)
        there = self._path_of(target) if target is not None else None
        if there is None:
            return absolute
        if there == path and mark:
            return mark + fragment
        return quote(_relative(there, path), safe="/._~@=,+-") + mark + fragment

    def _put(self, path: str, data: bytes) -> None:
        """Write a file, unless it is there with these bytes."""
        place = make_folders(self._folder, path)
        if place.is_file() and place.stat().st_size == len(data) and place.read_bytes() == data:
            return
        temporary = place.with_name(f".{place.name}.part")
        with open_new(temporary) as file:
            file.write(data)
        temporary.replace(place)
        self._written += 1

    def _copy(self, capture: Capture, path: str) -> None:
        place = make_folders(self._folder, path)
        temporary = place.with_name(f".{place.name}.part")
        with open_new(temporary) as file:
            for piece in self._archive.payload(capture).plain():
                file.write(piece)
        temporary.replace(place)
        self._written += 1

    def _remove(self) -> int:
        """Files of an earlier pass that now have another name, and folders left empty."""
        removed = 0
        for path in self._before.paths():
            if self._db.execute("SELECT 1 FROM copy WHERE path = ?", (path,)).fetchone():
                continue
            place = self._folder / path
            if place.is_file():
                place.unlink()
                removed += 1
            for above in place.parents:
                if above == self._folder or not above.is_dir() or any(above.iterdir()):
                    break
                above.rmdir()
        return removed


def _relative(there: str, path: str) -> str:
    """From one file to another; posixpath's function asks for the working directory first."""
    here, parts = path.split("/")[:-1], there.split("/")
    same = 0
    while same < len(here) and same < len(parts) - 1 and here[same] == parts[same]:
        same += 1
    return "/".join([".."] * (len(here) - same) + parts[same:])


def _unchanged(link: str) -> str:
    return link


def _absolute(base: str, link: str) -> str | None:
    """A link as a whole http address with its fragment; None when it is something else."""
    try:
        joined = ada_url.join_url(base, link)
    except ValueError:
        return None
    return joined if joined.startswith(("http://", "https://")) else None


def _door(start: str) -> bytes:
    """The page in the mirror's root: leads to the first page."""
    target = quote(start, safe="/._~@=,+-")
    return (
        "<!doctype html>\n<meta charset=utf-8>\n"
        f'<meta http-equiv=refresh content="0; url={target}">\n'
        f'<title>Mirror</title>\n<a href="{target}">{target}</a>\n'
    ).encode()
