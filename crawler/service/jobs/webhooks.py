"""Send a job's events to its webhooks: signed, retried, and to no address that the guard refuses.

Messages are made with the change itself, in one transaction (`register.py`), and lie there until
they are delivered: at least once, also after `kill -9`. The signature is that of Standard Webhooks
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
from crawler.service.jobs.messages import Delivery
from crawler.version import __version__

log = logging.getLogger(__name__)

TRIES: Final = 8
"""Then a message is given up: with the waits below, after about an hour."""

FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 1800.0
"""Seconds. The n-th wait is random between half and all of FIRST_WAIT · 4ⁿ."""

TIMEOUT: Final = 10.0
"""Seconds for one delivery: who needs longer should answer first and work then."""

AT_ONCE: Final = 8


class WebhookDispatcher:
    """An async context manager; `run` delivers until cancelled."""

    def __init__(self, register: JobStore, guard: AddressGuard) -> None:
        self._register = register
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None
        self.delivered = 0
        self.given_up = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=Resolver(5.0),
                force_close=True,  # every message connects anew, past the guard
                use_dns_cache=False,
                socket_factory=self._socket,
                ssl=ssl.create_default_context(),
            ),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"crawler/{__version__}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def run(self) -> None:
        """Deliver what is due; what fails is due again later."""
        while True:
            bell = self._register.bell
            messages = await self._register.deliveries()
            now = time.time()
            due = [message for message in messages if message.due <= now][:AT_ONCE]
            if due:
                async with asyncio.TaskGroup() as crew:
                    for message in due:
                        crew.create_task(self._deliver(message))
                continue
            wait = min((message.due - now for message in messages), default=60.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await bell.wait()

    async def _deliver(self, message: Delivery) -> None:
        problem = await self._post(message)
        if not problem:
            self.delivered += 1
            await self._register.delivered(message.id)
            return
        if message.attempt + 1 >= TRIES:
            self.given_up += 1
            log.warning("webhook of job %s given up: %s", message.job, problem)
            await self._register.delivered(message.id)
            return
        log.info("webhook of job %s failed, again later: %s", message.job, problem)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 4**message.attempt)
        await self._register.postpone(message.id, time.time() + random.uniform(wait / 2, wait))

    async def _post(self, message: Delivery) -> str:
        """Nothing, or what went wrong."""
        assert self._session is not None
        body = message.body.encode()
        headers = {"Content-Type": "application/json", **signature(message, int(time.time()))}
        trip = ExchangeTrace("", 0)
        token = TRIP.set(trip)
        try:
            async with self._session.post(
                message.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if answer.status < 300 else f"status {answer.status}"
        except FetchError as error:
            return f"{error.reason}: {error}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return type(error).__name__
        finally:
            TRIP.reset(token)

    def _socket(self, info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        self._guard.judge_port(address[1])
        self._guard.judge("", str(address[0]))
        return socket.socket(family, kind, protocol)


def signature(message: Delivery, now: int) -> dict[str, str]:
    """The headers of Standard Webhooks; without a secret there is no signature."""
    identity = f"msg_{message.job}_{message.event}"
    headers = {"webhook-id": identity, "webhook-timestamp": str(now)}
    if message.secret is not None:
        key = key_of(message.secret)
        signed = f"{identity}.{now}.{message.body}".encode()
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        headers["webhook-signature"] = f"v1,{mac}"
    return headers


def key_of(secret: str) -> bytes:
    """`whsec_` and base64, as the standard writes it; anything else is taken as it is."""
    if secret.startswith("whsec_"):
        with contextlib.suppress(ValueError):
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()
