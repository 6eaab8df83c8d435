"""How a download differs from a crawl before anybody says anything. Light: `--help` shows it."""

from __future__ import annotations

from typing import Any, Final

DEFAULTS: Final[dict[str, Any]] = {
    "robots.obey": False,  # who names a file means it
    "limits.concurrency": 16,
    "pace.delay": 0.0,
    "pace.per_host": 16,  # at most: its width begins at 2 and follows its answers
    "retry.retries": 5,
    "fetch.timeout": 30 * 86_400.0,  # a large file takes what it takes; min_rate ends what stalls
    "fetch.max_body": 1 << 62,
    "urls.strip_query": (),  # the address is the one that was given
}
"""Settings that differ from a crawl's: a list of files is asked for, not found."""
