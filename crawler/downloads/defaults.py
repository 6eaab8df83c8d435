"""Settings whose default for a download differs from that of a crawl. Imports little: `--help`
shows it.
"""

from __future__ import annotations

from typing import Any, Final

DEFAULTS: Final[dict[str, Any]] = {
    "robots.obey": False,  # the user named the files
    "limits.concurrency": 16,
    "pace.delay": 0.0,
    "pace.per_host": 16,  # maximum; AutoThrottle starts at 2
    "retry.retries": 5,
    "fetch.timeout": 30 * 86_400.0,  # large files take long; min_rate ends a stalled one
    "fetch.max_body": 1 << 62,
    "urls.strip_query": (),  # the URL is requested as given
}
"""A download fetches a given list of files; a crawl discovers its URLs."""
