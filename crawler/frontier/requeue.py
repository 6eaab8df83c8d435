"""Failed links tried again: the dead letters of a crawl that is not running."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from crawler.errors import FrontierError
from crawler.frontier.sqlite import claim
from crawler.frontier.store import Store


def requeue(path: Path, *, reason: str = "*", statuses: Sequence[range] = ()) -> int:
    """Queue the failed links that match again, as if never tried; how many.

    Raises Occupied while a crawl runs, FrontierError when the file cannot be used.
    """
    lock = claim(path)
    try:
        store = Store(path)
        store.open()
        try:
            return store.retry(reason, statuses)
        finally:
            store.close()
    except sqlite3.Error as error:
        raise FrontierError(f"{path}: {error}") from error
    finally:
        os.close(lock)
