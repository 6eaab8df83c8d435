"""The sockets of one fetcher: for addresses that the guard has seen, and remembered by host."""

from __future__ import annotations

import time
from socket import socket
from typing import Final

from aiohttp.connector import AddrInfoType

from crawler.fetch.address_guard import AddressGuard
from crawler.fetch.resolver import TRIP, ExchangeTrace

ADDRESSES: Final = 10_000
"""Hosts whose address is remembered for their records."""


class SocketFactory:
    """Those of a proxied trip lead to its proxy, which the person named; there the guard sees names
    only.
    """

    def __init__(self, guard: AddressGuard | None) -> None:
        self._guard = guard
        self._addresses: dict[str, str] = {}

    def judge(self, trip: ExchangeTrace) -> None:
        """Raises Forbidden for what the guard can tell without an address."""
        if self._guard is not None:
            self._guard.judge_port(trip.port)
            if trip.proxied:
                self._guard.judge_literal(trip.host)

    def address(self, trip: ExchangeTrace) -> str | None:
        """Where the answer came from; a kept connection leads where the host's last was made."""
        if trip.address is not None:
            if len(self._addresses) >= ADDRESSES:
                self._addresses.clear()
            self._addresses[trip.host] = trip.address
        return self._addresses.get(trip.host)

    def open(self, info: AddrInfoType) -> socket:
        """Make a socket for an address, once the guard has seen it."""
        family, kind, protocol, _, address = info
        trip = TRIP.get()
        if trip is not None:
            trip.connecting = time.monotonic()
            if not trip.proxied:  # else it is the proxy's, which the person named
                trip.address = str(address[0])
                if self._guard is not None:
                    self._guard.judge(trip.host, trip.address)
        return socket(family, kind, protocol)
