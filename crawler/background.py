"""Work beside a block: it ends with the block, and an error in it ends the block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` as a task while the block runs; it is cancelled when the block is left.

    An error in it cancels the task that is in the block and is raised when the block is left, so
    that none goes unseen. Raises what either of them raises, bare: not in an ExceptionGroup.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name=name)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0]  # noqa: B904 - the first of them, as if there were no group
