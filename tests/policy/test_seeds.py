"""Seeds: no rule refuses them, what they redirect to is one, and a crawl without a page says so."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import secrets
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from helpers.commands import crawler as crawler_process
from helpers.crawling import by_path, crawl, outcomes, records, settings
from helpers.redis_server import RedisServer, servers
from helpers.website import Answer, Asked, Reply, Website, page, redirect, reply, text
from hypothesis import given
from hypothesis import strategies as st

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.exits import Exit, exit_code
from crawler.cli.seed_results import SeedResults
from crawler.cli.why import tell
from crawler.config.model import Config, ScopeConfig
from crawler.engine.seed_redirects import SeedRedirects
from crawler.errors import Forbidden
from crawler.fetch.address_guard import AddressGuard
from crawler.frontier.sqlite.overview import adopted
from crawler.parse.workers.pool import ParsePool
from crawler.policy.end_message import sentence
from crawler.policy.scope import Scope
from crawler.policy.urls import fingerprint, host_key
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, ParsedPage, Timings

Open = Callable[..., Awaitable[Website]]

AWAY = {"/": page(links=["/a", "{0}/old"]), "/a": page(links=["/b"]), "/b": page()}
"""What the second host has where a seed redirects to it."""


def hosts(folder: Path) -> set[tuple[str, str]]:
    """Of the pages that were read: the host's last digit and the path."""
    urls = (one["url"] for one in records(folder) if one["outcome"] == "done")
    return {(url.split(":")[1][-1], "/" + url.split("/", 3)[3]) for url in urls}


# ── no rule refuses a seed ───────────────────────────────────────────────────────────────────────


async def test_a_seed_is_visited_whatever_include_and_exclude_say(
    website: Open, tmp_path: Path
) -> None:
    site = await website(
        {"/": page(links=["/product/1", "/about", "/start"]), "/product/1": page(),
         "/start": page(links=["/product/2"]), "/product/2": page()}
    )  # fmt: skip
    seeds = (site.url, site.at("/start"))
    await crawl(settings(*seeds, include=("/product/",), exclude=("start",)), tmp_path)
    assert set(by_path(tmp_path)) == {"/", "/start", "/product/1", "/product/2"}
    rows, _ = tell(tmp_path, site.at("/start"), 0.0)
    assert dict(rows)["scope"] == "a seed: it is visited whatever the other rules say"


RULES = st.builds(
    ScopeConfig,
    scope=st.sampled_from(["page", "prefix", "host", "domain"]),
    include=st.sampled_from([(), ("x",)]),
    exclude=st.sampled_from([(), ("y",)]),
)
URLS = st.builds(
    "http://{}/{}".format,
    st.sampled_from(["a.test", "www.a.test", "b.test", "c.b.test"]),
    st.sampled_from(["", "x", "y", "x/y", "x/y/z"]),
)


@given(RULES, st.lists(URLS, min_size=1, max_size=2), st.lists(URLS, max_size=3), URLS)
def test_an_adopted_seed_rules_the_scope_as_a_given_one_does(
    rules: ScopeConfig, seeds: list[str], more: list[str], url: str
) -> None:
    grown = Scope(rules, seeds)
    for one in more:
        grown.adopt(one)
    whole = Scope(rules, [*seeds, *more])
    sent: Scope = pickle.loads(pickle.dumps(grown))
    for depth in (0, 1):
        wanted = whole.judge(url, host_key(url), depth, "page")
        assert grown.judge(url, host_key(url), depth, "page") == wanted
        if url not in more:  # a parse process finds no seed: the frontier has them all
            assert sent.judge(url, host_key(url), depth, "page") == wanted
    assert not any(grown.judge(one, host_key(one), 0, "page") for one in [*seeds, *more])


# ── where a seed redirects to ────────────────────────────────────────────────────────────────────


async def test_what_a_seed_redirects_to_is_crawled_in_its_place(
    website: Open, tmp_path: Path
) -> None:
    site = await website(
        {"/": redirect("/home"), "/home": redirect("{1}/"), "/old": page()}, AWAY, {"/": page()}
    )
    running = await crawl(settings(site.url), tmp_path)
    assert hosts(tmp_path) == {("2", "/"), ("2", "/a"), ("2", "/b"), ("1", "/old")}
    assert running.finish_reason == "finished"
    assert adopted(tmp_path / "frontier.db") == [site.at("/home"), site.at("/", 1)]
    rows, _ = tell(tmp_path, site.at("/b", 1), 0.0)
    assert dict(rows)["scope"] == "admitted by scope 'host'"


async def test_unless_it_is_switched_off(website: Open, tmp_path: Path) -> None:
    site = await website({"/": redirect("{1}/")}, AWAY)
    await crawl(settings(site.url, seed_redirects=False), tmp_path)
    (only,) = records(tmp_path)
    assert (only["outcome"], only["reason"]) == ("moved", "redirectToExcluded:outOfScope")


@pytest.mark.parametrize("scope", ["page", "prefix", "domain"])
async def test_in_every_scope(website: Open, tmp_path: Path, scope: str) -> None:
    site = await website({"/x": redirect("{1}/")}, AWAY)
    await crawl(settings(site.at("/x"), scope=scope), tmp_path)
    wanted = {("2", "/")} if scope == "page" else {("2", "/"), ("2", "/a"), ("2", "/b")}
    assert hosts(tmp_path) == wanted


async def test_include_does_not_refuse_it_but_exclude_does(website: Open, tmp_path: Path) -> None:
    site = await website(
        {"/": redirect("/home"), "/home": page(links=["/b", "/c"]), "/b": page(), "/c": page(),
         "/x": redirect("/y"), "/y": page()}
    )  # fmt: skip
    seeds = (site.url, site.at("/x"))
    await crawl(settings(*seeds, include=("/b",), exclude=("/y",)), tmp_path)
    assert outcomes(tmp_path) == {"/": "moved", "/home": "done", "/b": "done", "/x": "moved"}
    assert by_path(tmp_path)["/x"]["reason"] == "redirectToExcluded:excluded"


async def test_only_a_seed_is_followed_so(website: Open, tmp_path: Path) -> None:
    """Not what a page links to, nor what a list names that is no click away."""
    site = await website(
        {
            "/": page(links=["/linked"]),
            "/linked": redirect("/hop"),
            "/hop": redirect("{1}/"),
            "/listed": redirect("/step"),
            "/step": redirect("{1}/a"),
            "/list.txt": text("{0}/listed\n"),
        },
        AWAY,
    )
    config = settings(site.url, **{"sitemap.urls": (site.at("/list.txt"),)})
    site.put("/list.txt", text(site.at("/listed") + "\n"))
    await crawl(config, tmp_path / "crawl")
    found = by_path(tmp_path / "crawl")
    assert found["/hop"]["reason"] == found["/step"]["reason"] == "redirectToExcluded:outOfScope"
    assert {one.address for one in site.log} == {"127.0.0.1"}


async def test_sitemaps_alone_follow_where_the_site_has_moved_to(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/sitemap.xml": redirect("{1}/map.txt")}, AWAY)
    site.put("/map.txt", text(f"{site.at('/a', 1)}\n{site.at('/b', 1)}\n"), 1)
    await crawl(settings(site.url, **{"sitemap.only": True}), tmp_path)
    assert hosts(tmp_path) >= {("2", "/a"), ("2", "/b")}


async def test_a_resumed_crawl_and_a_recrawl_know_the_adopted_seed(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": redirect("{1}/")}, AWAY)
    await crawl(settings(site.url, max_pages=1), tmp_path)
    assert hosts(tmp_path) == {("2", "/")}
    await crawl(settings(site.url), tmp_path, "resume")
    assert hosts(tmp_path) == {("2", "/"), ("2", "/a"), ("2", "/b")}
    site.put("/b", page(links=["/new"]), 1)
    site.put("/new", page(), 1)
    async with (
        asyncio.timeout(40),
        open_crawl(settings(site.url), dir=tmp_path, mode="resume") as running,
    ):
        await running.frontier.revisit()  # type: ignore[attr-defined]
        await running.run()
    assert ("2", "/new") in hosts(tmp_path)


async def test_links_that_were_refused_before_the_seed_was_adopted_are_queued(
    website: Open, tmp_path: Path
) -> None:
    """The second seed redirects; what the first had found there is in scope now, and only there."""
    site = await website(
        {"/one": page(links=["{1}/only-here", "{2}/never"]), "/two": redirect("{1}/")},
        {"/": page(), "/only-here": page()},
        {"/never": page()},
    )
    await crawl(settings(site.at("/one"), site.at("/two"), concurrency=1), tmp_path)
    assert hosts(tmp_path) == {("1", "/one"), ("2", "/"), ("2", "/only-here")}


async def test_a_page_that_is_being_read_when_a_seed_is_adopted_is_judged_anew(
    website: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopting, one_is_read = asyncio.Event(), asyncio.Event()
    readings: list[str] = []
    real_read, real_take = ParsePool.read, SeedRedirects.take

    async def read(self: ParsePool, one: Page) -> ParsedPage:
        extract = await real_read(self, one)
        readings.append(one.link.url)
        if one.link.url.endswith("/one"):
            one_is_read.set()
            await adopting.wait()
        return extract

    def take(self: SeedRedirects, visit: CrawlResult) -> CrawlResult:
        adopting.set()
        return real_take(self, visit)

    async def two(asked: Asked) -> Reply:
        await one_is_read.wait()
        return await redirect("{1}/")(asked)

    monkeypatch.setattr(ParsePool, "read", read)
    monkeypatch.setattr(SeedRedirects, "take", take)
    site = await website(
        {"/one": page(links=["{1}/late"]), "/two": two},
        {"/": page(), "/late": page()},
    )
    await crawl(settings(site.at("/one"), site.at("/two"), per_host=8), tmp_path)
    assert {("2", "/"), ("2", "/late")} <= hosts(tmp_path)
    assert readings.count(site.at("/one")) == 2


def moved(url: str, target: str) -> CrawlResult:
    link = CrawlUrl(url, host_key(url))
    there = (target, host_key(target), fingerprint(target, host_key(target)), "page", "")
    answer = Page(link, 301, (), b"", 0.0, Timings(1.0), 0, location=target)
    return CrawlResult(link, Outcome.MOVED, answer, found=(there,), adopts="public")


def test_a_public_seed_makes_no_private_host_trusted_and_a_private_one_only_its_own_kind() -> None:
    guard = AddressGuard(["public.test", "inside.test"])
    guard.judge("public.test", "93.184.216.34")
    guard.judge("inside.test", "10.0.0.1")
    told: list[str] = []
    scope = Scope(ScopeConfig(), ["http://public.test/", "http://inside.test/"])
    adoption = SeedRedirects(scope, tell=told.append, guard=guard)
    assert adoption.take(moved("http://public.test/", "http://evil.test/")).adopts == "public"
    with pytest.raises(Forbidden):
        guard.judge("evil.test", "10.0.0.1")
    kept = adoption.take(moved("http://inside.test/", "http://portal.test/"))
    assert kept.adopts == "private"
    guard.judge("portal.test", "10.9.9.9")
    for address in ("169.254.169.254", "127.0.0.1"):
        with pytest.raises(Forbidden):
            guard.judge("portal.test", address)
    assert told == ["http://evil.test/", "http://portal.test/"]
    again = AddressGuard(["inside.test"])  # a resumed crawl's
    later = SeedRedirects(Scope(ScopeConfig(), []), tell=told.append, guard=again)
    later.recalled({"http://portal.test/": kept.adopts, "http://evil.test/": "public"})
    again.judge("portal.test", "10.9.9.9")
    with pytest.raises(Forbidden):
        again.judge("evil.test", "10.9.9.9")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    there = servers()
    if not there:
        pytest.skip("no Redis or Valkey on this machine")
    with RedisServer(next(iter(there.values()))) as one:
        yield one


async def test_workers_learn_what_another_one_adopted(
    server: RedisServer, website: Open, tmp_path: Path
) -> None:
    """The first follows the redirect and leaves; the second reads what is behind it."""
    site = await website({"/": redirect("{1}/")}, AWAY)
    shared = settings(
        site.url,
        **{"frontier.url": server.url, "frontier.job": secrets.token_hex(4), "frontier.shards": 1},
    )
    async with contextlib.AsyncExitStack() as stack:
        second = await stack.enter_async_context(
            open_crawl(shared, dir=tmp_path / "two", mode="new")
        )
        async with open_crawl(shared, dir=tmp_path / "one", mode="new", join=True) as first:

            def stop(answer: Answer) -> Answer:
                async def stopping(asked: Asked) -> Reply:
                    first.stop()
                    return await answer(asked)

                return stopping

            site.put("/", stop(redirect("{1}/")))
            await first.run()
        assert [one["outcome"] for one in records(tmp_path / "one")] == ["moved"]
        async with asyncio.timeout(40):
            await second.run()
    assert hosts(tmp_path / "two") == {("2", "/"), ("2", "/a"), ("2", "/b")}


# ── a crawl without a page ───────────────────────────────────────────────────────────────────────


async def finish(config: Config, folder: Path) -> tuple[str, Exit]:
    """How a crawl ends, and with which exit code."""
    seeds = SeedResults()
    async with asyncio.timeout(40), open_crawl(config, dir=folder, sinks=[seeds]) as running:
        await running.run()
        counts = await running.frontier.counts()
    shot = running.tally.snapshot()
    ever = counts.pages > 0
    code = exit_code(running.finish_reason, shot, seeds.fates, shot.robots, ever=ever)
    assert ("every link" in sentence("finished", pending=0, left=counts.left)) == (not counts.left)
    return running.finish_reason, code


@pytest.mark.parametrize(
    ("path", "values", "reason", "code"),
    [
        ("/secret", {}, "no-pages", Exit.SERVER),
        ("/gone", {}, "no-pages", Exit.SERVER),
        ("/away", {"seed_redirects": False}, "no-pages", Exit.SERVER),
        ("/nobody", {}, "no-pages", Exit.NETWORK),
        ("/image", {"mime": ("text/*",)}, "no-pages", Exit.SERVER),
        ("/", {"follow": ("asset",)}, "no-pages", Exit.SERVER),
        ("/", {"sitemap.only": True}, "no-pages", Exit.SERVER),
        ("/empty.txt", {"sitemap.only": True}, "no-pages", Exit.SERVER),
        ("/", {"time_limit": 0}, "time-limit", Exit.TIME_LIMIT),
        ("/", {"size_limit": 0}, "size-limit", Exit.SIZE_LIMIT),
        ("/", {"max_depth": 0}, "finished", Exit.OK),
    ],
)
async def test_a_crawl_without_a_page_never_ends_with_0(
    website: Open,
    tmp_path: Path,
    path: str,
    values: dict[str, object],
    reason: str,
    code: Exit,
    unused_tcp_port: int,
) -> None:
    site = await website(
        {
            "/": page(),
            "/image": reply(b"x", mime="image/png"),
            "/away": redirect("http://127.0.0.9:9/"),
            "/nobody": redirect(f"http://127.0.0.1:{unused_tcp_port}/"),
            "/empty.txt": text("http://else.test/\n"),
            "/robots.txt": text("User-agent: *\nDisallow: /secret"),
        }
    )
    config = settings(site.at(path), retries=0, **values)
    assert await finish(config, tmp_path / "crawl") == (reason, code)


async def test_the_command_says_in_one_sentence_that_nothing_was_read(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/robots.txt": text("User-agent: *\nDisallow: /")})
    ended = await crawler_process("crawl", site.url, "-O", str(tmp_path / "a"), "--fast",
                                  "--processes", "1")  # fmt: skip
    assert ended.code == 8
    assert "ended  no page was read: 1 forbidden by robots.txt (--no-robots, on a" in ended.err
    again = await crawler_process("resume", str(tmp_path / "a"))
    assert again.code == 8
    quiet = await crawler_process("crawl", site.url, "-O", str(tmp_path / "b"), "--fast", "-q",
                                  "-s", "scope.follow=asset")  # fmt: skip
    assert quiet.code == 8
    assert quiet.err == (
        "crawler: error: no page was read: nothing that was found belongs to the crawl (--scope)\n"
    )
    checked = await crawler_process("check", site.url, "--fast")
    assert checked.code == 8
    assert "no page was read" in checked.out


async def test_the_library_warns(
    website: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = await website({"/robots.txt": text("User-agent: *\nDisallow: /")})
    running = await crawl(settings(site.url), tmp_path)
    assert running.finish_reason == "no-pages"
    assert "no page was read: 1 forbidden by robots.txt" in caplog.text
