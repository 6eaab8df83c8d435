"""Work beside a block: it ends with the block, and an error in it ends the block."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self


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


class BackgroundTask(ABC):
    """An object whose work runs beside the block that it is entered for."""

    _task: AbstractAsyncContextManager[None]

    @abstractmethod
    async def _work(self) -> None:
        """What is done until the block is left, when it is cancelled."""

    async def __aenter__(self) -> Self:
        self._task = background(self._work(), type(self).__name__.lower())
        await self._task.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises what went wrong in the work."""
        await self._task.__aexit__(kind, error, trace)
