"""The demo web, as a pure function: the same every time, reachable, exactly as large as it says."""

from __future__ import annotations

import gzip
import hashlib
import re
import statistics
import subprocess
import sys
from collections import deque
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from helpers.places import ROOT
from selectolax.lexbor import LexborHTMLParser

from crawler.demo.options import FLAGS, SWITCHES, DemoOptions, options
from crawler.demo.pages import html, reply
from crawler.demo.response_cache import ResponseCache, ServerBehaviour
from crawler.demo.web import TRACKING, DemoReply, Web
from crawler.errors import ConfigError

PROJECT_ROOT = ROOT
WEBS = {
    "plain": Web(pages=300, port=80),
    "one page": Web(pages=1, port=80),
    "the tree alone": Web(pages=200, links=0, size=0, port=8080),
    "hosts": Web(pages=300, hosts=3, port=8000),
    "more hosts than pages": Web(pages=2, hosts=5, port=8000),
    "rough": Web(pages=300, port=8000, tracking=True, broken=0.2, redirects=0.2, hosts=2),
    "busy": Web(pages=100, port=8000, busy=0.5),
}


def ask(web: Web, url: str) -> DemoReply:
    parts = urlsplit(url)
    assert parts.port == web.port
    assert parts.hostname is not None
    host = int(parts.hostname.removeprefix("127.0.0.")) - 1
    return reply(web, host, parts.path + (f"?{parts.query}" if parts.query else ""))


def anchors(url: str, body: bytes) -> set[str]:
    """What a careful crawler takes from a page: absolute, no fragment, no tracking."""
    links = LexborHTMLParser(body).css("a[href]")
    found = set()
    for link in links:
        there = urljoin(url, (link.attributes["href"] or "").strip()).partition("#")[0]
        found.add(re.sub(rf"[?&]{TRACKING}", "", there))
    return found


def walk(web: Web) -> dict[int, set[str]]:
    """All that can be reached from the home page, by status; at most 20,000 addresses."""
    start = web.url(0)
    queue, seen, found = deque([start]), {start}, dict[int, set[str]]()
    while queue:
        url = queue.popleft()
        said = ask(web, url)
        found.setdefault(said.status, set()).add(url)
        more = {urljoin(url, dict(said.headers)["Location"])} if 300 <= said.status < 400 else set()
        if said.status == 200:
            more = anchors(url, said.body)
        queue.extend(more - seen)
        seen |= more
        assert len(seen) < 20_000
    return found


@pytest.mark.parametrize("name", WEBS)
def test_the_pages_that_can_be_reached_are_the_pages_there_are(name: str) -> None:
    web = WEBS[name]
    found = walk(web)
    urls = list(web.urls())
    assert len(set(urls)) == len(urls) == web.pages
    assert found.pop(200) == set(urls)
    rough = {301, 302, 307, 308, 404, 410, 500} if name == "rough" else set()
    assert set(found) == rough


def test_the_same_seed_the_same_web_in_every_process() -> None:
    web = Web(pages=50, seed=7, hosts=2, port=1, broken=0.1, redirects=0.1, busy=0.1, tracking=True)
    told = hashlib.sha256(b"".join(html(web, n) for n in range(50))).hexdigest()
    code = (
        "import hashlib; from crawler.demo.web import Web; from crawler.demo.pages import html\n"
        "web = Web(pages=50, seed=7, hosts=2, port=1, broken=.1, redirects=.1, busy=.1,"
        " tracking=True)\n"
        "print(hashlib.sha256(b''.join(html(web, n) for n in range(50))).hexdigest())"
    )
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT_ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert run.stdout.strip() == told
    assert html(Web(pages=50, seed=8), 3) != html(Web(pages=50, seed=7), 3)


def test_a_page_looks_like_one() -> None:
    web = Web(pages=1000, port=8000)
    said = ask(web, web.url(500))
    tree = LexborHTMLParser(said.body)
    canonical, title, description = (
        tree.css_first("link[rel=canonical]"),
        tree.css_first("title"),
        tree.css_first("meta[name=description]"),
    )
    assert canonical is not None
    assert canonical.attributes["href"] == web.url(500)
    assert title is not None
    assert title.text().endswith(" 500")
    assert description is not None
    assert tree.css("html[lang]")
    assert len(tree.css("nav")) == 2
    assert tree.css("p")
    for tag, name in (("img", "src"), ("link[rel=stylesheet]", "href"), ("script", "src")):
        asset = tree.css_first(tag)
        assert asset is not None
        there = ask(web, urljoin(web.url(500), asset.attributes[name] or ""))
        assert (there.status, 0 < len(there.body) < 200) == (200, True)
    said.body.decode("utf-8")


def test_links_come_in_many_spellings_and_repeat() -> None:
    web = Web(pages=1000, port=8000, tracking=True)
    hrefs = re.findall(rb"(?:href|HREF)=[\"']([^\"']*)", b"".join(html(web, n) for n in range(8)))
    spellings = {
        "root-relative": rb"^/\w+/\d",
        "relative": rb"^\.\./",
        "absolute": rb"^http://",
        "fragment": rb"#",
        "dots": rb"/\./\.\./",
        "padded": rb"^ .*\n$",
        "query": rb"\?id=\d+&amp;lang=en$",
        "tracking": rb"utm_source",
    }
    for name, pattern in spellings.items():
        assert any(re.search(pattern, href, re.DOTALL) for href in hrefs), name
    page = re.findall(rb"href=\"([^\"]*)", html(web, 9))
    assert len(page) - len(set(page)) >= 10


@pytest.mark.parametrize("size", [5_000, 24_000, 100_000])
def test_sizes_spread_around_their_mean(size: int) -> None:
    lengths = [len(html(Web(size=size), n)) for n in range(1000)]
    assert 0.85 * size < statistics.mean(lengths) < 1.15 * size
    assert len(set(lengths)) > 500
    assert len({len(html(Web(size=50_000, spread=0), n)) // 5_000 for n in range(100)}) < 3


def test_a_page_of_ten_million_costs_no_more_than_one_of_ten() -> None:
    web = Web(pages=10_000_000, hosts=3)
    for number in (0, 1, 2, 3, 5, 9_999_999, 1_234_567):
        assert web.number(number % 3, web.path(number)) == number
        assert reply(web, number % 3, web.path(number)).number == number
    assert web.number(0, web.path(1_234_567)) == (1_234_567 if 1_234_567 % 3 == 0 else None)


@pytest.mark.parametrize(
    "target",
    ["", "/x", "/news/8", "/news/8-wrong.html", "/news/²-a.html", "/news/99999999999-a.html",
     "/news/view?id=5&lang=de", "/?x=1", "/go/x/1", "/go/1", "/go/1/2/3", "/gone", "/sitemap-1.xml",
     "/sitemap-99999999999999999999.xml", "/sitemap.xml.gz", "/static/none", "/calendar/2024/01",
     "/robots.txt.bak", "/sitemap²1.xml", "//"],
)  # fmt: skip
def test_there_is_no_such_page(target: str) -> None:
    assert reply(Web(), 0, target).status == 404


@pytest.mark.parametrize("kind", ["xml", "gz"])
@pytest.mark.parametrize("files", [1, 4])
def test_the_sitemaps_list_every_page(kind: str, files: int) -> None:
    web = options({"pages": 200, "hosts": 2, "sitemap": kind, "sitemap_size": 100 // files}).web
    listed: list[str] = []
    for host in range(2):
        robots = reply(web, host, "/robots.txt").body.decode()
        queue, read = re.findall(r"^Sitemap: (.*)$", robots, re.MULTILINE), 0
        while queue:
            said = ask(web, queue.pop())
            text = (gzip.decompress(said.body) if kind == "gz" else said.body).decode()
            locations = [each.replace("&amp;", "&") for each in re.findall("<loc>(.*?)<", text)]
            (queue if "<sitemapindex" in text else listed).extend(locations)
            read += 1
        assert read == (1 if files == 1 else 5)
    assert sorted(listed) == sorted(web.urls())


def test_robots_txt_as_one_likes() -> None:
    assert reply(Web(robots="x\n", robots_status=503), 0, "/robots.txt").status == 503
    assert reply(Web(robots="x\n"), 0, "/robots.txt").body == b"x\n"
    assert b"Crawl-delay: 0.5\n" in reply(Web(crawl_delay=0.5), 0, "/robots.txt").body
    assert b"Sitemap" not in reply(Web(sitemap="off"), 0, "/robots.txt").body


def test_redirects_arrive_or_never_do() -> None:
    web = Web(pages=100, port=80, redirects=0.5, hops=4)
    url, seen = web.origin() + "/go/42/4", []
    while (said := ask(web, url)).status != 200:
        seen.append(said.status)
        url = urljoin(url, dict(said.headers)["Location"])
    assert (len(seen), url) == (4, web.url(42))
    path, ring = "/loop/1", []
    for _ in range(6):
        path = dict(reply(web, 0, path).headers)["Location"]
        ring.append(path)
    assert ring[:3] == ring[3:]


@pytest.mark.parametrize("entrance", ["calendar", "session", "shop", "mirror"])
def test_traps_have_no_end_but_are_not_set_unless_asked(entrance: str) -> None:
    web = Web(pages=20, port=80, traps=True)
    assert f'"/{entrance}'.encode() not in html(Web(pages=20, port=80), 0)
    url = next(url for url in anchors(web.url(0), html(web, 0)) if f"/{entrance}" in url)
    seen = {url}
    for _ in range(30):
        said = ask(web, url)
        assert said.status == 200
        new = sorted(anchors(url, said.body) - seen)
        if entrance != "shop":
            assert new
        url = new[-1] if new else url
        seen |= set(new)
    assert len(seen) > 40
    assert {ask(web, url).status for url in seen} == {200}


def test_what_is_kept_is_bounded() -> None:
    responses = ResponseCache(Web(pages=5000, size=6000), ServerBehaviour(cache=500_000))
    for number in range(1000):
        responses.find(0, responses.web.path(number), compressed=False)
        responses.find(0, f"/nothing/{number}", compressed=False)
        assert responses._held <= 500_000
    assert 10 < len(responses._responses) < 500
    responses.warm()  # does not fit: nothing happens
    assert responses._held <= 500_000


def test_delays() -> None:
    responses = ResponseCache(Web(), ServerBehaviour(latency=1, jitter=1))
    assert all(1 <= responses.delay() <= 2 for _ in range(100))
    responses = ResponseCache(Web(), ServerBehaviour(tail=1))
    assert 0.8 < statistics.mean(responses.delay() for _ in range(5000)) < 1.2


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"pages": "0"}, "pages"),
        ({"pages": "many"}, "pages"),
        ({"sitemap": "html"}, "sitemap"),
        ({"latency": "-1"}, "latency"),
        ({"wings": "2"}, "wings"),
        ({"robots": "@/no/such/file"}, "/no/such/file"),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        options(flags)


def test_flags_are_what_can_be_set(tmp_path: Path) -> None:
    fields = {
        *DemoOptions.__struct_fields__,
        *Web.__struct_fields__,
        *ServerBehaviour.__struct_fields__,
    }
    assert {flag.replace("-", "_") for flag in FLAGS} == fields - {"web", "behaviour"}
    assert FLAGS.keys() > SWITCHES
    (tmp_path / "robots").write_text("User-agent: *\n")
    read = options({"busy-times": "3", "latency": 1, "robots": f"@{tmp_path / 'robots'}"})
    assert (read.web.busy_times, read.behaviour.latency) == (3, 1)
    assert read.web.robots == "User-agent: *\n"
