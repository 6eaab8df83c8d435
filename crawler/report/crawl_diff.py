"""Compare two crawls, or two runs of one, by main text instead of bytes.

Both sides are loaded into a temporary SQLite file, so that crawls of millions of pages are compared
in bounded memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError, FatalError
from crawler.frontier.sqlite.lookup import FrontierReader

_BATCH_ROWS: Final = 5000
_GONE: Final = ("status:404", "status:410")


class PageVersion(msgspec.Struct, gc=False):
    """The fields of a record that a comparison reads."""

    url: str
    outcome: str
    kind: str = "page"
    status: int | None = None
    reason: str | None = None
    final_url: str = ""
    digest: str | None = None
    text_digest: str | None = None
    title: str | None = None


class CrawlSide(msgspec.Struct, frozen=True):
    """A crawl's folder, in the state after one of its runs. `run` None: the last run."""

    folder: Path
    run: int | None = None


class PageChange(msgspec.Struct, frozen=True):
    """A URL on which the two sides differ. `detail` is where it moved to, or why it failed."""

    url: str
    title: str = ""
    detail: str = ""


class CrawlDiff(msgspec.Struct, frozen=True):
    """All changes. `unreachable`: present before, now failed without being gone (5xx, timeouts)."""

    before: str
    after: str
    unchanged: int
    added: tuple[PageChange, ...] = ()
    removed: tuple[PageChange, ...] = ()
    changed: tuple[PageChange, ...] = ()
    moved: tuple[PageChange, ...] = ()
    unreachable: tuple[PageChange, ...] = ()

    @property
    def number(self) -> int:
        """The number of changed URLs."""
        lists = (self.added, self.removed, self.changed, self.moved, self.unreachable)
        return sum(len(change) for change in lists)


def runs(folder: Path) -> int:
    """The number of runs of a crawl. Raises ConfigError when there is no crawl."""
    with FrontierReader(folder / FRONTIER) as reader:
        return len(reader.spans("pages"))


def compare(before: CrawlSide, after: CrawlSide) -> CrawlDiff:
    """Compare two sides. Raises ConfigError for sides that cannot be compared, FatalError for
    unreadable files.
    """
    db = sqlite3.connect("")  # a temporary file, gone when it is closed
    try:
        db.executescript(_TABLES)
        _load_state(db, "a", before)
        _load_state(db, "b", after)
        moved = tuple(_moved(db))
        from_urls = {change.url for change in moved}
        to_urls = {change.detail for change in moved}
        return CrawlDiff(
            before=_describe(before),
            after=_describe(after),
            unchanged=db.execute(_UNCHANGED).fetchone()[0],
            added=tuple(change for change in _changes(db, _ADDED) if change.url not in to_urls),
            removed=tuple(
                change for change in _changes(db, _REMOVED) if change.url not in from_urls
            ),
            changed=tuple(_changes(db, _CHANGED)),
            moved=moved,
            unreachable=tuple(_changes(db, _UNREACHABLE)),
        )
    finally:
        db.close()


def _describe(side: CrawlSide) -> str:
    return str(side.folder) if side.run is None else f"{side.folder}, run {side.run}"


def _load_state(db: sqlite3.Connection, table: str, side: CrawlSide) -> None:
    """Load the state after a run: the last line of each URL. A 304 or a failure keeps what was
    known before; `had` is true if a page was read last and is not known to be gone.
    """
    path = side.folder / "pages.jsonl"
    with FrontierReader(side.folder / FRONTIER) as reader:
        spans = reader.spans("pages")
    if side.run is not None and not 1 <= side.run <= len(spans):
        raise ConfigError(f"{side.folder}: has no run {side.run}, only {len(spans)}")
    end = None if side.run is None else spans[side.run - 1].end
    statement = _UPSERT.replace("side", table)
    rows: list[tuple[object, ...]] = []
    for line in _lines(path, end):
        if line.kind != "page":
            continue
        present = line.outcome in {"done", "unchanged"}
        gone = line.reason in _GONE
        had = True if present else False if gone or line.outcome == "moved" else None
        rows.append(
            (
                line.url, line.outcome, present, had, gone, line.text_digest or line.digest,
                line.title or "", line.final_url if line.outcome == "moved" else "",
                line.reason or "",
            )
        )  # fmt: skip
        if len(rows) >= _BATCH_ROWS:
            db.executemany(statement, rows)
            rows.clear()
    db.executemany(statement, rows)


def _lines(path: Path, end: int | None) -> Iterator[PageVersion]:
    decode = msgspec.json.Decoder(PageVersion).decode
    offset = 0
    try:
        with path.open("rb") as file:
            for text in file:
                offset += len(text)
                if (end is not None and offset > end) or not text.endswith(b"\n"):
                    return
                yield decode(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path.parent}: has no pages.jsonl to compare") from error
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise FatalError(f"{path}: {error}") from error


def _changes(db: sqlite3.Connection, statement: str) -> Iterator[PageChange]:
    return (PageChange(*row) for row in db.execute(statement))


def _moved(db: sqlite3.Connection) -> Iterator[PageChange]:
    """Pages that redirect to an existing page, or are gone while their exact text is at one new
    URL.
    """
    seen = set()
    for url, title, target in db.execute(_REDIRECTED):
        seen.add(url)
        yield PageChange(url, title, target)
    for url, title, target in db.execute(_REAPPEARED):
        if url not in seen:
            yield PageChange(url, title, target)


_TABLES: Final = """
CREATE TABLE a (url TEXT PRIMARY KEY, outcome TEXT, present INT, had INT, gone INT,
                text TEXT, title TEXT, target TEXT, reason TEXT) WITHOUT ROWID;
CREATE TABLE b (url TEXT PRIMARY KEY, outcome TEXT, present INT, had INT, gone INT,
                text TEXT, title TEXT, target TEXT, reason TEXT) WITHOUT ROWID;
"""

_UPSERT: Final = """
INSERT INTO side VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (url) DO UPDATE SET outcome = excluded.outcome, present = excluded.present,
had = coalesce(excluded.had, had), gone = excluded.gone, reason = excluded.reason,
target = excluded.target,
text = CASE WHEN excluded.had IS NULL THEN text
       WHEN excluded.outcome = 'unchanged' THEN coalesce(excluded.text, text)
       ELSE excluded.text END,
title = CASE WHEN excluded.had IS NULL OR excluded.outcome = 'unchanged' THEN title
        ELSE excluded.title END
"""

_UNCHANGED: Final = """
SELECT count(*) FROM a JOIN b USING (url) WHERE a.had AND b.present AND a.text IS b.text
"""

_CHANGED: Final = """
SELECT url, b.title, CASE WHEN a.title <> b.title THEN 'title was: ' || a.title ELSE '' END
FROM a JOIN b USING (url) WHERE a.had AND b.present AND a.text IS NOT b.text ORDER BY url
"""

_ADDED: Final = """
SELECT url, b.title FROM b LEFT JOIN a USING (url) WHERE b.present
AND (a.url IS NULL OR a.had IS NOT 1) ORDER BY url
"""

_REMOVED: Final = """
SELECT url, a.title, CASE WHEN b.url IS NULL THEN 'not found again' WHEN b.outcome = 'moved'
THEN 'redirects to ' || b.target ELSE b.reason END FROM a LEFT JOIN b USING (url)
WHERE a.had AND (b.url IS NULL OR b.gone OR b.outcome = 'moved') ORDER BY url
"""

_UNREACHABLE: Final = """
SELECT url, a.title, b.reason FROM a JOIN b USING (url)
WHERE a.had AND NOT b.present AND NOT b.gone AND b.outcome <> 'moved' ORDER BY url
"""

_REDIRECTED: Final = """
SELECT a.url, a.title, b.target FROM a JOIN b USING (url) JOIN b AS c ON c.url = b.target
WHERE a.had AND b.outcome = 'moved' AND c.present ORDER BY 1
"""

_REAPPEARED: Final = """
SELECT old.url, old.title, min(new.url) FROM
(SELECT a.url, a.title, a.text FROM a LEFT JOIN b USING (url) WHERE a.had
 AND (b.url IS NULL OR b.gone)) AS old JOIN
(SELECT b.url, b.text FROM b LEFT JOIN a USING (url) WHERE b.present
 AND (a.url IS NULL OR a.had IS NOT 1)) AS new ON new.text = old.text
WHERE old.text IS NOT NULL GROUP BY old.url HAVING count(*) = 1 ORDER BY 1
"""
