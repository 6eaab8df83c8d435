"""A blocking GET, as the variants with threads and processes use it: urllib3, connections kept."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Self

import urllib3

from crawler.bench.reading import BenchResponse

HEADERS = {"Accept-Encoding": "gzip", "User-Agent": "crawler-bench"}


class BlockingClient:
    """One a thread: so that no lock is shared. urllib3 costs half of what requests does."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=256,  # hosts whose connections are kept
            headers=HEADERS,
            timeout=30.0,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE"),
        )

    def get(self, url: str) -> BenchResponse:
        """The answer as sent: no redirect followed, nothing unpacked."""
        asked = time.monotonic()
        answer = self._pool.request("GET", url, redirect=False, decode_content=False)
        headers = tuple(answer.headers.items())
        return BenchResponse(
            url, answer.status, headers, answer.data, (time.monotonic() - asked) * 1000
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.clear()
