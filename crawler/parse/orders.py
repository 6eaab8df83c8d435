"""What the crawl asks of a parse process: functions that are pickled by name and run there.

They load what reads pages when they run. The fork server has it loaded already; the crawl's own
process never needs it, which saves a tenth of a second of its start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from crawler.errors import ParseError
from crawler.model import Extract, Page
from crawler.parse.rules import ReaderRules

Task: TypeAlias = tuple[Page, bool]
"""A page, and whether it is to be read; if not, it is made ready for the archive only."""
Result: TypeAlias = Extract | ParseError


def start(rules: ReaderRules) -> None:
    """Make this process a parse process. Runs once in it."""
    from crawler.parse import child  # noqa: PLC0415 - see above

    child.start(rules)


def ready() -> int:
    """Nothing but a sign of life: the process id."""
    return os.getpid()


def read_batch(tasks: Sequence[Task], adopted: Sequence[str] = ()) -> list[Result]:
    """Read pages one after another; what goes wrong with one is its own result. `adopted`: seeds
    that redirects made since the last batch.
    """
    from crawler.parse import child  # noqa: PLC0415 - see above

    return child.read_batch(tasks, adopted)
