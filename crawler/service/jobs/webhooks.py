"""Send a job's events to its webhooks: signed, retried, and only to addresses the guard allows.

A message is stored in the transaction of the state change (`store_tables.py`) and stays until it is
delivered: at least once, also after `kill -9`. The signature is that of Standard Webhooks
(https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import random
import socket
import ssl
import time
from typing import Any, Final, Self

import aiohttp

from crawler.errors import FetchError
from crawler.fetch.address_guard import AddressGuard
from crawler.fetch.resolver import TRIP, ExchangeTrace, Resolver
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.store_tables import Delivery
from crawler.version import __version__

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 8
"""Attempts before a message is given up: with the delays below, after about an hour."""

RETRY_DELAY_MIN_S: Final = 2.0
RETRY_DELAY_MAX_S: Final = 1800.0
"""Seconds. The n-th delay is random between half and all of RETRY_DELAY_MIN_S · 4ⁿ."""

DELIVERY_TIMEOUT_S: Final = 10.0
"""Seconds for one delivery: a slow receiver should respond first and process the message later."""

CONCURRENT_DELIVERIES: Final = 8

IDLE_CHECK_INTERVAL_S: Final = 60.0
"""Seconds between checks of an empty queue, when no change is announced before."""


class WebhookDispatcher:
    """An async context manager; `run` delivers until cancelled."""

    def __init__(self, store: JobStore, guard: AddressGuard) -> None:
        self._store = store
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None
        self.delivered = 0
        self.given_up = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=Resolver(5.0),
                force_close=True,  # each message opens a connection, which the guard checks
                use_dns_cache=False,
                socket_factory=self._checked_socket,
                ssl=ssl.create_default_context(),
            ),
            timeout=aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"crawler/{__version__}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def run(self) -> None:
        """Deliver messages when they are due; a failed delivery is postponed."""
        while True:
            changed = self._store.changed
            messages = await self._store.events.deliveries()
            now = time.time()
            due = [message for message in messages if message.due <= now][:CONCURRENT_DELIVERIES]
            if due:
                async with asyncio.TaskGroup() as tasks:
                    for message in due:
                        tasks.create_task(self._deliver(message))
                continue
            wait = min((message.due - now for message in messages), default=IDLE_CHECK_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()

    async def _deliver(self, message: Delivery) -> None:
        failure = await self._post(message)
        if not failure:
            self.delivered += 1
            await self._store.events.remove_delivery(message.id)
            return
        if message.attempt + 1 >= MAX_ATTEMPTS:
            self.given_up += 1
            log.warning("webhook of job %s given up: %s", message.job, failure)
            await self._store.events.remove_delivery(message.id)
            return
        log.info("webhook of job %s failed, will be retried: %s", message.job, failure)
        delay = min(RETRY_DELAY_MAX_S, RETRY_DELAY_MIN_S * 4**message.attempt)
        due = time.time() + random.uniform(delay / 2, delay)
        await self._store.events.postpone_delivery(message.id, due)

    async def _post(self, message: Delivery) -> str:
        """Returns why the delivery failed; empty: it succeeded."""
        assert self._session is not None
        body = message.body.encode()
        headers = {"Content-Type": "application/json", **signature(message, int(time.time()))}
        trip = ExchangeTrace("", 0)
        token = TRIP.set(trip)
        try:
            async with self._session.post(
                message.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return "" if response.status < 300 else f"status {response.status}"
        except FetchError as error:
            return f"{error.reason}: {error}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return type(error).__name__
        finally:
            TRIP.reset(token)

    def _checked_socket(self, info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        self._guard.judge_port(address[1])
        self._guard.judge("", str(address[0]))
        return socket.socket(family, kind, protocol)


def signature(message: Delivery, now: int) -> dict[str, str]:
    """The headers of Standard Webhooks at Unix time `now`; signed only with a secret."""
    message_id = f"msg_{message.job}_{message.event}"
    headers = {"webhook-id": message_id, "webhook-timestamp": str(now)}
    if message.secret is not None:
        key = signing_key(message.secret)
        signed = f"{message_id}.{now}.{message.body}".encode()
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        headers["webhook-signature"] = f"v1,{mac}"
    return headers


def signing_key(secret: str) -> bytes:
    """Decode `whsec_` and base64, as the standard defines; any other secret is used as it is."""
    if secret.startswith("whsec_"):
        with contextlib.suppress(ValueError):
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()
