"""Failed links tried again: the dead letters of a crawl that is not running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crawler.frontier.sqlite.offline import at_rest


def requeue(path: Path, *, reason: str = "*", statuses: Sequence[range] = ()) -> int:
    """Queue the failed links that match again, as if never tried; how many.

    Raises FolderLocked while a crawl runs, FrontierError when the file cannot be used.
    """
    with at_rest(path) as store:
        return store.retry(reason, statuses)
