"""Parked links sent on their way again, in a crawl that does not run."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from crawler.errors import ConfigError, FrontierError
from crawler.frontier.sqlite.corruption import frontier_error, sound
from crawler.frontier.sqlite.crawl_lock import claim
from crawler.frontier.sqlite.seen_index import SeenIndex
from crawler.frontier.sqlite.statements import BRAKED
from crawler.frontier.sqlite.store import SCHEMA_VERSION
from crawler.frontier.sqlite.transaction import Transaction
from crawler.policy.trap_rules import template_names


def release(path: Path, wanted: Callable[[str], bool]) -> dict[str, int]:
    """Queue the parked links whose URL or reason is `wanted`; how many there were, by reason.

    No brake stops them again. What they lead to is judged as ever, but their templates get the
    patience of new ones. Raises ConfigError when there is no crawl, FolderLocked when it runs,
    FrontierError when it cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"{path.parent}: holds no crawl")
    lock = claim(path)
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            with sound(db):
                return _release(db, path, wanted)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise frontier_error(path, error) from error
    finally:
        os.close(lock)


def _release(db: sqlite3.Connection, path: Path, wanted: Callable[[str], bool]) -> dict[str, int]:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise FrontierError(f"{path} has frontier version {version}, not {SCHEMA_VERSION}")
    number: dict[str, int] = {}
    released: list[tuple[int]] = []
    templates: set[str] = set()
    for link, url, reason in db.execute(
        "SELECT id, url, reason FROM link WHERE state = ?", (BRAKED,)
    ):
        if wanted(url) or wanted(reason):
            released.append((link,))
            number[reason] = number.get(reason, 0) + 1
            templates.update(template_names(url))
    keys = SeenIndex(db)
    keys.recall()
    with Transaction(db, keys):
        db.executemany(
            "UPDATE link SET state = 0, reason = NULL, released = 1 WHERE id = ?", released
        )
        db.executemany("DELETE FROM trap WHERE name = ?", [(name,) for name in templates])
    return number
