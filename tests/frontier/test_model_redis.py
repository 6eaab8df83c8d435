"""Random webs shared by workers on Redis, in virtual time; what they found. See `model_redis.py`.

The full run: make test-model-redis WEBS=1000
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest
import redis
from helpers.redis_server import RedisServer, a_server
from model_redis import library, play, several

FIXED = 30
"""Webs that are always the same, and five that are not."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with a_server("--appendonly", "no") as running:
        yield running


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_random_webs_end_with_what_a_plain_search_finds(server: RedisServer) -> None:
    visits, failures = several(range(1, FIXED + 1), str(server.socket))
    assert not failures
    assert visits > FIXED


def test_webs_that_nobody_has_seen_yet_end_too(server: RedisServer) -> None:
    """A failure names its seed: play(seed, …) is the same again."""
    seeds = [random.randrange(2**32) for _ in range(5)]
    assert several(seeds, str(server.socket))[1] == []


@pytest.mark.parametrize("seed", [199, 260, 335])
def test_a_link_that_waits_is_as_deep_as_its_shortest_way(server: RedisServer, seed: int) -> None:
    """A redirect leads to a page that waited a level below: it went at its first depth, and its own
    links were then too deep.
    """
    with redis.Redis(unix_socket_path=str(server.socket)) as line:
        line.execute_command("FUNCTION LOAD", "REPLACE", library())
        assert play(seed, line)
