"""What an error makes of a job: a full disk passes, anything else does not. Pure."""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from crawler.errors import ConfigError
from crawler.service.jobs.job import JobState

_FULL: Final = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "disk is full",  # SQLite
)
"""Words of the errors of a full disk, where an error of ours has only its words."""


def verdict(group: BaseExceptionGroup[Any]) -> tuple[JobState, str]:
    """The job's next state, and why."""
    error = first(group)
    if _is_full(error):
        return JobState.HELD, "disk-full"
    kind = "configuration: " if isinstance(error, ConfigError) else ""
    return JobState.FAILED, f"{kind}{error}"


def first(group: BaseException) -> BaseException:
    """What went wrong first, out of its groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if any(words in str(error) for words in _FULL):  # our errors keep the system's words
            return True
        error = error.__cause__
    return False
