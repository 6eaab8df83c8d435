"""The store of a crawl that does not run: claimed, changed, given back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from crawler.frontier.damage import frontier_error
from crawler.frontier.sqlite import claim
from crawler.frontier.store import Store


@contextmanager
def at_rest(path: Path) -> Iterator[Store]:
    """Nobody else has the file while the block lasts.

    Raises Occupied while a crawl runs, FrontierError when the file cannot be used.
    """
    lock = claim(path)
    try:
        store = Store(path)
        store.open()
        with closing(store), store.sound():
            yield store
    except sqlite3.Error as error:
        raise frontier_error(path, error) from error
    finally:
        os.close(lock)
