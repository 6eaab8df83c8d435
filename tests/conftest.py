"""Fixtures that more than one test file needs."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import pytest_asyncio
from helpers.website import Answer, Website
from hypothesis import HealthCheck, settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's `&` makes its children deaf to Ctrl-C, and those that the tests start with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Properties are about values: how long an example takes says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

OpenSite = Callable[..., Awaitable[Website]]


@pytest_asyncio.fixture
async def website() -> AsyncIterator[OpenSite]:
    """`site = await website({"/": page()})`: opened at once, closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_site(*hosts: Mapping[str, Answer]) -> Website:
            return await stack.enter_async_context(Website(*hosts))

        yield open_site
