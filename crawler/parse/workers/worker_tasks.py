"""What the crawl asks of a parse process: functions that are pickled by name and run there.

They load what reads pages when they run. The fork server has it loaded already; the crawl's own
process never needs it, which saves a tenth of a second of its start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from crawler.parse.workers.reader_settings import ReaderSettings, Result, Task


def start(rules: ReaderSettings) -> None:
    """Make this process a parse process. Runs once in it."""
    from crawler.parse.workers import parse_worker  # noqa: PLC0415 - see above

    parse_worker.start(rules)


def ready() -> int:
    """Nothing but a sign of life: the process id."""
    return os.getpid()


def read_batch(tasks: Sequence[Task], adopted: Sequence[str] = ()) -> list[Result]:
    """Read pages one after another; what goes wrong with one is its own result. `adopted`: seeds
    that redirects made since the last batch.
    """
    from crawler.parse.workers import parse_worker  # noqa: PLC0415 - see above

    return parse_worker.read_batch(tasks, adopted)
