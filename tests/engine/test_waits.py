"""Whose wait a Retry-After is, its URL's or its host's; and that everybody is told who waits."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from helpers.answers import Answer, Asked, Reply, busy, page, sequence, text
from helpers.crawling import PATIENCE, crawl, outcomes, settings
from helpers.website import Website
from hypothesis import given
from hypothesis import strategies as st

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.display import in_words
from crawler.cli.status import lines
from crawler.config.model import PaceConfig
from crawler.engine.engine import Engine
from crawler.frontier.sqlite.overview import peek
from crawler.policy import retry_policy
from crawler.policy.autothrottle import HostPace
from crawler.policy.retry_policy import AGREE, FAST, SHORT, HostCooldowns, longest_retry_after
from crawler.policy.waits import Wait, longest, reason_of, retry_of, wait_of, wait_sentence

Open = Callable[..., Awaitable[Website]]
DAY, HOUR = 86_400.0, 3600.0


# ── the rule ─────────────────────────────────────────────────────────────────────────────────


def refused(rests: HostCooldowns, url: str, now: float, asked: float | None) -> float:
    kept = min(asked or 0.0, HOUR)
    return rests.refused("h", url, now, asked=asked, kept=kept, backoff=1.0)


@pytest.mark.parametrize(
    ("asked", "rest"), [(None, 1.0), (0.0, 0.0), (30.0, 30.0), (SHORT, SHORT), (61.0, 1.0),
                        (DAY, 1.0)],
)  # fmt: skip
def test_one_answer_holds_its_host_for_a_minute_at_most(asked: float | None, rest: float) -> None:
    assert refused(HostCooldowns(), "/x", 0.0, asked) == rest


def test_a_long_wait_is_the_hosts_once_others_ask_for_patience_in_succession() -> None:
    rests = HostCooldowns()
    assert refused(rests, "/a", 0.0, DAY) == 1.0
    assert refused(rests, "/a", 5.0, DAY) == 1.0, "the same URL proves nothing"
    assert refused(rests, "/b", 6.0, None) == 1.0
    assert refused(rests, "/c", 10.0, 2.0) == 5.0 + HOUR - 10.0, "as long as the longest asked"


def test_an_answer_between_them_clears_the_host() -> None:
    rests = HostCooldowns()
    for number in range(3 * AGREE):
        assert refused(rests, f"/{number}", float(number), DAY) == 1.0
        if number % (AGREE - 1) == AGREE - 2:
            rests.served("h")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"),
            st.one_of(st.none(), st.floats(0, 2 * DAY)),
            st.floats(0, 100),
            st.booleans(),
        )
    )
)
def test_a_host_never_rests_longer_than_the_longest_wait_that_was_kept(
    heard: list[tuple[str, float | None, float, bool]],
) -> None:
    rests, now, most = HostCooldowns(), 0.0, 0.0
    for url, asked, later, served in heard:
        now += later
        if served:
            rests.served("h")
        most = max(most, now + min(asked or 0.0, HOUR))
        assert 0.0 <= refused(rests, url, now, asked) <= max(1.0, most - now) + 1e-6


def test_fast_caps_what_is_kept() -> None:
    assert longest_retry_after(PaceConfig(fast=True)) == FAST
    assert longest_retry_after(PaceConfig()) == HOUR


# ── in a crawl ───────────────────────────────────────────────────────────────────────────────


def closed(retry_after: int, *paths: str, pages: int = 10) -> dict[str, Answer]:
    """A site of so many pages; those at `paths` ask to be left alone."""
    links = [f"/{number}" for number in range(pages)]
    site = {"/": page(links=[*paths, *links]), **{path: page(text=path) for path in links}}
    return site | {path: busy(10**9, retry_after) for path in paths}


async def told(running: Engine, known: Callable[[list[Wait]], bool]) -> None:
    while not known(await running.frontier.waits()):  # noqa: ASYNC110 - nobody rings for it
        await asyncio.sleep(0.01)


async def test_one_closed_page_holds_up_nobody_else_and_is_told(
    website: Open, tmp_path: Path
) -> None:
    site = await website(closed(86_400, "/x"))
    config = settings(site.url, fast=False, delay=0.0)
    name = site.url.partition("//")[2].rstrip("/")
    async with asyncio.timeout(PATIENCE), open_crawl(config, dir=tmp_path) as running:
        work = asyncio.create_task(running.run())
        await told(running, bool)
        while (await running.frontier.counts()).done < 11:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        waits = await running.frontier.waits()
        assert in_words(waits).startswith(f"{name}/x waits ")
        assert "Retry-After (status 503), until " in in_words(waits)
        assert HOUR - PATIENCE < waits[0].seconds <= HOUR
        running.stop()
        await work
    assert site.hits["/x"] == 1
    rows = lines(peek(tmp_path / "frontier.db"), tmp_path)
    assert [row for row in rows if row[0] == "waits" and f"{name}/x" in row[1]]
    async with open_crawl(config, dir=tmp_path, mode="resume") as running:
        assert [wait.name for wait in await running.frontier.waits()] == [f"{site.url}x"]


async def test_a_host_that_closes_rests_and_is_told(website: Open, tmp_path: Path) -> None:
    site = await website(closed(86_400, *(f"/shut/{number}" for number in range(20)), pages=0))
    config = settings(site.url, fast=False, delay=0.0, per_host=1)
    name = site.url.partition("//")[2].rstrip("/")
    async with asyncio.timeout(PATIENCE), open_crawl(config, dir=tmp_path) as running:
        work = asyncio.create_task(running.run())
        # The last that was asked is queued again once its visit is entered.
        await told(running, lambda waits: (name, 20) in {(one.name, one.queued) for one in waits})
        (wait,) = await running.frontier.waits()
        assert wait.why.startswith("Retry-After of /shut/")
        running.stop()
        await work
    assert sum(site.hits[f"/shut/{number}"] for number in range(20)) == AGREE
    (row,) = (text for word, text in lines(peek(tmp_path / "frontier.db"), tmp_path)
              if word == "waits")  # fmt: skip
    assert row.startswith(f"{name} waits ")
    assert "Retry-After of /shut/" in row


async def test_with_fast_a_retry_after_is_kept_for_seconds(
    website: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "FAST", 0.5)
    site = await website(closed(86_400, "/x") | {"/x": busy(1, 86_400)})
    await crawl(settings(site.url), tmp_path)
    assert set(outcomes(tmp_path).values()) == {"done"}
    first, second = (asked.time for asked in site.log if asked.path == "/x")
    assert second - first >= 0.5
    others = [asked.time for asked in site.log if asked.path != "/x"]
    assert all(asked < second for asked in others), "nobody else waited for it"


async def test_a_robots_txt_with_an_earlier_answer_holds_up_nobody(
    website: Open, tmp_path: Path
) -> None:
    async def gone(_: Asked) -> Reply:
        return Reply(503, headers=(("Retry-After", "86400"),))

    allowed = text("User-agent: *\n")
    site = await website(closed(0, pages=3) | {"/robots.txt": sequence(allowed, gone)})
    config = settings(site.url, fast=False, delay=0.0)
    async with asyncio.timeout(PATIENCE), open_crawl(config, dir=tmp_path) as running:
        await running.run()
    with closing(sqlite3.connect(tmp_path / "frontier.db")) as db, db:
        db.execute("UPDATE robots SET expires_at = 0")
    async with asyncio.timeout(PATIENCE), open_crawl(config, dir=tmp_path, mode="resume") as again:
        await again.frontier.revisit()  # type: ignore[attr-defined]
        await again.run()
    assert site.hits["/robots.txt"] == 2
    assert site.hits["/2"] == 2


# ── in words ─────────────────────────────────────────────────────────────────────────────────


def test_a_sentence_says_who_what_and_until_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        noon = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * HOUR
        assert (
            wait_sentence(
                Wait("example.com", 3490.0, reason_of("Retry-After", "http://e.com/x")), noon
            )
            == "example.com waits 58m10s: Retry-After of /x, until 12:58"
        )
        assert wait_sentence(Wait("http://e.com/x", 9.0, "a retry", 1), noon) == (
            "e.com/x waits 9.0s: a retry, until 12:00:09; 1 link queued"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("pace", "why"),
    [
        ({"rest": 50.0, "why": "Retry-After", "url": "http://h/x"}, "Retry-After of /x"),
        ({"rest": 50.0, "why": "status:429", "url": "http://h/x"}, "status 429 of /x"),
        ({"rest": 50.0, "why": "robots:status:503", "url": "http://h/robots.txt"},
         "its robots.txt could not be had (status 503)"),
        ({"rest": 50.0, "parked": 50.0, "failures": 5}, "parked after 5 failures in a row"),
        ({"rest": 50.0, "delay": 60.0, "crawl_delay": 300.0}, "Crawl-delay of 5m00s, of which"),
        ({"rest": 50.0, "delay": 60.0}, "1m00s between requests (Crawl-delay)"),
    ],
)  # fmt: skip
def test_why_a_host_waits(pace: dict[str, float], why: str) -> None:
    known = {"name": "h", "width": 1, "limit": 2, "in_flight": 0, "queued": 3, "delay": 0.25}
    told = wait_of(HostPace(**{**known, **pace}))  # type: ignore[arg-type]
    assert told is not None
    assert told.why.startswith(why)
    assert wait_of(HostPace(**{**known, **pace, "queued": 0})) is None  # type: ignore[arg-type]
    assert wait_of(HostPace(**{**known, **pace, "rest": 1.0})) is None  # type: ignore[arg-type]


def test_why_a_url_waits() -> None:
    assert retry_of("http://h/x", 3.0, 0.0, "timeout:total") is None
    told = retry_of("http://h/x", 30.0, 5.0, "timeout:total")
    assert told is not None
    assert told.why == "a retry after timeout total"


def test_a_url_is_not_told_beside_its_host() -> None:
    host, url, other = (
        Wait("h", 9.0, "w"),
        Wait("http://h/x", 99.0, "w"),
        Wait("http://o/", 1.0, ""),
    )
    assert longest([url, None, other, host], 10) == [host, other]
    assert longest([url, other], 1) == [url]
