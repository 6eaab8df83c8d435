"""The gate: what a robots.txt that moved, is away, is huge or is old means for a crawl."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.crawling import by_path, crawl, outcomes, reasons, records, settings
from helpers.website import (
    Answer,
    Website,
    busy,
    endless,
    gate,
    hangup,
    page,
    redirect,
    reply,
    sequence,
    text,
)

from crawler.config.model import PaceConfig, RetryConfig, RobotsConfig, UrlsConfig
from crawler.engine.robots_gate import RobotsGate
from crawler.errors import (
    FetchError,
    Forbidden,
    Insecure,
    ProtocolError,
    TimedOut,
    Truncated,
    Unreachable,
    Unresolved,
)
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.urls import Urls, fingerprint, host_key
from crawler.records import (
    CrawlResult,
    CrawlUrl,
    Kind,
    Outcome,
    Page,
    ParsedPage,
    RobotsRecord,
    Timings,
)

Open = Callable[..., Awaitable[Website]]

FORBID = "User-agent: *\nDisallow: /secret\n"


def site_of(robots: Answer, **more: Answer) -> dict[str, Answer]:
    return {
        "/robots.txt": robots,
        "/": page(links=["/secret", "/open"]),
        "/open": page(),
        "/secret": page(),
        **more,
    }


# ── whole crawls ─────────────────────────────────────────────────────────────────────────────────


async def test_five_redirects_are_followed_also_to_other_hosts(
    website: Open, tmp_path: Path
) -> None:
    hops = {f"/r{n}": redirect(f"{{{n % 2}}}/r{n + 1}") for n in range(1, 5)}
    site = await website(
        {**site_of(redirect("{1}/r1"), **hops), "/r5": text(FORBID)},
        {"/": page(), **hops, "/r5": text(FORBID)},
    )
    await crawl(settings(site.url, site.at("/", 1)), tmp_path)
    told = {line["url"]: line["reason"] for line in records(tmp_path)}
    assert told[site.at("/secret")] == "robotsTxt"
    assert told[site.at("/open")] is None
    assert site.hits["/r5"] == 1


async def test_a_sixth_redirect_is_a_file_that_is_not_there(website: Open, tmp_path: Path) -> None:
    hops = {f"/r{n}": redirect(f"/r{n + 1}") for n in range(1, 6)}
    site = await website(site_of(redirect("/r1"), **hops, **{"/r6": text(FORBID)}))
    await crawl(settings(site.url), tmp_path)
    assert outcomes(tmp_path)["/secret"] == "done"
    assert site.hits["/r5"] == 1
    assert site.hits["/r6"] == 0


async def test_a_redirected_robots_txt_keeps_every_hosts_pace(
    website: Open, tmp_path: Path
) -> None:
    links = [f"/{n}" for n in range(4)]
    pages = {link: page() for link in links}
    site = await website(
        {
            "/robots.txt": redirect("/r1"),
            "/r1": redirect("{1}/r2"),
            "/": page(links=links),
            **pages,
        },
        {"/robots.txt": redirect("{0}/r3"), "/r2": text(FORBID), "/": page(links=links), **pages},
    )
    site.put("/r3", text(FORBID))
    delay = 0.15
    seeds = [site.url, site.at("/", 1)]
    await crawl(settings(*seeds, fast=False, per_host=1, delay=delay), tmp_path)
    for address in ("127.0.0.1", "127.0.0.2"):
        times = [asked.time for asked in site.log if asked.address == address]
        assert len(times) >= 6
        gaps = [later - earlier for earlier, later in pairwise(times)]
        # One at a time, the pause counts from the end of an answer: no lag can shorten it here.
        assert min(gaps) > delay - 0.001


async def test_many_megabytes_are_read_as_far_as_they_count(website: Open, tmp_path: Path) -> None:
    site = await website(site_of(endless(FORBID.encode() + b"# and more\n" * 1000)))
    await crawl(settings(site.url, max_body="1KiB"), tmp_path)
    assert by_path(tmp_path)["/secret"]["reason"] == "robotsTxt"
    assert outcomes(tmp_path)["/open"] == "done"


async def test_an_announced_length_beyond_all_limits_is_no_failure(
    website: Open, tmp_path: Path
) -> None:
    body = FORBID.encode() + b"#" * 3_000_000
    packed = gzip.compress(body, mtime=0)
    for number, answer in enumerate(
        (reply(body, mime="text/plain"),
         reply(packed, mime="text/plain", headers={"Content-Encoding": "gzip"}))
    ):  # fmt: skip
        site = await website(site_of(answer))
        await crawl(settings(site.url), tmp_path / str(number))
        assert by_path(tmp_path / str(number))["/secret"]["reason"] == "robotsTxt"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_file_that_is_not_there_allows_all(
    website: Open, tmp_path: Path, status: int
) -> None:
    site = await website(site_of(text(FORBID, status)))
    await crawl(settings(site.url), tmp_path)
    assert outcomes(tmp_path)["/secret"] == "done"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_links_wait_until_robots_txt_comes_back(
    website: Open, tmp_path: Path, status: int
) -> None:
    site = await website(
        site_of(busy(times=3, status=status, then=text(FORBID))), {"/": page("Elsewhere")}
    )
    await crawl(settings(site.url, site.at("/", 1), patience=30), tmp_path)
    told = {line["url"]: line["outcome"] for line in records(tmp_path)}
    assert told[site.at("/open")] == "done"
    assert told[site.at("/secret")] == "refused"
    assert site.hits["/robots.txt"] == 4 + 1
    pages = [asked.path for asked in site.log if asked.address == "127.0.0.1"]
    assert pages[:4] == ["/robots.txt"] * 4, "nothing else is asked before"


async def test_waiting_has_an_end(website: Open, tmp_path: Path) -> None:
    site = await website(site_of(busy(times=10**9)))
    await crawl(settings(site.url, patience=0.3), tmp_path)
    assert by_path(tmp_path)["/"]["reason"] == "robotsUnreachable:status:503"
    assert site.hits["/robots.txt"] > 2
    assert site.hits["/"] == 0


async def test_a_wait_that_is_asked_for_beyond_our_patience_is_not_begun(
    website: Open, tmp_path: Path
) -> None:
    site = await website(site_of(busy(times=10**9, retry_after=3600)))
    await crawl(settings(site.url, patience=30), tmp_path)
    assert by_path(tmp_path)["/"]["reason"] == "robotsUnreachable:status:503"
    assert site.hits["/robots.txt"] == 1


async def test_a_host_without_connection_is_given_up_like_a_page(
    website: Open, tmp_path: Path
) -> None:
    site = await website(site_of(hangup()), {"/": page()})
    await crawl(settings(site.url, site.at("/", 1), retries=1, patience=3600), tmp_path)
    (reason,) = reasons(records(tmp_path))
    assert reason in {"connection:server disconnected", "connection:connreset"}


async def test_only_its_hosts_links_wait_for_a_robots_txt(website: Open, tmp_path: Path) -> None:
    closed = gate(text(FORBID))
    site = await website(site_of(closed), {"/": page(links=["/x"]), "/x": page()})
    running = asyncio.create_task(crawl(settings(site.url, site.at("/", 1)), tmp_path))
    await site.wait_for("/x")
    assert closed.waiting == 1
    assert [asked.path for asked in site.log if asked.address == "127.0.0.1"] == ["/robots.txt"]
    closed.open()
    await running
    assert {line["reason"] for line in records(tmp_path)} == {None, "robotsTxt"}


async def test_no_robots_asks_for_nothing(website: Open, tmp_path: Path) -> None:
    site = await website(site_of(text("User-agent: *\nDisallow: /")))
    await crawl(settings(site.url, obey=False), tmp_path)
    assert site.hits["/robots.txt"] == 0
    assert outcomes(tmp_path)["/secret"] == "done"


# ── the gate alone, its clock moved by hand ──────────────────────────────────────────────────────


class Desk:
    """Fetcher, parser and frontier in one: answers what it was told to, keeps rules."""

    def __init__(self, *answers: int | FetchError | tuple[int, dict[str, str], bytes]) -> None:
        self.answers = list(answers)
        self.now = 1_000_000.0
        self.kept: dict[str, RobotsRecord] = {}

    async def fetch(self, link: CrawlUrl) -> Page:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, FetchError):
            raise answer
        status, headers, body = (answer, {}, b"") if isinstance(answer, int) else answer
        timings = Timings(1.0)
        return Page(link, status, tuple(headers.items()), body, self.now, timings, len(body))

    async def read(self, page: Page) -> ParsedPage:
        assert isinstance(page.body, bytes)
        return ParsedPage(body=page.body)

    async def rules(self, origin: str) -> RobotsRecord | None:
        return self.kept.get(origin)

    def release(self, link: CrawlUrl, **_: object) -> None: ...

    def gate(self, **robots: float) -> RobotsGate:
        return RobotsGate(
            self,  # type: ignore[arg-type] # three of a frontier's verbs are enough here
            self,
            self,
            agent="crawler",
            robots=RobotsConfig(**robots),  # type: ignore[arg-type] # seconds, all of them
            pace=PaceConfig(),
            retry=RetryPolicy(RetryConfig(), dice=lambda: 1.0),
            urls=Urls(UrlsConfig()),
            clock=lambda: self.now,
        )

    async def ask(self, gate: RobotsGate) -> CrawlResult:
        visit = await gate.ask(LINK)
        if visit.rules is not None:
            self.kept[visit.rules.origin] = visit.rules
        return visit


LINK = CrawlUrl("http://a.test/robots.txt", "a.test", kind=Kind.ROBOTS)
SECRET = CrawlUrl("http://a.test/secret", "a.test")
OK = (200, {"cache-control": "max-age=600"}, FORBID.encode())


async def test_the_last_good_copy_holds_while_the_site_is_away() -> None:
    desk = Desk(OK, 503, TimedOut("total"), Unreachable("reset"), 429, 503, 503, (200, {}, b""))
    gate = desk.gate()
    assert (await desk.ask(gate)).rules is not None
    ages = []
    for _ in range(6):
        visit = await desk.ask(gate)
        assert visit.outcome is Outcome.DONE, "nobody has to wait"
        assert visit.rules is not None
        ages.append(visit.rules.expires_at - desk.now)
        desk.now = visit.rules.expires_at
        assert await gate.refuses(SECRET) == "robotsTxt"
    assert ages == [300, 600, 1200, 2400, 3600, 3600]
    await desk.ask(gate)
    assert await gate.refuses(SECRET) == "", "a new answer counts at once"


async def test_without_a_copy_the_wait_grows_and_then_all_is_refused() -> None:
    desk = Desk(503)
    gate = desk.gate(patience=30)
    began, waits = desk.now, []
    while (visit := await desk.ask(gate)).outcome is Outcome.RETRY:
        assert visit.retry_in is not None
        waits.append(visit.retry_in)
        desk.now += visit.retry_in
    assert waits == [1, 2, 4, 8, 15]
    assert desk.now - began == 30
    assert visit.outcome is Outcome.FAILED
    assert await gate.refuses(SECRET) == "robotsUnreachable:status:503"
    assert visit.rules is not None
    assert visit.rules.expires_at - desk.now == 300
    desk.now += 300
    again = await desk.ask(gate)
    assert again.outcome is Outcome.RETRY, "a later round has its own patience"


@pytest.mark.parametrize(
    ("error", "tries"), [(Unresolved("x"), 1), (Unreachable("x"), 3), (TimedOut("connect"), 5)]
)
async def test_each_failure_has_its_own_number_of_tries(error: FetchError, tries: int) -> None:
    desk = Desk(error)
    gate = desk.gate(patience=30)
    seen = 0
    while (visit := await desk.ask(gate)).outcome is Outcome.RETRY:
        seen += 1
        desk.now += visit.retry_in or 0.0
    assert seen == tries


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Unresolved("a.test"), "dns:a.test"), (Unreachable("connrefused"), "connection:connrefused"),
     (Insecure("certificate has expired"), "tls:certificate has expired"),
     (TimedOut("connect"), "timeout:connect"), (TimedOut("dns"), "timeout:dns"),
     (Forbidden("private address"), "forbidden:private address"),
     (TimedOut("first-byte"), "robotsUnreachable:timeout:first-byte"),
     (TimedOut("total"), "robotsUnreachable:timeout:total"),
     (ProtocolError("no head"), "robotsUnreachable:garbled:no head"),
     (Truncated(), "robotsUnreachable:truncated"), (429, "robotsUnreachable:status:429"),
     (500, "robotsUnreachable:status:500")],
)  # fmt: skip
async def test_a_link_is_given_the_cause_now_and_after_a_restart(
    answer: FetchError | int, reason: str
) -> None:
    desk = Desk(answer)
    for _ in range(2):  # the second time with an answer known, as a later round does
        gate = desk.gate(patience=0)
        while (await desk.ask(gate)).outcome is Outcome.RETRY:
            pass
        assert await gate.refuses(SECRET) == reason
        assert await desk.gate().refuses(SECRET) == reason, "from what the frontier kept"


@pytest.mark.parametrize(
    ("control", "age"),
    [("", 86_400), ("max-age=600", 600), ('public, MAX-AGE="700"', 700),
     ("max-age=99999999", 86_400), ("no-cache", 60), ("max-age=600, no-store", 60),
     ("max-age=0", 60), ("max-age=soon", 86_400), ("max-age=-5", 86_400)],
)  # fmt: skip
async def test_a_copy_is_as_old_as_its_site_allows_and_never_older_than_a_day(
    control: str, age: float
) -> None:
    desk = Desk((200, {"Cache-Control": control}, b""))
    rules = (await desk.ask(desk.gate())).rules
    assert rules is not None
    assert rules.expires_at - desk.now == age


async def test_a_large_file_is_compiled_beside_the_loop() -> None:
    body = FORBID.encode() + b"# x\n" * 30_000
    desk = Desk((200, {}, body))
    gate = desk.gate()
    await desk.ask(gate)
    assert await gate.refuses(SECRET) == "robotsTxt"
    told = await gate.explain(SECRET.url)
    assert str(told) == "forbidden by line 2, Disallow: /secret"


async def test_what_is_compiled_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.engine.robots_gate.COMPILED_RULES", 5)
    desk = Desk(OK)
    gate = desk.gate()
    for host in "abcdefgh":
        body = FORBID.encode() + b"Disallow: /x\n"
        desk.kept[f"http://{host}.test"] = RobotsRecord(f"http://{host}.test", 200, body, 9e9)
        link = CrawlUrl(f"http://{host}.test/secret", f"{host}.test")
        assert await gate.refuses(link) == "robotsTxt"
    assert list(gate._compiled) == ["http://g.test", "http://h.test"]
    desk.kept["http://g.test"] = RobotsRecord("http://g.test", 404, b"", 9e9)
    assert await gate.refuses(CrawlUrl("http://g.test/secret", "g.test")) == "robotsTxt", "kept"
    assert await gate.refuses(CrawlUrl("http://a.test/secret", "a.test")) == "robotsTxt", (
        "read again"
    )


# ── whose turn it is ─────────────────────────────────────────────────────────────────────────────


def found(url: str) -> tuple[str, str, bytes, str, str]:
    host = host_key(url)
    return url, host, fingerprint(url, host), "page", ""


async def test_a_turn_waits_for_its_host_and_can_be_cancelled() -> None:
    pace = PaceConfig(per_host=1, delay=0.0)
    async with SqliteFrontier(":memory:", pace, robots=False) as queue, asyncio.timeout(10):
        await queue.add([found("http://a.test/1"), found("http://a.test/2")])
        leased = await queue.lease()
        assert leased is not None
        guest = CrawlUrl("http://a.test/robots.txt", "a.test", kind=Kind.ROBOTS, id=-1)
        given_up = asyncio.create_task(queue.turn(guest))
        waiting = asyncio.create_task(queue.turn(numbered(guest, -2)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert not waiting.done(), "the host has its hands full"
        queue.release(leased)
        await waiting
        second = asyncio.create_task(queue.lease())
        await asyncio.sleep(0)
        assert not second.done()
        queue.release(numbered(guest, -2))
        assert (await second) is not None
        stranger = CrawlUrl("http://new.test/robots.txt", "new.test", kind=Kind.ROBOTS, id=-3)
        await queue.turn(stranger)
        queue.release(stranger)


def numbered(link: CrawlUrl, number: int) -> CrawlUrl:
    return CrawlUrl(link.url, link.host, kind=link.kind, id=number)


async def test_a_robots_txt_answers_after_a_sequence_of_troubles(
    website: Open, tmp_path: Path
) -> None:
    site = await website(site_of(sequence(hangup(), busy(1, status=500), text(FORBID))))
    await crawl(settings(site.url, patience=30), tmp_path)
    assert outcomes(tmp_path) == {"/": "done", "/open": "done", "/secret": "refused"}
