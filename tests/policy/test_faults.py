"""No URL and no answer ends a crawl: what our own code trips over is one visit's failure."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.answers import reply
from helpers.crawling import by_path, crawl, records, settings
from helpers.website import Website, page, redirect, text
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.exits import Exit
from crawler.cli.run_crawl import run
from crawler.cli.screen import Screen
from crawler.config.model import FetchConfig, ScopeConfig, UrlsConfig
from crawler.downloads import file_names
from crawler.errors import FetchError, FrontierError
from crawler.export.mirror_paths import mirror_path
from crawler.fetch.client import target_of
from crawler.fetch.cookie_jar import CookieJar
from crawler.fetch.credentials import Credentials
from crawler.fetch.fetcher import HttpFetcher
from crawler.frontier.sqlite import crash_suspects
from crawler.output import graph
from crawler.output.body_files import path_for
from crawler.policy.internal_errors import is_of_visit, machine_fault
from crawler.policy.robots_txt import read_robots
from crawler.policy.scope import Scope
from crawler.policy.trap_rules import shape, shape_trap
from crawler.policy.urls import (
    Urls,
    fingerprint,
    host_key,
    is_suffix,
    origin,
    path_of,
    registered_domain,
)
from crawler.records import CrawlResult, CrawlUrl

Open = Callable[..., Awaitable[Website]]

HOSTS = (
    "xn--a", "xn--photosuite-4r6e.test", "xn--fx-3s9cx68e-jpnet.test", "xn--0-zhc.test",
    "xn--ls8h.test", "xn--zca.test", "xn--.test", "☎️.test", "a‍b.test", "😀.test", "א1a.test",
    "-a.test", "a_b.test", "a..test", "..test", "test..", ".", "!$&'()*+,;=~.test", '"`{}.test',
    "a" * 64 + ".test", "a." * 150 + "test", "[::1]:1", "0x7f.1:1", "127.1:1", "1.2.3:99999",
    "ﬁ.test", "İ.test", "ẞ.test", "%C3%A9.test", "com", "co.uk", "user:pw@xn--a", "a。b", "xn--a:1",
)  # fmt: skip
"""What pages link to (wpull#435, scrapy#4330, yarl#148): hosts that IDNA cannot decode, that are
too long for DNS, that are none."""

URLS = Urls(UrlsConfig())
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=16)
HOST = st.one_of(
    st.sampled_from(HOSTS),
    LABEL.map("xn--{}.test".format),
    st.text(max_size=12),
    st.lists(st.one_of(LABEL, st.text(max_size=4), LABEL.map("xn--{}".format)), max_size=4).map(
        ".".join
    ),
)
URL = st.builds(
    "{}{}{}/{}".format,
    st.sampled_from(["http://", "https://", "//"]),
    HOST,
    st.sampled_from(["", ":0", ":8080", ":65535"]),
    st.text(max_size=20),
)
SCOPES = [Scope(ScopeConfig(scope=scope), ["http://example.com/"]) for scope in ("host", "domain")]
ROBOTS = read_robots(200, b"User-agent: *\nDisallow: /a*b$\nAllow: /%C3%A9\n", "bot")


@given(URL)
@how(max_examples=400, deadline=None)
def test_every_url_that_is_one_can_be_handled_everywhere(given_url: str) -> None:
    url = URLS.join("http://example.com/a/", given_url)
    if url is None:
        return
    assert url.isascii()
    assert URLS.canonical(url) == url
    host = host_key(url)
    fingerprint(url, host), path_of(url), registered_domain(host), is_suffix(host)
    for scope in SCOPES:
        scope.judge(url, host, 1, "page")
        scope.explain(url, host, 1, "page")
    Scope(ScopeConfig(scope="domain"), [url])
    ROBOTS.explain(url)
    shape(url), shape_trap(url, max_segments=20, max_repeats=3)
    for path in (path_for(url, "text/html"), mirror_path(url, "text/html")):
        assert ".." not in path.split("/")
    file_names.compile_template("{host}/{path}/{name}")(
        url, file_names.sanitize(file_names.from_url(url)), 1
    )
    Credentials(FetchConfig(), [url]).headers(origin(url))
    target_of(url).encode("ascii")


@given(URL)
@how(max_examples=200, deadline=None)
def test_every_url_has_a_key_in_an_index_of_archives(given_url: str) -> None:
    surt = pytest.importorskip("surt").surt
    url = URLS.join("http://example.com/a/", given_url)
    if url is not None:
        assert "\n" not in surt(url)


@pytest.mark.parametrize("cookies", [False, True])
async def test_a_fetch_of_any_host_ends_in_an_answer_or_a_named_failure(
    cookies: bool, tmp_path: Path
) -> None:
    rules = FetchConfig(dns_timeout=5.0, connect_timeout=5.0, private="never", cookies=cookies)
    async with HttpFetcher(rules, slots=64, user_agent="x", spool=tmp_path) as fetcher:

        async def visit(url: str) -> None:
            with pytest.raises(FetchError):
                await fetcher.fetch(CrawlUrl(url, host_key(url)))

        async with asyncio.TaskGroup() as crew:
            for scheme in ("http", "https"):
                for host in HOSTS:
                    if url := URLS.canonical(f"{scheme}://{host}/"):
                        crew.create_task(visit(url))


def test_a_jar_takes_any_host() -> None:
    jar = CookieJar()
    for host in HOSTS:
        if url := URLS.canonical(f"https://{host}/"):
            jar.take(["a=b", "c=d; Domain=xn--a"], url)
            jar.cookies(url)


async def test_a_host_without_meaning_is_one_broken_link_wherever_it_stands(
    website: Open, tmp_path: Path
) -> None:
    bad = "http://xn--fx-3s9cx68e-jpnet.test"
    ours = ["/a", "/moved", "/css", "/base"]
    feed = f'<rss version="2.0"><channel><item><link>{bad}/f</link></item></channel></rss>'
    maps = f"User-agent: *\nAllow: /\nSitemap: {bad}/s.xml\nSitemap: /s.xml\nSitemap: /feed\n"
    style = f"@import '{bad}/c'; a{{background:url({bad}/d)}}"
    site = await website(
        {
            "/robots.txt": text(maps),
            "/": page(links=[*ours, *(f"http://{host}/" for host in HOSTS)]),
            "/a": page(links=["/b"]),
            "/b": reply("ok", headers={"Link": f"<{bad}/l>; rel=next"}),
            "/base": page(head=f'<base href="{bad}/">', links=["below"]),
            "/moved": redirect(f"{bad}/r"),
            "/css": reply(style, mime="text/css"),
            "/feed": reply(feed, mime="application/rss+xml"),
            "/s.xml": reply(f"<urlset><url><loc>{bad}/m</loc></url></urlset>", mime="text/xml"),
        }
    )
    config = settings(site.url, scope="any", warc=True, save="all", retries=0, requisites=True)
    running = await crawl(config, tmp_path)
    assert running.finish_reason == "finished"
    assert "internal" not in running.tally.reasons
    found = {line["url"]: line["outcome"] for line in records(tmp_path)}
    assert [found[site.at(path)] for path in (*ours, "/b") if path != "/moved"] == ["done"] * 4
    seen = {url.removeprefix(bad) for url in found if url.startswith(bad)}
    assert seen == {"/", "/l", "/below", "/r", "/c", "/d", "/f", "/m", "/s.xml"}


class Trips:
    """Stands for a part of the loop that trips over one path."""

    def __init__(self, inner: Any, path: str, error: Exception) -> None:
        self._inner, self._path, self._error = inner, path, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _look(self, url: str) -> None:
        if url.endswith(self._path):
            raise self._error

    async def fetch(self, link: CrawlUrl, **more: Any) -> Any:
        self._look(link.url)
        return await self._inner.fetch(link, **more)

    async def read(self, page: Any) -> Any:
        self._look(page.link.url)
        return await self._inner.read(page)

    async def refuses(self, link: CrawlUrl) -> str:
        self._look(link.url)
        return str(await self._inner.refuses(link))

    async def rules(self, home: str) -> Any:
        self._look(home)
        return await self._inner.rules(home)


@pytest.mark.parametrize("part", ["_fetcher", "_parser", "_gate"])
async def test_a_bug_that_one_link_trips_over_is_that_links_failure(
    part: str, website: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leaves = {f"/{n}": page() for n in range(20)}
    site = await website({"/": page(links=["/boom", *leaves]), "/boom": page(), **leaves})
    async with open_crawl(settings(site.url), dir=tmp_path) as running:
        setattr(running, part, Trips(getattr(running, part), "/boom", UnicodeError("idna")))
        async with asyncio.timeout(30):
            await running.run()
    found = by_path(tmp_path)
    assert found["/boom"]["outcome"] == "failed"
    assert found["/boom"]["reason"] == "internal:UnicodeError"
    assert {one["outcome"] for path, one in found.items() if path != "/boom"} == {"done"}
    assert len(found) == 22
    (said,) = [one for one in caplog.records if "a bug in this program" in one.message]
    assert said.exc_info is not None
    assert "UnicodeError: idna" in said.message


async def test_a_bug_in_asking_for_a_robots_txt_fails_that_host_alone(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["{1}/x"])}, {"/x": page()})
    async with open_crawl(settings(site.url, scope="any", private="any"), dir=tmp_path) as running:
        other = site.origins[1]
        asker = running._gate._asker
        asker._fetcher = Trips(asker._fetcher, f"{other}/robots.txt", KeyError("x"))
        async with asyncio.timeout(30):
            await running.run()
    found = by_path(tmp_path)
    assert (found["/x"]["outcome"], found["/x"]["reason"]) == ("failed", "internal:KeyError")
    assert found["/"]["outcome"] == "done"


async def test_a_bug_in_the_frontier_still_ends_the_crawl(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    async with open_crawl(settings(site.url), dir=tmp_path) as running:
        schedule = running.frontier._schedule  # type: ignore[attr-defined]
        schedule.release = lambda *_args, **_more: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await running.run()


def test_the_summary_and_the_exit_code_tell_of_it(tmp_path: Path) -> None:
    @asynccontextmanager
    async def opener(config: Any, **more: Any) -> Any:
        async with open_crawl(config, **more) as running:
            running._fetcher = Trips(running._fetcher, "/", ValueError("\x1b[31mred"))
            yield running

    said = io.StringIO()
    config = settings("http://127.0.0.1:1/", obey=False, report=False)
    code = run(config, tmp_path / "c", "new", Screen(stream=said), opener=opener)
    assert code is Exit.BUG
    told = said.getvalue()
    assert "bugs  1 link failed by a bug in this program" in told
    assert "Traceback" not in told
    assert "\x1b" not in told
    assert "(test_faults" not in told


def test_what_the_machine_lacks_is_no_visits_fault() -> None:
    for error in (MemoryError(), OSError(28, "No space left on device"), OSError(24, "x"),
                  RuntimeError("can't start new thread")):  # fmt: skip
        assert machine_fault(error)
        assert not is_of_visit(error)
    assert machine_fault(OSError(2, "x")) is None
    assert not is_of_visit(FrontierError("x"))
    assert is_of_visit(RuntimeError("x"))


async def test_what_cannot_be_written_is_one_visits_failure(
    website: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sink trips over one page of a group that the first has written."""
    leaves = {f"/{n}": page(links=["/"]) for n in range(20)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    pack = graph.pack

    def trips(visit: CrawlResult) -> bytes:
        if visit.link.url.endswith("/7") and visit.page:
            raise OverflowError("int too large to convert")
        return pack(visit)

    monkeypatch.setattr(graph, "pack", trips)
    running = await crawl(settings(site.url, text=True, save="all"), tmp_path)
    assert running.finish_reason == "finished"
    found = by_path(tmp_path)
    assert found.pop("/7")["reason"] == "internal:OverflowError"
    assert {one["outcome"] for one in found.values()} == {"done"}
    assert len(found) == 20
    assert running.tally.reasons == {"internal": 1}


# ── a link that ends the process ─────────────────────────────────────────────────────────────


async def test_a_link_that_ends_the_crawl_twice_is_set_aside(website: Open, tmp_path: Path) -> None:
    leaves = {f"/{n}": page() for n in range(40)}
    site = await website({"/": page(links=["/boom", *leaves]), "/boom": page(), **leaves})
    beside: list[int] = []

    async def run_once(mode: Any) -> None:
        async with open_crawl(settings(site.url), dir=tmp_path, mode=mode) as running:
            frontier: Any = running.frontier
            settle = frontier.settle

            async def fatal(visits: Any, marks: Any) -> None:
                for one in visits:
                    if one.link.url.endswith("/boom") and one.page:
                        beside.append(len(frontier._schedule.leased) - 1)
                        visits = [*visits, msgspec.structs.replace(one, reason="\ud800")]
                await settle(visits, marks)  # SQLite cannot store half a character

            frontier.settle = fatal
            async with asyncio.timeout(30):
                await running.run()

    with pytest.raises(UnicodeEncodeError):
        await run_once("new")
    with pytest.raises(UnicodeEncodeError):
        await run_once("resume")
    assert beside[1] == 0, "the second time it is alone, so that no other is blamed"
    await run_once("resume")
    found = by_path(tmp_path)
    assert found.pop("/boom")["reason"] == "internal:process-died"
    assert {one["outcome"] for one in found.values()} == {"done"}
    assert len(found) == 41
    assert not (tmp_path / "frontier.hand").exists()


async def test_an_exception_of_who_uses_the_package_blames_no_link(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})

    async def misuse(mode: Any) -> None:
        async with open_crawl(settings(site.url), dir=tmp_path, mode=mode) as running:
            assert await running.frontier.lease()
            raise KeyError("mine")

    for mode in ("new", "resume", "resume"):
        with pytest.raises(KeyError):
            await misuse(mode)
    await crawl(settings(site.url), tmp_path, "resume")
    assert {one["outcome"] for one in by_path(tmp_path).values()} == {"done"}


DIES = """
import os, sys
from crawler.fetch.fetcher import HttpFetcher
fetch = HttpFetcher.fetch
async def dies(self, link, **more):
    page = await fetch(self, link, **more)
    if link.url.endswith(sys.argv[1]):
        {how}
    return page
HttpFetcher.fetch = dies
from crawler.cli.main import main
main(sys.argv[2:])
"""


async def die(how: str, path: str, *arguments: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES.format(how=how), path, *arguments, "--no-color",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(60):
        return await process.wait()


@pytest.mark.parametrize("path", ["/boom", "/robots.txt"])
async def test_what_ends_the_process_twice_is_set_aside(
    path: str, website: Open, tmp_path: Path
) -> None:
    leaves = {f"/{n}": page() for n in range(20)}
    site = await website({"/": page(links=["/boom", *leaves]), "/boom": page(), **leaves})
    folder = str(tmp_path / "c")
    abort = "os.abort()"
    first = await die(abort, path, "crawl", site.url, "-O", folder, "--fast", "--processes", "1")
    assert first == -signal.SIGABRT
    assert await die(abort, path, "resume", folder) == -signal.SIGABRT
    assert await die(abort, path, "resume", folder) == Exit.BUG
    found = by_path(tmp_path / "c")
    lost = found.pop("/boom" if path == "/boom" else "/")
    assert lost["reason"] == "internal:process-died"
    assert lost["outcome"] == "failed"
    assert len(found) == (21 if path == "/boom" else 0)
    assert {one["outcome"] for one in found.values()} <= {"done"}


async def test_who_is_killed_from_outside_blames_no_link(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/boom"]), "/boom": page()})
    folder = str(tmp_path / "c")
    kill = "os.kill(os.getpid(), 9)"
    words = ("crawl", site.url, "-O", folder, "--fast", "--processes", "1")
    assert await die(kill, "/boom", *words) == -signal.SIGKILL
    for _ in range(2):
        assert await die(kill, "/boom", "resume", folder) == -signal.SIGKILL
    assert await die("pass", "/boom", "resume", folder) == 0
    assert {one["outcome"] for one in by_path(tmp_path / "c").values()} == {"done"}


def test_a_kernel_out_of_memory_is_a_reason_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_suspects, "_killed", lambda: 7)
    hand = crash_suspects.CrashSuspects(tmp_path / "frontier.db")
    for number in (1, 2, -3):
        hand.take(number)
    hand.drop(2)
    assert crash_suspects.CrashSuspects(tmp_path / "frontier.db").suspects == []  # as after kill -9
    hand = crash_suspects.CrashSuspects(tmp_path / "frontier.db")
    hand.take(5)
    monkeypatch.setattr(crash_suspects, "_killed", lambda: 8)
    assert crash_suspects.CrashSuspects(tmp_path / "frontier.db").suspects == [5]


def test_what_the_machine_lacks_is_said_in_a_sentence() -> None:
    none = FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")
    assert (
        machine_fault(none) == "no folder for temporary files can be written to: set TMPDIR to one"
    )
    assert machine_fault(FileNotFoundError(2, "No such file or directory", "x")) is None
    assert machine_fault(OSError(36, "File name too long", "x/y")) == "x/y: File name too long"
