"""What pages say to robots, in headers, elements and links; and who we say we are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from helpers.crawling import by_path, crawl, outcomes, settings
from helpers.website import Website, page, reply
from hypothesis import given
from hypothesis import strategies as st

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.errors import ConfigError
from crawler.parse.link_header import read_link_header
from crawler.parse.robots_meta import directives
from crawler.policy.user_agent import demand_contact, product_token, user_agent

Open = Callable[..., Awaitable[Website]]


@pytest.mark.parametrize(
    ("headers", "metas", "told"),
    [
        (["noindex, NoFollow"], [], ("noindex", "nofollow")),
        (["noindex", "nofollow"], [], ("noindex", "nofollow")),
        (["crawler: nofollow", "otherbot: noindex"], [], ("nofollow",)),
        (["otherbot: noindex, nofollow"], [], ()),
        (["otherbot: noindex, Crawler: nofollow, noarchive"], [], ("nofollow", "noarchive")),
        (["*: none"], [], ("none",)),
        (["max-snippet: 20, noindex"], [], ("max-snippet:20", "noindex")),
        (["crawler: max-snippet:20"], [], ("max-snippet:20",)),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], [],
         ("unavailable_after:25 jun 2030 15:00:00 pst",)),
        (["unavailable_after: Friday, 28-Jun-30 15:00:00 PST, noindex"], [],
         ("unavailable_after:friday", "noindex")),
        (["", ",, ,", ":"], [], ()),
        ([], [("robots", "noindex,nofollow")], ("noindex", "nofollow")),
        ([], [("robots", "NOINDEX NOFOLLOW")], ("noindex", "nofollow")),
        ([], [("crawler", "nofollow"), ("robots", "noindex")], ("nofollow", "noindex")),
        ([], [("otherbot", "nofollow")], ()),
        ([], [("robots", "max-image-preview: large, all")], ("max-image-preview:large", "all")),
        (["noindex"], [("robots", "noindex, nofollow")], ("noindex", "nofollow")),
    ],
)  # fmt: skip
def test_what_holds_for_us(
    headers: list[str], metas: list[tuple[str, str]], told: tuple[str, ...]
) -> None:
    assert directives(headers, metas, "Crawler") == told


@pytest.mark.parametrize(
    ("value", "links"),
    [
        ('<http://h.test/a>; rel="next"', [("http://h.test/a", "next")]),
        ("</a>;rel=next,</b>; rel=prev", [("/a", "next"), ("/b", "prev")]),
        ('</a>; rel="next last"; title="a, \\"b\\"; <c>"', [("/a", "next last")]),
        ("</a>; rel=next; rel=prev", [("/a", "next")]),
        ("</a,b;c>; REL = next", [("/a,b;c", "next")]),
        ('</a>; anchor="#x"; rel=next, </b>; rel=prev', [("/b", "prev")]),
        ('</a>; rel=next; broken="x, </b>; rel=prev', [("/a", "next"), ("/b", "prev")]),
        ('</a>; rel="next, </b>; rel="prev"', [("/a", "next"), ("/b", "prev")]),
        ("</a>; rel='next', </b>; rel='", [("/a", "next"), ("/b", "'")]),
        (", ,</a>; rel=next ,", [("/a", "next")]),
        ("</caf\xe9>; rel=next", [("/caf%E9", "next")]),
        ("</caf\xc3\xa9?a b>; rel=next", [("/caf%C3%A9?a b", "next")]),
        ("no link at all", []),
        ("", []),
    ],
)
def test_the_link_header(value: str, links: list[tuple[str, str]]) -> None:
    assert [(one["href"], one.get("rel")) for one in read_link_header(value)] == links


@given(st.text('<>;,="\\ arel/', max_size=60))
def test_no_link_header_breaks_it(value: str) -> None:
    for link in read_link_header(value):
        assert link["href"] is not None


# ── whole crawls ─────────────────────────────────────────────────────────────────────────────────

LINKS = ["/a", "/b"]


@pytest.mark.parametrize(
    ("head", "header", "followed"),
    [("", "", True),
     ("<meta name=robots content='noindex, nofollow'>", "", False),
     ("<meta name=ROBOTS content=none>", "", False),
     ("<meta name=crawler content=nofollow>", "", False),
     ("<meta name=otherbot content=nofollow>", "", True),
     ("", "nofollow", False),
     ("", "crawler: nofollow", False),
     ("", "otherbot: nofollow", True)],
)  # fmt: skip
async def test_a_page_decides_about_its_links(
    website: Open, tmp_path: Path, head: str, header: str, followed: bool
) -> None:
    headers = {"X-Robots-Tag": header} if header else {}
    site = await website({
        "/": page(links=LINKS, head=head, headers=headers), "/a": page(), "/b": page()
    })  # fmt: skip
    async with open_crawl(settings(site.url), dir=tmp_path) as running:
        await running.run()
        assert (await running.frontier.counts()).refused == (0 if followed else 2)
    assert set(outcomes(tmp_path)) == ({"/", "/a", "/b"} if followed else {"/"})


@pytest.mark.parametrize(
    ("rel", "obey", "followed"),
    [("nofollow", True, False), ("UGC noopener", True, False), ("sponsored", True, False),
     ("noopener", True, True), ("nofollow", False, True)],
)  # fmt: skip
async def test_a_link_decides_about_itself(
    website: Open, tmp_path: Path, rel: str, obey: bool, followed: bool
) -> None:
    body = f'<a href="/a" rel="{rel}">a</a> <a href="/b">b</a>'
    site = await website({"/": reply(body), "/a": page(), "/b": page()})
    await crawl(settings(site.url, rel=obey), tmp_path)
    assert set(outcomes(tmp_path)) == ({"/", "/a", "/b"} if followed else {"/", "/b"})


async def test_a_link_that_another_page_stands_for_is_followed(
    website: Open, tmp_path: Path
) -> None:
    site = await website({
        "/": reply('<a href="/a" rel=nofollow>a</a><a href="/b">b</a><a rel=ugc href="/b">b</a>'),
        "/b": page(links=["/a"]), "/a": page(),
    })  # fmt: skip
    await crawl(settings(site.url), tmp_path)
    assert set(outcomes(tmp_path)) == {"/", "/a", "/b"}


async def test_with_no_robots_nothing_of_it_holds(website: Open, tmp_path: Path) -> None:
    body = '<meta name=robots content="nofollow,noindex"><a href="/a" rel=nofollow>a</a>'
    site = await website({"/": reply(body), "/a": page()})
    await crawl(
        settings(site.url, **{"robots.obey": False, "robots.noindex": "drop", "save": "all"}),
        tmp_path,
    )
    assert outcomes(tmp_path) == {"/": "done", "/a": "done"}
    assert by_path(tmp_path)["/"]["robots_meta"] == ["nofollow", "noindex"]
    assert len(list(tmp_path.glob("html/**/*.html"))) == 2


@pytest.mark.parametrize(("noindex", "kept"), [("keep", 2), ("drop", 1)])
async def test_the_body_of_a_page_that_wants_no_index(
    website: Open, tmp_path: Path, noindex: str, kept: int
) -> None:
    site = await website({
        "/": page(links=["/a"], head="<meta name=robots content=noindex>"), "/a": page()
    })  # fmt: skip
    await crawl(settings(site.url, noindex=noindex, save="all"), tmp_path)
    assert by_path(tmp_path)["/"]["robots_meta"] == ["noindex"]
    assert len(list(tmp_path.glob("html/**/*.html"))) == kept


async def test_link_headers_lead_on_also_from_what_is_no_page(
    website: Open, tmp_path: Path
) -> None:
    header = '</b>; rel="canonical", </c>; rel=alternate; hreflang=de, </d>; rel=preconnect'
    site = await website({
        "/": page(links=["/a.pdf"], headers={"Link": "</e>; rel=next"}),
        "/a.pdf": reply(b"%PDF", mime="application/pdf", headers={"Link": header}),
        "/b": page(), "/c": page(), "/e": page(),
    })  # fmt: skip
    await crawl(settings(site.url), tmp_path)
    assert set(outcomes(tmp_path)) == {"/", "/a.pdf", "/b", "/c", "/e"}
    assert by_path(tmp_path)["/a.pdf"]["canonical"] == site.at("/b")


# ── identity ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("agent", "token"),
    [("crawler/{version} (+{contact})", "crawler"), ("My-Bot_x/1.0", "My-Bot_x"),
     ("bot", "bot"), ("MJ12bot/1.4", "MJ12bot"),
     ("Mozilla/5.0 (compatible; mybot/2.0; +http://h.test)", "mybot")],
)  # fmt: skip
def test_a_product_token(agent: str, token: str) -> None:
    assert product_token(settings(user_agent=agent)) == token


@pytest.mark.parametrize("agent", ["bot.2/1", "my bot/1.0", "/1.0", "", "bo\nt/1", "bötchen/1"])
def test_a_name_that_no_robots_txt_could_address_is_refused(agent: str) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.user_agent"):
        product_token(settings(user_agent=agent))


def test_the_contact_is_sent() -> None:
    config = settings(contact="https://example.org/bot")
    assert user_agent(config).endswith(" (+https://example.org/bot)")
    assert "(" not in user_agent(settings())


@pytest.mark.parametrize(
    ("seeds", "scope", "contact", "refused"),
    [(["http://example.com/", "https://www.example.com/"], "host", "", False),
     (["http://example.com/", "http://example.org/"], "host", "", True),
     (["http://example.com/", "http://example.org/"], "host", "me@example.org", False),
     (["http://example.com/"], "any", "", True),
     (["http://example.com/"], "domain", "", False),
     (["http://a.co.uk/", "http://b.co.uk/"], "host", "", True),
     (["http://127.0.0.1/", "http://127.0.0.2:8080/", "http://[::1]/", "http://10.0.0.1/",
       "http://localhost/", "http://a.localhost/", "http://wiki/"], "any", "", False),
     (["http://example.com/", "http://localhost/"], "host", "", False)],
)  # fmt: skip
def test_strangers_must_be_able_to_reach_us(
    seeds: list[str], scope: str, contact: str, refused: bool
) -> None:
    config = settings(*seeds, scope=scope, contact=contact)
    if refused:
        with pytest.raises(ConfigError, match="--contact is missing"):
            demand_contact(config, seeds)
    else:
        demand_contact(config, seeds)
