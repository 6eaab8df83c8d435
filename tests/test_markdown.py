"""Markdown: the content and nothing around it, code kept, links absolute, in crawls and exports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from crawling import crawl, settings
from hypothesis import given
from hypothesis import strategies as st
from website import Website, reply

from crawler.cli.main import crawler
from crawler.config import UrlsConfig
from crawler.errors import ConfigError
from crawler.sinks.texts import text_path
from crawler.urls import Urls

pytest.importorskip("readability")
pytest.importorskip("html_to_markdown")

from crawler.parse.markdown import to_markdown

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
