"""A fetcher whose requests go out only for what is still on lease.

On many machines a lease can end while its worker is stopped, suspended or cut off. The link is
another's then, and so is its host's turn: a request sent now would come beside that one. So the
lease is looked at once more when the connection is ready, asked for again when it may be over, and
an exchange that outlives it is broken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from crawler.errors import LeaseLost
from crawler.interfaces import FileFetcher, Receiver
from crawler.records import CrawlUrl, Page

TRIES: Final = 5
"""Renewals for one request; one that ends again and again is shorter than connecting takes."""


class LeaseRegistry(Protocol):
    """What a frontier of many machines knows of its leases beside the queue's verbs."""

    def owns(self, link: CrawlUrl) -> bool:
        """Whether the link is this worker's for sure, at this moment. Asks nobody."""
        ...

    async def renew(self, link: CrawlUrl) -> bool:
        """Ask for the lease again; False: it is another's, and whatever came of it is dropped."""
        ...

    def watch(self, link: CrawlUrl, exchange: asyncio.Timeout | None) -> None:
        """End `exchange` (by rescheduling it) when the lease does; None: it is over."""
        ...


class LeaseGuard:
    """Implements `protocols.FileFetcher` on top of one that was given `leases.owns` to look at."""

    def __init__(self, fetcher: FileFetcher, leases: LeaseRegistry) -> None:
        self._fetcher = fetcher
        self._leases = leases

    async def fetch(
        self,
        link: CrawlUrl,
        *,
        headers: Mapping[str, str] | None = None,
        into: Receiver | None = None,
    ) -> Page:
        """As the fetcher's own. Raises LeaseLost, beside the rest: the link is another's, or (with
        a detail) it is ours again, after an exchange that had to be broken off.
        """
        for _ in range(TRIES):
            if not self._leases.owns(link) and not await self._leases.renew(link):
                break
            try:
                async with asyncio.timeout(None) as exchange:
                    self._leases.watch(link, exchange)
                    return await self._fetcher.fetch(link, headers=headers, into=into)
            except TimeoutError as error:  # the lease ended under way
                if not await self._leases.renew(link):
                    break
                # Still ours, but the host was asked: it is owed its pause before the next time.
                raise LeaseLost("broken off") from error
            except LeaseLost:
                pass  # nothing was sent
            finally:
                self._leases.watch(link, None)
        raise LeaseLost
