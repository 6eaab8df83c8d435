"""Sitemaps and feeds: what is read, what is refused, in which order, and at what cost."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from helpers.crawling import by_path, crawl, outcomes, records, settings
from helpers.website import Answer, Asked, Reply, Website, page, redirect, reply, text
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import ParseError
from crawler.parse.sitemap import MAX_BYTES, MAX_URLS, Listing, read_listing
from crawler.policy.scope import Scope

Open = Callable[..., Awaitable[Website]]

NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str, ns: str = f" {NS}") -> str:
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset{ns}>{entries}</urlset>'


def index(*urls: str) -> str:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex {NS}>{entries}</sitemapindex>"


def read(body: str | bytes, *, pieces: int = 7) -> Listing:
    data = body.encode() if isinstance(body, str) else body
    return read_listing(data[at : at + pieces] for at in range(0, len(data), pieces))


def pages(listing: Listing) -> list[str]:
    return [entry.url for entry in listing.ordered()[0]]


def lists(listing: Listing) -> list[str]:
    return [entry.url for entry in listing.ordered()[1]]


A, B, C = "http://h.test/a", "http://h.test/b", "http://h.test/c"


# ── what is read ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        urlset(A, B),
        urlset(A, B, ns=""),
        urlset(A, B, ns=' xmlns="http://www.google.com/schemas/sitemap/0.84"'),
        "\n\n  " + urlset(A, B),
        "\ufeff" + urlset(A, B),
        (f"<s:urlset xmlns:s='x'><s:url><s:loc> {A}\n</s:loc></s:url>"
        f"<s:url><s:loc><![CDATA[{B}]]></s:loc></s:url></s:urlset>"),
        (f"<urlset><url><loc>{A}</loc><image:image><image:loc>{C}</image:loc></image:image></url>"
        f"<url><video:video><video:loc>{C}</video:loc></video:video><loc>{B}</loc></url></urlset>"),
        f"{A}\r\n{B}\r\n",
        f"\ufeff{A}\n\n{B}",
        f"{A}\r{B}\r",
        (f"<rss version='2.0'><channel><item><link>{A}</link><guid>{C}</guid></item>"
        f"<item><guid isPermaLink='false'>x</guid><link>{B}</link></item></channel></rss>"),
        (f"<rss><channel><atom:link rel='self' href='{C}'/><item><guid>{A}</guid></item>"
        f"<item><guid isPermaLink='true'>{B}</guid></item></channel></rss>"),
        (f"<rdf:RDF><item rdf:about='x'><link>{A}</link></item><item><link>{B}</link></item>"
        "</rdf:RDF>"),
        f"<rdf:RDF><item rdf:about='{A}'/><item rdf:about='{C}'><link>{B}</link></item></rdf:RDF>",
        (f"<feed><entry><link rel='http://www.iana.org/assignments/relation/alternate' href='{A}'/>"
        f"</entry><entry><link rel='http://h.test/alternate' href='{C}'/><link href='{B}'/></entry>"
        "</feed>"),
        (f'{{"version": "https://jsonfeed.org/version/1", "home_page_url": null, "items": [3, '
        f'{{"id": 1, "url": "{A}"}}, {{"url": null}}, {{"url": 7, "external_url": " {B} "}}]}}'),
        ("<feed xmlns='http://www.w3.org/2005/Atom'><entry><link rel='edit' href='/x'/>"
        f"<link href='{A}'/></entry><entry><link rel='alternate' href='{B}'/>"
        f"<link rel='enclosure' href='{C}'/></entry></feed>"),
        (f'{{"version": "https://jsonfeed.org/version/1.1", "items": '
        f'[{{"id": "1", "url": "{A}"}}, {{"id": "2", "external_url": "{B}"}}]}}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_a_list_in_every_form(body: str, packed: bool) -> None:
    data = gzip.compress(body.encode(), mtime=0) if packed else body.encode()
    for pieces in (1, 7, 65536):
        listing = read(data, pieces=pieces)
        assert pages(listing) == [A, B]
        assert lists(listing) == []
        assert listing.problems == []


def test_other_encodings_and_gzip_twice() -> None:
    body = urlset(A).replace("UTF-8", "UTF-16").encode("utf-16")
    assert pages(read(body)) == [A]
    twice = gzip.compress(gzip.compress(urlset(A).encode()))
    assert pages(read(twice)) == [A]
    json = f'{{"items": [{{"url": "{A}"}}]}}'
    for form in (urlset(A).partition("?>")[2], f"{A}\n", f"H{A[1:]}\n", json):  # without a mark
        for codec in ("utf-16-le", "utf-16-be"):
            assert [one.lower() for one in pages(read(form.encode(codec)))] == [A]


def test_a_json_feed_has_further_parts() -> None:
    listing = read(f'{{"next_url": "{B}", "items": {{}}, "home_page_url": "{A}"}}')
    assert (pages(listing), lists(listing), listing.problems) == ([A], [B], [])
    assert read("{[}").problems[0].startswith("not a JSON feed")


def test_entities_of_a_document_type_that_is_not_fetched() -> None:
    head = '<!DOCTYPE rss SYSTEM "http://h.test/rss-0.91.dtd">'
    body = f"<rss><channel><item><link>{A}?a&amp;&eacute;&nothing;</link></item></channel></rss>"
    listing = read(head + body)
    assert (pages(listing), listing.problems) == ([f"{A}?a&é"], [])


def test_an_index_leads_to_lists() -> None:
    assert lists(read(index(A, B))) == [A, B]
    feed = f"<feed><link rel='next' href='{B}'/><entry><link href='{A}'/></entry></feed>"
    assert (pages(read(feed)), lists(read(feed))) == ([A], [B])


def test_what_matters_more_and_changed_last_comes_first() -> None:
    body = (
        "<urlset>"
        "<url><loc>1</loc><priority>0.1</priority><lastmod>2026-01-01</lastmod></url>"
        "<url><loc>2</loc><lastmod>2024-05-05T10:00:00+02:00</lastmod></url>"
        "<url><loc>3</loc><priority>0.9</priority></url>"
        "<url><loc>4</loc><lastmod>2025-05-05</lastmod></url>"
        "<url><loc>5</loc><priority>NaN</priority><lastmod>yesterday</lastmod></url>"
        "<url><loc>6</loc><priority>7</priority></url>"
        "</urlset>"
    )
    assert pages(read(body)) == ["3", "4", "2", "5", "6", "1"]


def test_translations_are_pages_too() -> None:
    body = (
        f"<urlset><url><loc>{A}</loc><xhtml:link rel='alternate' hreflang='de' href='{B}'/>"
        f"<xhtml:link rel='stylesheet' href='{C}'/></url></urlset>"
    )
    assert pages(read(body)) == [A, B]


# ── what is not ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]>', "entity"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>', "entity"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "entity"),
    ],
)
def test_weapons_are_refused_with_their_name(head: str, word: str) -> None:
    with pytest.raises(ParseError, match=word):
        read(f'<?xml version="1.0"?>{head}<urlset><url><loc>&a;</loc></url></urlset>')


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE rss PUBLIC "-//N//DTD RSS 0.91//EN" "http://h.test/rss-0.91.dtd">',
        '<!DOCTYPE x SYSTEM "http://h.test/x.dtd">',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://h.test/p"> %p;]>',
    ],
)
def test_a_document_type_elsewhere_is_not_fetched_and_does_no_harm(head: str) -> None:
    listing = read(head + urlset(A, B).partition("?>")[2])
    assert pages(listing) == [A, B]


@pytest.mark.parametrize(
    "charset",
    ["gb2312", "gbk", "gb18030", "shift_jis", "euc-jp", "iso-2022-jp", "big5", "euc-kr",
     "windows-1251", "koi8-r", "utf-16", "iso-8859-1"],
)  # fmt: skip
@pytest.mark.parametrize("said", ["declared", "header"])
def test_a_list_in_any_encoding(charset: str, said: str) -> None:
    name = {"windows-1251": "слово", "koi8-r": "слово", "iso-8859-1": "café",
            "euc-kr": "한글"}.get(charset, "中文")  # fmt: skip
    declared = f'<?xml version="1.0" encoding="{charset}"?>' if said == "declared" else ""
    body = f"{declared}<urlset><url><loc>{A}?{name}</loc></url><url><loc>{B}</loc></url></urlset>"
    data = body.encode(charset)
    for pieces in (1, 7, 4096):
        cut = (data[at : at + pieces] for at in range(0, len(data), pieces))
        listing = read_listing(cut, charset if said == "header" else "")
        assert pages(listing) == [f"{A}?{name}", B]
        assert not listing.problems


@pytest.mark.parametrize(
    "wrong",
    ["?a=1&b=2", "?a&", "?x=\x01", "?x=\x1b[0m", "?n=&nbsp;", "?<b>", "</lok>", "&amp", "<br>"],
)
@pytest.mark.parametrize("pieces", [1, 9, 4096])
def test_one_mistake_costs_one_address_at_most(wrong: str, pieces: int) -> None:
    urls = [f"http://h.test/{n}" for n in range(40)]
    body = urlset(*urls).replace("/7<", f"/7{wrong}<")
    listing = read(body, pieces=pieces)
    assert set(pages(listing)) >= set(urls) - {urls[7]}
    assert len(pages(listing)) <= len(urls) + 1
    (problem,) = listing.problems
    assert "broken XML, line 2" in problem


def test_what_was_meant_by_a_mistake_is_read() -> None:
    body = urlset("http://h.test/?a=1&b=2&amp;c=3", B).encode().replace(B.encode(), b"/caf\xe9")
    assert pages(read(body)) == ["http://h.test/?a=1&b=2&c=3", "/caf\ufffd"]
    without_ends = f"<urlset><url><loc>{A}</url><url><loc>{B}</loc></url>"
    assert pages(read(without_ends)) == [A, B]


def test_lenience_expands_nothing_and_takes_linear_time() -> None:
    with pytest.raises(ParseError, match="entity"):
        read('<!DOCTYPE x [<!ENTITY a "b">]><urlset>&<loc>&a;</loc></urlset>')
    for hostile in (
        "<" * 300_000,
        "<a " * 100_000,
        '<a b="' * 50_000,
        "&" * 300_000,
        "<!--" * 9999,
    ):
        read(f"<urlset><url><loc>{A}</loc></url>&{hostile}", pieces=65536)


def test_depth_is_a_weapon_too() -> None:
    with pytest.raises(ParseError, match="nested"):
        read("<urlset>" + "<a>" * 200)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (f"<urlset><url><loc>{A}</loc></url><url><loc>{B}", "broken XML"),
        (f"<urlset><url><loc>{A}</loc></url><url><loc>&nbsp;</loc></url></urlset>", "broken XML"),
        (f"{A}\nnot an address\n", "1 lines are no addresses"),
        (gzip.compress(urlset(A).encode() + b" " * 9000)[:-9], "breaks off"),
    ],
)
def test_what_is_broken_counts_as_far_as_it_goes(body: str | bytes, problem: str) -> None:
    listing = read(body)
    assert pages(listing) == [A]
    assert any(problem in one for one in listing.problems)


def test_a_page_is_no_list() -> None:
    listing = read("<!DOCTYPE html><html><body><loc>x</loc></body></html>")
    assert pages(listing) == []
    assert listing.problems == ["neither sitemap nor feed: <html>"]
    assert "broken XML" in read("<!doctype html><html></html>").problems[0]
    assert read(b"").problems == []
    assert read(b"\x1f\x8bnot gzip").pages == []
    assert "not a JSON feed" in read(b"{]").problems[0]


def test_beyond_its_limits_a_list_is_not_read() -> None:
    def many(number: int) -> Iterator[bytes]:
        yield b"<urlset>"
        for at in range(number):
            yield b"<url><loc>http://h.test/%d</loc></url>" % at
        yield b"</urlset>"

    assert read_listing(many(MAX_URLS)).problems == []
    listing = read_listing(many(MAX_URLS + 10))
    assert len(listing.pages) == MAX_URLS
    assert "50000 addresses" in listing.problems[0]
    assert listing.cut == "tooManyEntries"


def test_a_bomb_costs_no_memory() -> None:
    """60 MB of white space in 60 KB, twice packed: read to the limit, in pieces."""
    bomb = urlset(A).encode() + b" " * (MAX_BYTES + 10_000_000)
    data = gzip.compress(bomb, compresslevel=1)
    del bomb
    tracemalloc.start()
    try:
        listing = read(data, pieces=65536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pages(listing) == [A]
    assert any("bytes: the rest" in one for one in listing.problems)
    assert peak < 3_000_000


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    for head in (b"", b"<urlset>", b"\x1f\x8b\x08\x00", b"http://h.test/", b"{"):
        with contextlib.suppress(ParseError):
            read(head + body)


# ── whole crawls ─────────────────────────────────────────────────────────────────────────────────


def xml(body: str) -> Answer:
    return reply(body, mime="application/xml")


async def test_a_crawl_reads_what_robots_txt_names_and_each_page_once(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/linked"]), "/linked": page(), "/island": page()})
    site.put("/robots.txt", text(f"Sitemap: {site.at('/maps/index.xml')}\nSitemap: /gone.xml"))
    site.put("/maps/index.xml", xml(index(site.at("/maps/1.xml.gz"), site.at("/moved.xml"))))
    site.put("/maps/1.xml.gz",
             reply(gzip.compress(urlset(site.at("/island"), site.at("/linked"),
                                        "http://other.test/x").encode())))  # fmt: skip
    site.put("/moved.xml", redirect("/maps/2.txt"))
    site.put("/maps/2.txt", text(site.at("/island")))
    await crawl(settings(site.url), tmp_path)
    lines = by_path(tmp_path)
    assert {path for path, line in lines.items() if line["outcome"] == "done"} == {
        "/", "/linked", "/island", "/maps/index.xml", "/maps/1.xml.gz", "/maps/2.txt",
    }  # fmt: skip
    assert lines["/island"]["via"] in {site.at("/maps/1.xml.gz"), site.at("/maps/2.txt")}
    assert lines["/island"]["depth"] == 1
    assert lines["/maps/1.xml.gz"]["kind"] == "sitemap"
    assert lines["/gone.xml"]["reason"] == "status:404"
    assert max(site.hits.values()) == 1


async def test_sitemaps_are_no_pages_for_max_pages(website: Open, tmp_path: Path) -> None:
    pages = {f"/{n}": page() for n in range(20)}
    site = await website({"/": page(), **pages})
    site.put("/robots.txt", text(f"Sitemap: {site.at('/s.xml')}"))
    site.put("/s.xml", xml(urlset(*(site.at(path) for path in pages))))
    await crawl(settings(site.url, max_pages=5), tmp_path)
    done = [line["kind"] for line in records(tmp_path) if line["outcome"] == "done"]
    assert sorted(done) == ["page"] * 5 + ["sitemap"]


@pytest.mark.parametrize(
    ("told", "visited"),
    [({"sitemap.follow": False}, {"/", "/a"}),
     ({"max_depth": 0}, {"/"}),
     ({"max_depth": 1}, {"/", "/a", "/b", "/s.xml"}),
     ({"sitemap.only": True}, {"/b", "/s.xml"})],
)  # fmt: skip
async def test_sitemaps_as_one_likes(
    website: Open, tmp_path: Path, told: dict[str, object], visited: set[str]
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page(), "/b": page(links=["/c"])})
    site.put("/robots.txt", text(f"Sitemap: {site.at('/s.xml')}"))
    site.put("/s.xml", xml(urlset(site.at("/b"))))
    await crawl(settings(site.url, **told), tmp_path)
    done = {path for path, outcome in outcomes(tmp_path).items() if outcome == "done"}
    assert done == visited


@pytest.mark.parametrize("follow", [True, False])
async def test_a_sitemap_that_a_page_links_to_first_is_read(
    website: Open, tmp_path: Path, follow: bool
) -> None:
    site = await website({"/": page(links=["/s.xml", "/p.xml.gz", "/feed.xml"]), "/b": page()})
    site.put("/robots.txt", text(f"Sitemap: {site.at('/index.xml')}"))
    site.put("/index.xml", reply(index(site.at("/s.xml")), mime="application/xml"))
    site.put("/s.xml", xml(urlset(site.at("/b"))))
    site.put("/p.xml.gz", reply(gzip.compress(urlset(site.at("/c")).encode()), mime="a/b"))
    site.put("/c", page())
    site.put("/feed.xml", xml("<rss><channel><item><link>/no</link></item></channel></rss>"))
    await crawl(settings(site.url, **{"sitemap.follow": follow}), tmp_path)
    assert {"/b", "/c"}.issubset(site.hits) == follow
    assert "/no" not in site.hits


@pytest.mark.parametrize("obey", [True, False])
async def test_the_usual_places_are_looked_into_quietly(
    website: Open, tmp_path: Path, obey: bool
) -> None:
    site = await website({"/": page(), "/b": page()})
    site.put("/sitemap_index.xml", xml(urlset(site.at("/b"))))
    config = settings(site.url, obey=obey, **{"sitemap.urls": ("guess",)})
    await crawl(config, tmp_path)
    assert outcomes(tmp_path) == {"/": "done", "/b": "done", "/sitemap_index.xml": "done"}
    assert site.hits["/sitemap.xml"] == 1


async def test_a_named_sitemap_is_read_and_a_ring_of_them_ends(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page()}, {"/s.xml": page()})
    for number in range(20):
        site.put(f"/{number}.xml", xml(index(site.at(f"/{number + 1}.xml"), site.at("/0.xml"))))
    await crawl(settings(site.url, **{"sitemap.urls": (site.at("/0.xml"),)}), tmp_path)
    lists = [path for path, outcome in outcomes(tmp_path).items() if outcome == "done"]
    assert sorted(lists) == sorted(["/", *(f"/{number}.xml" for number in range(11))])


async def test_hostile_xml_is_a_failure_with_its_reason(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    site.put("/robots.txt", text(f"Sitemap: {site.at('/s.xml')}"))
    site.put("/s.xml", reply('<!DOCTYPE a [<!ENTITY x "y">]><urlset/>', mime="text/xml"))
    await crawl(settings(site.url), tmp_path)
    assert by_path(tmp_path)["/s.xml"]["reason"] == "parse:xml: declares an entity"


async def test_feeds_are_followed_when_asked_for(website: Open, tmp_path: Path) -> None:
    head = '<link rel=alternate type="application/rss+xml" href="/feed">'
    site = await website({"/": page(head=head), "/a": page()})
    site.put("/feed", xml("<rss><channel><item><link>/a</link></item></channel></rss>"))
    await crawl(settings(site.url), tmp_path / "1")
    assert outcomes(tmp_path / "1") == {"/": "done"}
    await crawl(settings(site.url, follow=("page", "feed")), tmp_path / "2")
    assert outcomes(tmp_path / "2") == {"/": "done", "/feed": "done", "/a": "done"}
    assert by_path(tmp_path / "2")["/a"]["depth"] == 1


async def test_an_index_does_not_lead_to_strangers(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(), "/b": page()}, {})
    site.put("/robots.txt", text("Sitemap: /index.xml"))
    site.put("/index.xml", xml(index(site.at("/evil.xml", 1), site.at("/s.xml"))))
    site.put("/s.xml", xml(urlset(site.at("/b"), site.at("/c", 1))))
    await crawl(settings(site.url), tmp_path)
    assert outcomes(tmp_path) == dict.fromkeys(("/", "/b", "/index.xml", "/s.xml"), "done")
    assert not [asked for asked in site.log if asked.address == "127.0.0.2"]


@pytest.mark.parametrize(
    ("scope", "told"), [("host", ""), ("prefix", ""), ("any", ""), ("page", "outOfScope")]
)
def test_a_sitemap_may_lie_anywhere_but_not_be_too_deep(scope: str, told: str) -> None:
    rules = settings("http://h.test/docs/", scope=scope, max_depth=1, exclude=("secret",)).scope
    judge = Scope(rules, ["http://h.test/docs/"]).judge
    assert judge("http://maps.test/s.xml", "maps.test", 1, "sitemap") == told
    if not told:
        assert judge("http://maps.test/s.xml", "maps.test", 2, "sitemap") == "tooDeep"
        assert judge("http://h.test/secret.xml", "h.test", 1, "sitemap") == "excluded"
    assert judge("http://h.test/feed", "h.test", 1, "feed") == "kind"


async def test_feeds_keep_their_base(website: Open, tmp_path: Path) -> None:
    feed = (
        "<feed xmlns='http://www.w3.org/2005/Atom' xml:base='/blog/'><entry xml:base='2026/'>"
        "<link href='a'/></entry><entry><link href='b'/></entry></feed>"
    )
    site = await website(
        {"/": page(head="<link rel=alternate type=application/atom+xml href=/feed>"),
         "/feed": xml(feed), "/blog/2026/a": page(), "/blog/b": page()}
    )  # fmt: skip
    await crawl(settings(site.url, follow=("page", "feed")), tmp_path)
    assert {"/blog/2026/a", "/blog/b"} <= {*by_path(tmp_path)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mime", ["application/xml", "text/plain", "text/html"])
@pytest.mark.parametrize("form", ["sitemap", "index", "rss", "text"])
async def test_a_seed_that_is_a_list_is_followed(
    website: Open, tmp_path: Path, form: str, mime: str, packed: bool
) -> None:
    bodies = {
        "sitemap": urlset("{0}/a", "{0}/b"),
        "index": index("{0}/more"),
        "rss": "<rss version='2.0'><channel><item><link>{0}/a</link></item>"
        "<item><link>{0}/b</link></item></channel></rss>",
        "text": "{0}/a\n{0}/b\n",
    }

    async def listed(asked: Asked) -> Reply:
        body = asked.site.fill(bodies[form]).encode()
        return Reply(200, gzip.compress(body) if packed else body, (), mime)

    async def more(asked: Asked) -> Reply:
        return Reply(200, asked.site.fill(bodies["sitemap"]).encode(), (), "application/xml")

    site = await website({"/list": listed, "/more": more, "/a": page(), "/b": page()})
    await crawl(settings(site.at("/list")), tmp_path)
    assert {"/a", "/b"} <= {*by_path(tmp_path)}
