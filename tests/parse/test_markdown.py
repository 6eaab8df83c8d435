"""Markdown: the content and nothing around it, code kept, links absolute, in crawls and exports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path

import pytest
import turbohtml
from article_words import seen
from click.testing import CliRunner
from helpers.crawling import crawl, settings
from helpers.website import Website, reply
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.main import crawler
from crawler.config.model import UrlsConfig
from crawler.errors import ConfigError
from crawler.output.markdown_files import text_path
from crawler.parse.markdown import to_markdown
from crawler.policy.urls import Urls

Open = Callable[..., Awaitable[Website]]

JOIN = Urls(UrlsConfig()).join

CONTENT = """<h1>A title<a class=headerlink href="#a">¶</a></h1>
<p>Some text with a <a href="b.html#part">link</a>, a <a href="javascript:x()">trick</a>
and <b>weight</b>, long enough to be what readers come for.</p>
<ul><li>one<pre><code>def f():


    return 1</code></pre></li></ul>
<table><tr><th>k</th><th>v</th></tr><tr><td>1</td><td>2</td></tr></table><img src="/i.png" alt=i>"""

MAIN = f"""<html lang=en><head><title>T</title>
<meta property="article:published_time" content="2026-01-02T03:04:05Z"></head>
<body><nav><a href=/x>Menu</a></nav><main>{CONTENT}<script>evil()</script></main>
<footer>Imprint</footer></body></html>"""

EXPECTED = """---
title: "T: \\"x\\""
url: "http://a.test/d/p"
date: "2026-01-02"
language: "en"
---

# A title

"""


def test_the_marked_content_is_kept_and_nothing_around_it() -> None:
    text = to_markdown(MAIN, "http://a.test/d/p", title='T: "x"', lang="en", join=JOIN)
    assert text.startswith(EXPECTED)
    assert "[link](http://a.test/d/b.html#part)" in text
    assert "![i](http://a.test/i.png)" in text
    assert "**weight**" in text
    assert "def f():\n\n\n      return 1" in text
    assert "| 1 | 2 |" in text
    for word in ("Menu", "Imprint", "evil", "javascript", "¶"):
        assert word not in text


def test_unmarked_content_is_found() -> None:
    story = "".join(
        f"<p>Sentence {n}, with a comma, and quite some words in it.</p>" for n in range(20)
    )
    html = (
        f"<body><div class=menu><a href=/a>Home</a> <a href=/b>About</a></div>"
        f"<div class=story>{story}</div><div class=footer>All rights reserved</div></body>"
    )
    text = to_markdown(html, "http://a.test/", join=JOIN)
    assert "Sentence 0" in text
    assert "Sentence 19" in text
    assert "About" not in text


PAGES = {
    # The shapes of manuals: DocBook's, Apache's, SQLite's, fpdoc's, AsciiDoc's.
    "docbook": """<body id="docContent" class="container-fluid"><div class="navheader"><table><tr>
        <th colspan=5>MENU</th></tr><tr><td><a href=a>MENU</a></td></tr></table><hr></div>
        <div class="sect1"><h2 class="title">KEPT</h2><p>KEPT <code class=function>KEPT</code></p>
        <dl><dt>KEPT</dt><dd><pre>KEPT(int *a);</pre></dd></dl></div>
        <div class="navfooter"><a href=b>MENU</a> MENU</div></body>""",
    "apache": """<body><div id="page-header"><p class="menu"><a href=a>MENU</a> |
        <a href=b>MENU</a></p><p class=apache>MENU</p></div>
        <div id=path><a href=c>MENU</a> &gt; <a href=d>MENU</a></div>
        <div id="page-content"><h1>KEPT</h1><div class=toplang><p><span>MENU</span>
        <a href=e>en</a> <a href=f hreflang=fr>MENU</a> <a href=g hreflang=ja>MENU</a></p></div>
        <p>KEPT</p><h2>KEPT <a href="#x" class=permalink>¶</a></h2><table><tr><th>KEPT
        <td>KEPT</table></div><div id=footer><p class=menu><a href=h>MENU</a></p></div></body>""",
    "sqlite": """<body><div class=nosearch><a href=a><img alt=MENU src=l></a><div>MENU</div>
        <div class="menu mainmenu"><ul><li><a href=b>MENU</a><li><a href=c>MENU</a></ul></div></div>
        <h1>KEPT</h1><p>KEPT<p>KEPT<ul><li>KEPT <a href=d>KEPT</a></ul>""",
    "fpdoc": """<body><table class="bar"><tr><td><b>[<a href=a>MENU</a>][<a href=b>MENU</a>]</b>
        </td><td><span class="bartitle">MENU (<a href=c>MENU</a>)</span></td></tr></table>
        <h1>KEPT</h1><p>KEPT</p><table><tr><td><p><tt><a href=d>KEPT</a></tt></p></td></tr>
        </table>""",
    "asciidoc": """<body class="manpage"><div id="header"><h1>KEPT</h1><p>KEPT</p></div>
        <div id="content"><div class="sect1"><h2>KEPT</h2><pre>KEPT</pre></div></div>
        <div id="footer"><div>MENU</div></div></body>""",
    "layout": """<body><table><tr><td class=menu><a href=a>MENU</a><a href=b>MENU</a></td>
        <td><h1>KEPT</h1><p>KEPT</p><table><tr><td>KEPT</td><td>KEPT</td></tr></table></td></tr>
        </table></body>""",
    "teaser": """<body><h1>KEPT</h1>%s<article><p>KEPT</p></article></body>""" % ("<p>KEPT " * 40),
    "index": """<body><h1>KEPT</h1><ul><li><a href=a>KEPT</a><li><a href=b>KEPT</a></ul></body>""",
    "menu": """<body class="nav menu"><div class="sidebar">KEPT KEPT</div></body>""",
}


@pytest.mark.parametrize("shape", PAGES)
def test_what_surrounds_the_content_goes_and_all_else_stays(shape: str) -> None:
    html = PAGES[shape].replace("KEPT", "KEPT of what readers come for", 1)
    html = html.replace("<p>KEPT", f"<p>KEPT {'words of the story ' * 20}", 1)
    text = to_markdown(html, "http://a.test/", join=JOIN)
    assert text.count("KEPT") == html.count("KEPT")
    for word in ("MENU", "¶", "<t"):
        assert word not in text


def test_tables_are_never_html() -> None:
    html = """<main><p>Long enough to be taken for what the page is about, and longer.</p>
    <table><caption>C</caption><tr><td colspan=2 onclick=evil()>a<tr><td>b<td>c|d<tr></table>"""
    text = to_markdown(html, "http://a.test/", join=JOIN)
    assert "| a |  |\n| --- | --- |\n| b | c\\|d |" in text
    assert "evil" not in text


MARKS = st.lists(
    st.one_of(
        st.sampled_from(list("*_`#+-=<>[]()!&\\|~.:1ab \n'\"/é")),
        st.sampled_from(
            ["&lt;", "&copy;", "__init__", "snake_case", "a*b*c", "x[0]", "[^1]", "<b>", "</b>",
             "1. ", "- ", "+1", "#tag", "~~", "C:\\path", "\\*", "```", "``", "***", "\xa0"]
        ),
    ),
    min_size=1, max_size=14,
).map("".join)  # fmt: skip
BLOCKS = st.sampled_from(
    [
        "<p>{}</p>", "<p>x <code>{}</code> y</p>", "<h2>{}</h2>", "<ul><li>{}</li></ul>",
        "<p>q <em>w</em> {}</p>", "<pre>{}</pre>", "<blockquote>{}</blockquote>",
        "<table><tr><th>h</th><th>i</th></tr><tr><td>{}</td><td>z</td></tr></table>",
    ]
)  # fmt: skip


@given(st.lists(st.tuples(BLOCKS, MARKS), min_size=1, max_size=3))
def test_a_reader_of_commonmark_sees_the_text_of_the_page(blocks: list[tuple[str, str]]) -> None:
    html = "".join(block.replace("{}", escape(text)) for block, text in blocks)
    body = turbohtml.parse(html).find("body")
    assert body is not None
    expected = "".join("".join(body.stripped_strings).split())
    text = to_markdown(f"<main>{'w' * 50}{html}</main>", "http://a.test/", join=JOIN)
    assert "".join(seen(text).split()) == "w" * 50 + expected, text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("snake_case, __init__", "snake_case, \\_\\_init\\_\\_"),
        ("2 * 3, 5*6*7", "2 * 3, 5\\*6\\*7"), ("<code>a_b</code>", "`a_b`"),
        ("a[0] and [1]", "a[0] and [1]"), ("[a](b)", "\\[a\\](b)"), ("C:\\dir", "C:\\dir"),
        ("&lt;b&gt;x&lt;/b&gt;", "&lt;b&gt;x&lt;/b&gt;"), ("a &lt; b", "a < b"), ("+1", "+1"),
        ("&amp;lt;", "&amp;lt;"), ("#tag", "#tag"), ("# no", "\\# no"),
        ("a&nbsp;b", "a\xa0b"), ("&#27;# \x1bred\x07", "\ufffd# \ufffdred\ufffd"),
    ],
)  # fmt: skip
def test_only_what_would_be_read_as_markup_is_escaped(html: str, text: str) -> None:
    page = f"<main><p>{'w' * 50}</p><p>{html}</p></main>"
    assert to_markdown(page, "http://a.test/", join=JOIN).splitlines()[-1] == text


def test_nested_pages_take_time_that_grows_with_the_page_alone() -> None:
    """With what each block contains measured each time, they would take minutes."""
    blocks = "<div class=nav><a href=#a>y</a>" * 20_000
    assert "t" in to_markdown(f"{blocks}<h1>t</h1>", "http://a.test/", join=JOIN)
    tables = "<table><tr><td>" * 5_000
    assert "x" in to_markdown(f"{tables}x", "http://a.test/", join=JOIN)


@given(st.text(alphabet=st.sampled_from("<>/aphrefimgmain='\"# \n&;:\x00é"), max_size=200))
def test_no_markup_breaks_it(html: str) -> None:
    assert to_markdown(html, "http://a.test/", join=JOIN).startswith("---\nurl:")


async def test_a_crawl_writes_texts_and_an_export_the_same(website: Open, tmp_path: Path) -> None:
    site = await website({"/": reply(MAIN), "/b.html": reply(b"\x00\x01", mime="image/png")})
    await crawl(settings(site.url, text=True, save="html"), tmp_path)
    written = tmp_path / "text" / text_path(site.url)
    text = written.read_text("utf-8")
    assert f'url: "{site.url}"' in text
    assert "# A title" in text
    result = CliRunner().invoke(
        crawler, ["export", "markdown", str(tmp_path), "-o", str(tmp_path / "again")]
    )
    assert result.exception is None, result.output
    assert (tmp_path / "again" / text_path(site.url)).read_text("utf-8") == text
    assert len(list((tmp_path / "again").rglob("*.md"))) == 1


async def test_without_bodies_there_is_nothing_to_export(website: Open, tmp_path: Path) -> None:
    site = await website({"/": reply(MAIN)})
    await crawl(settings(site.url), tmp_path)
    result = CliRunner().invoke(crawler, ["export", "markdown", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "--save html" in str(result.exception)
    await crawl(settings(site.url, text=True), tmp_path / "texts")
    result = CliRunner().invoke(crawler, ["export", "markdown", str(tmp_path / "texts")])
    assert isinstance(result.exception, ConfigError)
    assert "already" in str(result.exception)
