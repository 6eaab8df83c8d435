"""A network of its own for a server, and a cable to it for each who asks: packets that are lost.

What is sent into a cable whose far end is down is dropped by the kernel; TCP notices by silence,
sends again, and takes its time after the cable is up. Needs root and iproute2. The addresses are
those set aside for trials (RFC 2544, 198.18.0.0/15); nothing leaves the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from itertools import count
from typing import Final, Self

import pytest

FIRST: Final = int(IPv4Address("198.18.0.0"))
BLOCKS: Final = 2**15  # of four addresses
PORT: Final = 6379


class Cable:
    """One pair of network devices; `url` leads to the server at its far end."""

    def __init__(self, space: str, near: str, far: str, address: IPv4Address) -> None:
        self.url = f"redis://{address}:{PORT}"
        self._space = space
        self._near = near
        self._far = far

    def part(self) -> None:
        """From now on nothing arrives, at either end."""
        ip("-n", self._space, "link", "set", self._far, "down")

    def heal(self) -> None:
        ip("-n", self._space, "link", "set", self._far, "up")


class Namespace:
    """`with Namespace() as there:` skips the test where there can be none."""

    def __init__(self) -> None:
        self._name = f"crawler-{os.getpid()}"
        self._numbers = count()

    @property
    def within(self) -> tuple[str, ...]:
        """What a command begins with that runs in it."""
        return ("ip", "netns", "exec", self._name)

    @contextmanager
    def cable(self) -> Iterator[Cable]:
        """Laid by `with`; the server has an address of its own on each."""
        number = next(self._numbers)
        block = (os.getpid() * 64 + number) % BLOCKS
        near, far = (IPv4Address(FIRST + 4 * block + end) for end in (1, 2))
        here, there = f"c{os.getpid()}n{number}", f"n{number}"
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self._name)
        try:
            ip("address", "add", f"{near}/30", "dev", here)
            ip("-n", self._name, "address", "add", f"{far}/30", "dev", there)
            ip("link", "set", here, "up")
            ip("-n", self._name, "link", "set", there, "up")
            yield Cable(self._name, here, there, far)
        finally:
            ip("link", "delete", here)

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("a network namespace needs root and iproute2")
        try:
            ip("netns", "add", self._name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace here: {error.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        ip("netns", "delete", self._name)


def ip(*words: str) -> None:
    """Raises CalledProcessError with what was said."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
