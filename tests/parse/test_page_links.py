"""No link of a page is lost: our reader beside html5lib. On real pages: `make test-links`."""

from __future__ import annotations

import page_links
from hypothesis import example, given, settings
from hypothesis import strategies as st

READER = page_links.plain_reader()
URL = f"{page_links.BASE}/a/b.html?q"

PIECES = st.sampled_from(
    [
        *(f"<{name}>" for name in (
            "p", "/p", "div", "/div", "b", "/b", "i", "/i", "font color=x", "table", "/table", "tr",
            "td", "/td", "ul", "li", "/ul", "svg", "path /", "/svg", "math", "mi", "/math", "/a",
            "script", "/script", "style", "/style", "title", "/title", "textarea", "/textarea",
            "noscript", "/noscript", "form", "/form", "br", "h1", "/h1", "nobr", "button",
            "/button", "body", "/body", "/html", "head", "xmp", "/xmp", "!doctype html",
            "dl", "dd", "span",
        )),
        "<!--", "-->", "<!", "</", "<", ">", "&amp;", "x", " ", '"', "'", "=", "<?php", "]]>",
        "if (a<b) document.write('<a href=/no>')",
    ]
)  # fmt: skip
HREF = st.sampled_from(
    ["1", "/2", "../3", "?4", "#5", "", "//x.test/6", "http://y.test", " /7\n", "/8&amp;9",
     "/é?é", "mailto:a", "javascript:x", "/a b", "/%41", "\\10", "/./11/..", "http://[bad", "/12#x",
     "/&#49;"]
)  # fmt: skip
LINK = st.tuples(
    st.sampled_from(
        ["<a href={}>", "<a class=x href={}>y</a>", "<A HREF={} />", "<area href={}>",
         "<img src={}>", "<iframe src={}></iframe>", "<link rel=next href={}>", "<a name=x>",
         "<base href={}>",
         "<script src={}></script>", "<input src={}>", "<svg><a xlink:href={}></a></svg>"]
    ),
    HREF,
    st.sampled_from(['"', "'"]),
).map(lambda one: one[0].format(one[2] + one[1] + one[2]))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PIECES, LINK), max_size=30).map("".join))
@example("<svg><title><a href=/1></title></svg><a href=/2>")
@example("<table><tr><a href=/1><td><a href=/2></table><a href=/3>")
@example("<a href=/1><p><a href=/2></p><base href=/b/><a href=''>")
@example('<link rel=next href=""><base href="1"><a href="">')
@example('<base href="1"><svg><a xlink:href=""></a></svg>')
def test_made_pages_lose_no_link(markup: str) -> None:
    have, incomplete = page_links.found(markup.encode(), URL, READER, "text/html; charset=utf-8")
    assert page_links.wanted(markup, URL) - have == set()
    assert not incomplete
