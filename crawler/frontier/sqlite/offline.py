"""The store of a crawl that does not run: claimed, changed, given back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from crawler.frontier.sqlite.corruption import frontier_error
from crawler.frontier.sqlite.crawl_lock import claim
from crawler.frontier.sqlite.download_rows import Row
from crawler.frontier.sqlite.store import Store


@contextmanager
def at_rest(path: Path) -> Iterator[Store]:
    """Nobody else has the file while the block lasts.

    Raises FolderLocked while a crawl runs, FrontierError when the file cannot be used.
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


def revise_downloads(path: Path, judge: Callable[[list[Row], dict[str, str]], list[str]]) -> None:
    """Before a frontier is opened: `judge` sees all downloads and the links' states, and says which
    URLs are to be had again. Nothing happens without a frontier.

    Raises FolderLocked while another process has it, FrontierError when the file cannot be used.
    """
    if not path.exists():
        return
    with at_rest(path) as store:
        urls = judge(store.files(), store.file_states())
        if urls:
            store.again(urls)
