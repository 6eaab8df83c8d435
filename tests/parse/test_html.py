"""What is read in a page: every kind of link, in order, once; the head; the visible text."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.parse.attribute_values import parse_srcset
from crawler.parse.html import MAX_TITLE, read_html
from crawler.parse.whitespace import BLANKS, one_spaced


def links(html: str, *, forms: bool = False) -> list[tuple[str, str]]:
    return list(read_html(html, forms=forms).links)


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<a href="/a">x</a>', [("/a", "page")]),
        ("<A HREF=/a>x</A>", [("/a", "page")]),
        ('<a href=" \n/a\t ">x</a>', [("/a", "page")]),
        ('<a href="#top">x</a> <a href="">x</a> <a name=x>x</a>', []),
        ('<a href="?q=1&amp;r=2">x</a>', [("?q=1&r=2", "page")]),
        ('<map><area href="/area"></map>', [("/area", "page")]),
        ('<link rel=stylesheet href="/s.css">', [("/s.css", "asset")]),
        ('<link rel="Shortcut Icon" href="/i.ico">', [("/i.ico", "asset")]),
        ("<link rel=next href=/2><link rel=canonical href=/c>", [("/2", "page"), ("/c", "page")]),
        ('<link rel=alternate type="application/rss+xml" href=/f>', [("/f", "feed")]),
        ("<link rel=alternate hreflang=de href=/de>", [("/de", "page")]),
        ('<link rel=alternate media=print type="application/pdf" href=/p>', []),
        ('<link rel="alternate stylesheet" href=/alt.css>', [("/alt.css", "asset")]),
        ('<link rel=dns-prefetch href="//cdn">', []),
        ('<link href="/norel">', []),
        ('<iframe src="/in"></iframe>', [("/in", "page")]),
        ("<frameset><frame src=/f1><frame src=/f2></frameset>", [("/f1", "page"), ("/f2", "page")]),
        ('<img src="/i.png" srcset="/i1.png 1x, /i2.png 2x">',
         [("/i.png", "asset"), ("/i1.png", "asset"), ("/i2.png", "asset")]),
        ("<picture><source srcset='/w.webp 100w'><img src=/p.jpg></picture>",
         [("/w.webp", "asset"), ("/p.jpg", "asset")]),
        ("<video src=/v.mp4 poster=/v.jpg><track src=/v.vtt></video>",
         [("/v.mp4", "asset"), ("/v.jpg", "asset"), ("/v.vtt", "asset")]),
        ("<audio src=/a.ogg></audio>", [("/a.ogg", "asset")]),
        ("<script src=/s.js></script>", [("/s.js", "asset")]),
        ("<embed src=/e><object data=/o></object>", [("/e", "asset"), ("/o", "asset")]),
        ("<input type=image src=/b.png>", [("/b.png", "asset")]),
        ('<meta http-equiv=refresh content="0; url=/next">', [("/next", "page")]),
        ("<meta http-equiv=Refresh content=\"5;URL='/it''s'\">", [("/it", "page")]),
        ('<meta http-equiv=refresh content="30">', []),
        ('<script>document.write("<a href=/no>x</a>")</script>', []),
        ("<!-- <a href=/no>x</a> --><textarea><a href=/no>x</a></textarea>", []),
        ("<a href=/1>x</a><a href=/2>x</a><a href=/1>x</a>", [("/1", "page"), ("/2", "page")]),
        ("<a href=/1 href=/2>x</a>", [("/1", "page")]),  # of two attributes the first counts
        ("<table><a href=/1>x</table></p><b><a href=/2>", [("/1", "page"), ("/2", "page")]),
    ],
)  # fmt: skip
def test_links(html: str, found: list[tuple[str, str]]) -> None:
    assert links(html) == found


def test_forms_are_an_option() -> None:
    html = (
        '<form action="/get"></form><form action=/q method=GET></form><form action=/p method=post>'
    )
    assert links(html) == []
    assert links(html, forms=True) == [("/get", "page"), ("/q", "page")]


def test_the_head() -> None:
    raw = read_html(
        """<!doctype html><html lang=" en-GB "><head><base href="/b/"><base href="/other/">
        <title> A
        title </title><meta name=Description content=" What  it is ">
        <meta name=robots content="NoIndex, nofollow"><link rel=canonical href="/c">
        <link rel=alternate hreflang=de href=/de></head><body><svg><title>no</title></svg>""",
        forms=False,
    )
    assert raw.base == "/b/"
    assert raw.title == "A title"
    assert raw.description == "What it is"
    assert raw.robots == ["noindex", "nofollow"]
    assert (raw.canonical, raw.lang, raw.hreflang) == ("/c", "en-GB", [("de", "/de")])


def test_a_title_in_a_picture_is_better_than_none_and_long_ones_are_cut() -> None:
    assert read_html("<p>x<svg><title>picture</title></svg>", forms=False).title == "picture"
    assert len(read_html(f"<title>{'x' * 2000}</title>", forms=False).title) == MAX_TITLE


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one</p><p>two</p>", "one two"),
        ("<p> a\n\tb <b>c</b>d", "a b c d"),
        ("<title>t</title>x<script>no</script><style>no</style>y", "x y"),
        ("a<noscript>no</noscript><template>no</template>b", "a b"),
        ("<!-- no -->yes&nbsp;&amp;", "yes &"),
        ("", ""),
        ("<frameset><frame src=/a></frameset>", ""),
    ],
)
def test_the_visible_text(html: str, text: str) -> None:
    assert read_html(html, forms=False).text == text


@pytest.mark.parametrize(
    ("srcset", "urls"),
    [
        ("a.png", ["a.png"]),
        ("a.png 1x, b.png 2x", ["a.png", "b.png"]),
        ("a,b.png 1x,c.png", ["a,b.png", "c.png"]),
        ("a.png, b.png,", ["a.png", "b.png"]),
        ("data:image/png;base64,AA== 1x, b 2x", ["data:image/png;base64,AA==", "b"]),
        ("a (x, y), b", ["a", "b"]),
        (" ,, ", []),
        ("", []),
    ],
)
def test_srcset(srcset: str, urls: list[str]) -> None:
    assert list(parse_srcset(srcset)) == urls


@given(st.text(max_size=300))
def test_any_text_is_a_page(text: str) -> None:
    read_html(text, forms=True)


PIECES = ["<a href=", "'/x'", ">", "<", "<!--", "</", "svg>", "<table>", "<select>", "\0", "&#x0;",
          "<template>", "<base href=//h>", "<math>", "]]>", "<p ", "=", '"',
          "\ud800", "<title>"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_broken_markup_is_a_page_too(html: str) -> None:
    raw = read_html(html, forms=True)
    assert len(raw.links) <= html.count("href") + html.count("<")
    assert all(href == href.strip() for href, _ in raw.links)


@pytest.mark.parametrize("tag", ["div", "b", "table", "a href=/x", "svg", "select", "template"])
def test_depth_is_no_danger(tag: str) -> None:
    assert set(links(f"<{tag}>" * 100_000)) <= {("/x", "page")}


def test_white_space_is_what_python_says() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert sorted([*BLANKS, " "]) == every
    assert BLANKS[:9].isascii()
    assert not any(one.isascii() for one in BLANKS[9:])


@given(st.text(alphabet=[*"ab\u20ac ", *BLANKS]), st.text())
def test_white_space_runs_together(some: str, other: str) -> None:
    for text in (some, other, some.encode("ascii", "ignore").decode()):
        assert one_spaced(text) == " ".join(text.split())


def test_a_form_without_an_action_is_no_link() -> None:
    assert links("<form><input name=q></form>", forms=True) == []
    assert links("<form action><input name=q></form>", forms=True) == [("", "page")]
