"""What crawls and downloads in one process share, so that together they behave like one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from crawler.config.model import PaceConfig
from crawler.fetch.address_guard import AddressGuard
from crawler.interfaces import Frontier


class SharedResources(Protocol):
    """Given to whoever opens a crawl or a download; `service/share.py` implements it."""

    def frontier(self, own: Frontier, pace: PaceConfig) -> AbstractAsyncContextManager[Frontier]:
        """The crawl's frontier, with leases that also wait for the neighbours' pace."""
        ...

    def connections(self, most: int) -> AbstractAsyncContextManager[None]:
        """Stands for the semaphore of open connections."""
        ...

    def guard(self) -> AddressGuard:
        """Says which addresses nobody here goes to, seeds included."""
        ...
