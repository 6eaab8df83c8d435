"""Markup that is no XML: what the lenient scanner tells, piece by piece, and at what cost."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import ParseError
from crawler.parse.sitemap import Listing, read_listing

A, B, C = "http://h.test/a", "http://h.test/b", "http://h.test/c"
X = "http://h.test/x"


def read(body: str, pieces: int = 65536) -> Listing:
    data = body.encode()
    return read_listing(data[at : at + pieces] for at in range(0, len(data), pieces))


def pages(listing: Listing) -> list[str]:
    return [entry.url for entry in listing.pages]


@pytest.mark.parametrize(
    ("middle", "urls"),
    [
        ("<url><loc>http://h.test/?a=1&copy=3&reg=4</loc></url>", ["http://h.test/?a=1&copy=3&reg=4"]),
        (f"<url><loc>&nbsp;{X}&eacute;</loc></url>", [f"{X}é"]),
        (f"<url><loc>{X}</lco></url>", [X]),
        (f"<url><loc>{X}</url>", [X]),
        (f"<url><loc>{X}</loc><url><loc>{C}</loc></url>", [X, C]),
        (f"<url><loc>{X}</loc><loc>{C}</loc></url>&", [X, C]),
        (f"<url><loc>{X}<lastmod>2026</lastmod></loc></url></x>", [X]),
        (f"<url><loc>{X}<loc></url>", [X]),
        (f"<url><loc><![CDATA[{X}?a=1&b=2&amp;c]]></loc></url>&", [f"{X}?a=1&b=2&amp;c"]),
        (f"&<url><loc><![CDATA[{X}?a=1&b=2&amp;c]]></loc></url>", [f"{X}?a=1&b=2&amp;c"]),
        (f"<x y=1 z/><url><loc>{X}</loc></url>", [X]),
        (f'<x y="1><url><loc>{X}</loc></url>', [X]),
        (f"<x>a < b</x><!-- & <url> --><url><loc>{X}<b</loc></url>", [f"{X}<b"]),
        (f"<title/>&<url><loc>{X}</loc></url>", [X]),  # in HTML all after it would be the title
        (f"<?php & ?><url><loc>{X}</loc></url>&", [X]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pieces", [1, 13, 65536])
def test_what_was_meant_is_read(middle: str, urls: list[str], pieces: int) -> None:
    body = f"<url><loc>{A}</loc></url>{middle}<url><loc>{B}</loc></url>"
    listing = read(f"<urlset>{body}</urlset>", pieces)
    assert pages(listing) == [A, *urls, B]
    assert len(listing.problems) == 1
    assert "read leniently from there" in listing.problems[0]


def test_a_mistake_in_a_feed_costs_no_item() -> None:
    rss = (
        f"<rss><channel><item><title/><link>{A}</link></item><item><title>a & b</title>"
        f"<link>{B}</link><item><guid>{C}</guid></channel></rss>"
    )
    assert pages(read(rss)) == [A, B, C]
    atom = (
        f"<feed><entry><title>&</title><link rel=alternate href='{A}'/></entry>"
        f'<entry><link href={B} /></entry><entry><LINK HREF="{C}"></entry></feed>'
    )
    assert pages(read(atom)) == [A, B, C]


def test_after_the_list_there_is_nothing() -> None:
    one, two = (f"<urlset><url><loc>{url}</loc></url></urlset>" for url in (A, B))
    assert pages(read(one + two)) == [A]
    assert pages(read(f"{one}<script>a && b</script>")) == [A]


@given(st.lists(st.text("ab&<>\"' =/;#", max_size=9), max_size=4), st.integers(1, 40))
def test_where_nothing_is_wrong_both_readers_agree(names: list[str], pieces: int) -> None:
    urls = [f"http://h.test/{name.strip()}" for name in names]
    entries = "".join(f"<url a='>' b=\"1\"><loc>{escape(url)}</loc><x/></url>" for url in urls)
    strict = read(f"<urlset>{entries}</urlset>", pieces)
    assert strict.problems == []
    assert pages(read(f"<urlset>&{entries}</urlset>", pieces)) == pages(strict) == urls


@given(st.text("<>/&;'\"=!-[]?x a", max_size=60), st.integers(1, 9))
def test_where_it_is_cut_changes_nothing(body: str, pieces: int) -> None:
    whole = f"<urlset>&<url><loc>{A}</loc>{body}"
    assert pages(read(whole, pieces)) == pages(read(whole))


@pytest.mark.parametrize(
    ("head", "unit"),
    [("<!-- ", "x "), ("<a ", "x=1 "), ('<a b="', "x "), ("", "<<"), ("", "&#x;&a"),
     ("", "<a b='<"), ("<![CDATA[", "]]"), ("", "<a></b>"), ("<a ", "='")],
)  # fmt: skip
def test_what_never_ends_costs_no_memory(head: str, unit: str) -> None:
    def body() -> Iterator[bytes]:
        yield f"<urlset><url><loc>{A}</loc></url>&{head}".encode()
        for _ in range(24):
            yield (unit * (8192 // len(unit))).encode()

    tracemalloc.start()
    try:
        with contextlib.suppress(ParseError):  # nested too deep
            assert pages(read_listing(body())) == [A]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
