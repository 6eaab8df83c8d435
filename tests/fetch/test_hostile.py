"""Everything a stranger's server can do wrong, and a crawl that goes on."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.crawling import crawl, records, settings
from helpers.hostile_server import ATTACKS, HEAD, POISON, Attack, HostileServer
from helpers.places import TESTS
from helpers.processes import Peak
from helpers.website import Website, gate, page, redirect

from crawler.config.model import FetchConfig
from crawler.errors import ConfigError, FetchError
from crawler.fetch.address_guard import AddressGuard, networks
from crawler.fetch.connector import MAX_INTERIM
from crawler.fetch.fetcher import HttpFetcher
from crawler.policy.patterns import compile_pattern, compile_text_pattern
from crawler.policy.urls import host_key
from crawler.records import CrawlUrl

MEMORY = 700 * 1000 * 1000
"""Resident bytes of crawl and parse processes together."""

QUICK = {
    "fetch.first_byte_timeout": 4,
    "fetch.idle_timeout": 3,
    "fetch.timeout": 12,
    "fetch.min_rate_after": 1,
    "retry.retries": 1,  # a healthy page may be slow on a busy machine
    "retry.base": 0.1,
    "parse.deadline": 30,  # a page of 150,000 links takes a second where nothing else runs
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.timeout(300)
async def test_everything_at_once_and_the_healthy_pages_are_all_there(tmp_path: Path) -> None:
    async with HostileServer() as server:
        arguments = [f"-s{key}={value}" for key, value in QUICK.items()]
        crawler = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawler", "crawl", server.url, "-O", str(tmp_path / "crawl")),
            *("--fast", "-c", "64", "--processes", "2", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        peak = Peak(crawler.pid)
        watch = asyncio.create_task(peak.watch())
        try:
            async with asyncio.timeout(280):  # on a busy machine
                _, said = await crawler.communicate()
        finally:
            watch.cancel()
            if crawler.returncode is None:
                crawler.kill()
        assert crawler.returncode == 0, said.decode()
        found = {"/" + line["url"].split("/", 3)[3]: line for line in records(tmp_path / "crawl")}
        healthy = server.healthy
    assert {found[path]["reason"] for path in healthy} == {None}
    assert {found[path]["title"] for path in healthy} == {f"Page {path}" for path in healthy}
    wrong = {
        path: (found[path]["outcome"], found[path]["reason"], found[path]["problems"])
        for path, attack in ATTACKS.items()
        if not _as_expected(attack, found[path])
    }
    assert wrong == {}
    assert b"Traceback" not in said
    assert b"\x1b]0;" not in said
    assert peak.bytes < MEMORY
    assert list((tmp_path / "crawl" / "spool").iterdir()) == []


def _as_expected(attack: Attack, record: dict[str, object]) -> bool:
    reason = str(record["reason"] or "")
    problems = record["problems"]
    assert isinstance(problems, list)
    return (
        record["outcome"] in attack.outcome.split("|")
        and any(reason.startswith(one) for one in attack.reason.split("|"))
        and ("" in attack.reason.split("|") or reason != "")
        and (not attack.said or any(attack.said in problem for problem in problems))
    )


# ── one connection ───────────────────────────────────────────────────────────────────────────


def fetcher(tmp_path: Path, **rules: Any) -> HttpFetcher:
    return HttpFetcher(FetchConfig(**rules), slots=4, user_agent="test", spool=tmp_path, guard=None)


def link(url: str) -> CrawlUrl:
    return CrawlUrl(url, host_key(url))


class Script:
    """A server whose n-th connection says what the n-th list of answers holds, one a request."""

    def __init__(self, *connections: list[bytes]) -> None:
        self.connections = list(connections)
        self.asked = 0
        self._server: asyncio.Server | None = None
        self.sent = asyncio.Event()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in self.connections.pop(0):
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                for piece in answer.split(b"|"):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                self.sent.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


OK = HEAD + b"Content-Length: 2\r\n\r\nok"


async def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    script = Script([OK + b"|" + POISON, OK], [OK])
    async with script as url, fetcher(tmp_path) as fetch:
        await fetch.fetch(link(url))
        await script.sent.wait()  # the second answer lies in the kept connection
        again = await fetch.fetch(link(url))
        assert again.body == b"ok"


async def test_a_kept_connection_that_is_closed_meanwhile_is_no_failure(tmp_path: Path) -> None:
    script = Script([OK, b""], [OK])
    async with script as url, fetcher(tmp_path) as fetch:
        assert (await fetch.fetch(link(url))).timings.connect is not None
        again = await fetch.fetch(link(url))  # the second request on it gets a FIN for an answer
        assert again.body == b"ok"


async def test_a_new_connection_that_brings_nothing_is_a_failure_at_once(tmp_path: Path) -> None:
    script = Script([b""], [b""], [OK])
    async with script as url, fetcher(tmp_path) as fetch:
        with pytest.raises(FetchError, match="server disconnected"):
            await fetch.fetch(link(url))
    assert (
        script.asked <= 2
    )  # one try of ours, and aiohttp's own for a request that can be repeated


async def test_interim_answers_are_passed_over_up_to_a_number(tmp_path: Path) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    script = Script([early * MAX_INTERIM + OK], [early * (MAX_INTERIM + 1) + OK])
    async with script as url, fetcher(tmp_path) as fetch:
        assert (await fetch.fetch(link(url))).status == 200
    async with Script([early * (MAX_INTERIM + 1) + OK]) as url, fetcher(tmp_path) as fetch:
        with pytest.raises(FetchError, match="interim"):
            await fetch.fetch(link(url))


async def test_bodies_that_find_no_room_in_memory_lie_in_files(tmp_path: Path) -> None:
    big = HEAD + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000
    async with Script([big, big, big]) as url, fetcher(tmp_path, in_flight=100_000) as fetch:
        first = await fetch.fetch(link(url))
        second = await fetch.fetch(link(url))
        assert isinstance(first.body, bytes)
        assert isinstance(second.body, Path)
        second.body.unlink()
        del first  # its room is free again
        third = await fetch.fetch(link(url))
        assert isinstance(third.body, bytes)


# ── addresses ────────────────────────────────────────────────────────────────────────────────

PRIVATE = (
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "198.18.0.1", "192.88.99.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:1:1:1:1:80ff:fffe",
    "2001:db8::1", "fe80::1%eth0", "fec0::1",
)  # fmt: skip

PUBLIC = ("93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::")


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_every_form(address: str) -> None:
    with pytest.raises(FetchError, match="address"):
        AddressGuard(["other.example"]).judge("named-by-nobody.example", address)
    AddressGuard(["seed.example"]).judge("seed.example", address)
    with pytest.raises(FetchError, match="address"):
        AddressGuard(["seed.example"], private="never").judge("seed.example", address)
    AddressGuard(private="any").judge("x.example", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address: str) -> None:
    AddressGuard(private="never").judge("x.example", address)


def test_a_seed_that_changes_from_public_to_private_is_rebound() -> None:
    guard = AddressGuard(["seed.example"])
    guard.judge("seed.example", "93.184.216.34")
    with pytest.raises(FetchError, match="the seed's was public"):
        guard.judge("seed.example", "127.0.0.1")
    other = AddressGuard(["intranet.example"])
    other.judge("intranet.example", "10.0.0.1")
    other.judge("intranet.example", "10.0.0.2")
    with pytest.raises(FetchError, match="the seed's was private"):
        other.judge("intranet.example", "169.254.169.254")


def test_networks_that_the_configuration_allows_are_open_to_links() -> None:
    guard = AddressGuard(private="never", networks=networks(["10.1.0.0/16"]))
    guard.judge("x.example", "10.1.2.3")
    guard.judge("x.example", "::ffff:10.1.2.3")
    with pytest.raises(FetchError):
        guard.judge("x.example", "10.2.0.1")


HOSTS = (
    "localhost", "[::ffff:127.0.0.2]", "2130706434", "0x7f000002", "0177.0.0.2", "127.2",
    "0x7f.0.0.2", "127.0.0.2.", "0.0.0.0", "%31%32%37.0.0.2", "[64:ff9b::7f00:2]",
    "169.254.169.254", "10.0.0.1",
)  # fmt: skip


async def test_links_and_redirects_do_not_lead_to_private_hosts(tmp_path: Path) -> None:
    async with Website({"/": page()}, {}) as site:
        links = [f"http://{host}:{site.port}/linked{n}" for n, host in enumerate(HOSTS)]
        moves = [f"http://{host}:{site.port}/moved{n}" for n, host in enumerate(HOSTS)]
        for number, target in enumerate(moves):
            site.put(f"/r{number}", redirect(target))
        site.put("/", page(links=[*links, *(f"/r{number}" for number in range(len(moves)))]))
        await crawl(settings(site.url, scope="any", obey=False, retries=0), tmp_path)
        assert {asked.address for asked in site.log} == {"127.0.0.1"}
        assert not [path for path in site.hits if path.startswith(("/linked", "/moved"))]
    reasons = [
        line["reason"]
        for line in records(tmp_path)
        if re.search(r"/(linked|moved)\d+$", line["url"])
    ]
    assert len(reasons) == len(links) + len(moves)
    assert {reason.partition(" ")[0] for reason in reasons} == {"forbidden:address"}


async def test_with_robots_txt_obeyed_the_reason_is_still_the_address(tmp_path: Path) -> None:
    async with Website({"/": page(links=["{1}/secret"])}, {"/secret": page()}) as site:
        await crawl(settings(site.url, scope="any", retries=0), tmp_path)
        target = site.at("/secret", 1)
        assert {asked.address for asked in site.log} == {"127.0.0.1"}
    (line,) = [line for line in records(tmp_path) if line["url"] == target]
    assert (line["outcome"], line["reason"]) == (
        "refused",
        "forbidden:address 127.0.0.2 is loopback",
    )


async def test_a_robots_txt_that_leads_to_a_private_host_is_not_followed(tmp_path: Path) -> None:
    async with Website({"/": page()}, {"/robots.txt": page()}) as site:
        site.put("/robots.txt", redirect("{1}/robots.txt"))
        await crawl(settings(site.url, retries=0), tmp_path)
        assert {asked.address for asked in site.log} == {"127.0.0.1"}


@pytest.mark.parametrize("port", [22, 25, 6667, 10080])
async def test_ports_of_other_protocols_are_refused(port: int, tmp_path: Path) -> None:
    async with fetcher_guarded(tmp_path) as fetch:
        with pytest.raises(FetchError, match=f"port {port}"):
            await fetch.fetch(link(f"http://127.0.0.1:{port}/"))


def fetcher_guarded(tmp_path: Path) -> HttpFetcher:
    return HttpFetcher(
        FetchConfig(), slots=1, user_agent="t", spool=tmp_path, guard=AddressGuard(["127.0.0.1"])
    )


@pytest.mark.parametrize(
    "url",
    ["http://" + "a" * 64 + ".example/", "http://a..example/", "http://" + "a." * 130 + "example/"],
)
async def test_names_that_cannot_be_looked_up_are_unresolved(url: str, tmp_path: Path) -> None:
    async with fetcher(tmp_path) as fetch:
        with pytest.raises(FetchError) as caught:
            await fetch.fetch(link(url))
    assert caught.value.reason in {"dns", "garbled"}


async def test_a_connection_refused_says_so(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with fetcher(tmp_path) as fetch:
        with pytest.raises(FetchError) as caught:
            await fetch.fetch(link(f"http://127.0.0.1:{port}/"))
    assert (caught.value.reason, caught.value.detail) == ("connection", "connrefused")


# ── time ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_link_that_is_stuck_is_named_with_its_stage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wait = gate()
    async with Website({"/": page(links=["/a", "/b"]), "/a": wait, "/b": page()}) as site:
        named = asyncio.Event()

        class Hearing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
                named.set()

        hearing = Hearing()
        logging.getLogger("crawler.engine.stall_watchdog").addHandler(hearing)
        running = asyncio.create_task(crawl(settings(site.url, stall=0.4), tmp_path))
        try:
            async with asyncio.timeout(20):
                await named.wait()
        finally:
            logging.getLogger("crawler.engine.stall_watchdog").removeHandler(hearing)
            wait.open()
            await running
    (said,) = [record.getMessage() for record in caplog.records]
    assert site.at("/a") in said
    assert "stage fetch" in said
    assert {line["outcome"] for line in records(tmp_path)} == {"done"}


async def test_insecure_is_loud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with fetcher(tmp_path, insecure=True):
        assert "TLS is not verified" in caplog.text
    caplog.clear()
    async with fetcher(tmp_path):
        assert caplog.text == ""


SLOW = [
    ("(a+)+$", "a" * 2000 + "!"), (r"(\w+\s?)*!!", "a" * 2000), ("(x+x+)+y", "x" * 2000),
    ("(.*)*(.*)*(.*)*z", "a" * 2000), ("(a|aa)+$", "a" * 2000 + "!"),
    ("(a|a)" * 40 + "b", "a" * 99),
    (r"/(\d\d|\d)+/$", "1" * 2000 + "!"), ("a?" * 40 + "a" * 40 + "b", "a" * 39),
    (r"(?i)(a|A|aa)+$", "a" * 2000 + "!"), (r"((x{1,9}){1,9}){1,9}y", "x" * 2000),
    (r"(?:a?){40}a{40}b", "a" * 60), ("(?i)[\\0-\\U0010ffff]x", "a" * 2000),
    (r"\w*\d*\w*\d*!!", "1" * 2000),
]  # fmt: skip
"""Patterns that take Python's engine longer than the universe is old, and what for."""


@pytest.mark.parametrize(("pattern", "text"), SLOW)
def test_a_pattern_of_the_person_s_own_takes_linear_time(pattern: str, text: str) -> None:
    began = time.process_time()
    assert not compile_pattern("scope.include", pattern).search(f"http://h/{text}")
    assert not compile_text_pattern("price", pattern).search(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", [
    "((x{1,30}){1,30}){1,30}y", "(.{1,900}a){1,9}.{900}b", r"(?<!x)a+b+", r"(.+)/\1", "(?!a+)b",
    "(?=(a|aa)+$)b", "(?x)a # [\n(a|aa)+$#]", "(?>a)+b",
    "(?i)(?=[\\0-\\uffff])a", "x" * 300_000,
])  # fmt: skip
def test_a_pattern_that_may_take_longer_is_refused_with_a_sentence(pattern: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"linear time|at most") as refused:
        compile_pattern("scope.exclude", pattern)
    assert len(str(refused.value).splitlines()) == 1
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "pattern",
    [r"/a/", r"\.html?$", r"(?i)/A/.*x.*", r"^http://[^/]+/(a|b)+/", r"(a|ab)(c|bcd)?/\Z"],
)
@pytest.mark.parametrize("path", ["/a/", "/A/zzx", "/x.htm", "/aab/", "/c/", "/ä/"])
def test_both_engines_say_the_same(pattern: str, path: str) -> None:
    url = f"http://h.example{path}"
    mine = compile_pattern("scope.include", pattern)
    assert mine.pattern == pattern
    assert bool(mine.search(url)) == bool(re.search(pattern, url))


@pytest.mark.parametrize(
    "pattern", [r"\w+", r"(\d+),(\d\d)", r"\S+$", r"[^\d\s]+\s", r"(?i)ÉT\w", r"\u00e9\W*\w{1,9}",
                r"(€|EUR) ?(\d+)", r"[\w.]+@[\w.]+", r"\D+\d", r"[\s\d]{2,}"]
)  # fmt: skip
def test_text_is_matched_as_pythons_engine_does(pattern: str) -> None:
    compile_text_pattern("price", pattern).search("\ud800 a1")  # no text; but nothing is raised
    for text in ("Café  été 12,50 € – EUR 7", "\u0661\u0662,50 a@b.é", "\xa0\u2003x \x1c1", ""):
        mine = compile_text_pattern("price", pattern).search(text)
        theirs = re.search(pattern, text)
        assert (mine and (mine[0], mine.groups())) == (theirs and (theirs[0], theirs.groups()))


@pytest.mark.parametrize(("pattern", "text", "found"), [
    (r"^(?!.*/(?:private|tmp)/)", "http://h/x/private/", False),
    (r"^(?!.*/(?:private|tmp)/)", "http://h/x/public/", True),
    (r"(?<=Price: )[\d.]+", "Price: 12.5", True), (r"(?<!x)a", "xa", False),
    (r"(a|b)\1", "ab", False),
    (r"a(?=b)", "ab", True),
])  # fmt: skip
def test_what_only_pythons_engine_knows_works_where_it_is_linear(
    pattern: str, text: str, found: bool
) -> None:
    assert bool(compile_pattern("scope.exclude", pattern).search(text)) is found
    assert bool(compile_text_pattern("price", pattern).search(text)) is found


@pytest.mark.parametrize("pattern", ["(", "a**", "[", "(?P<x>a)(?P<x>b)", "a{5,2}"])
def test_a_pattern_that_is_none_is_named(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"scope\.include: .* is not a regular expression"):
        compile_pattern("scope.include", pattern)


# ── what is written about it ─────────────────────────────────────────────────────────────────


def test_the_page_about_it_names_every_attack_and_only_tests_that_exist() -> None:
    tests = TESTS
    written = (tests.parent / "docs" / "hostile.md").read_text("utf-8")
    assert [path for path in ATTACKS if f"`{path}`" not in written] == []
    there = "".join(path.read_text("utf-8") for path in tests.rglob("test_*.py"))
    named = set(re.findall(r"\btest_[a-z0-9_]+\b(?!\.py)", written))
    modules = {path.stem for path in tests.rglob("test_*.py")}
    assert {name for name in named - modules if f"def {name}(" not in there} == set()
