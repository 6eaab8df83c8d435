"""Links that browsers follow, wherever they stand; and what stands beside them."""

from __future__ import annotations

import pytest
from helpers.reading import HOME, links, read, reader

from crawler.parse.attribute_values import refresh_url
from crawler.parse.css import css_urls, replace_urls

MIRROR = reader(requisites=True, scope="host")
FORMS = reader(forms=True)


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        # declarative shadow roots, one in the other; a template that is none keeps its links
        (("<div><template shadowrootmode=open><a href=/s>x</a><p><template ShadowRootMode=closed>"
         "<a href=/in>x</a></template></p></template></div>"), ["/s", "/in"]),
        (("<div><template shadowrootmode=open><a href=/s>x</a><p><template shadowRootMode=closed>"
         "<a href=/in>x</a></template></p></template></div><a href=/out>x</a>"),
         ["/s", "/in", "/out"]),
        # SVG's links; in HTML `xlink:href` is an attribute without a meaning only to browsers
        ("<svg><a xlink:href=/x><g>x</g></a><a href=/h xlink:href=/no /></svg>", ["/x", "/h"]),
        # a page in an attribute, with this page's base, or its own
        ("<base href=/b/><iframe srcdoc='&lt;a href=in&gt;'></iframe>", ["/b/in"]),
        ("<iframe srcdoc='&lt;base href=http://x.test/own/&gt;&lt;a href=in&gt;'></iframe>",
         ["/own/in"]),
        (("<base href=/b/><iframe srcdoc='&lt;base href=own/x?y&gt;&lt;a href=in&gt;"
          "&lt;a href=?q&gt;&lt;a href=/abs&gt;&lt;a href=http://x.test/z&gt;"
          "&lt;a href=../up&gt;'></iframe>"),
         ["/b/own/in", "/b/own/x?q", "/abs", "/z", "/b/up"]),
        (("<iframe srcdoc='&lt;base href=//x.test/own/&gt;&lt;a href=in&gt;&lt;a href=/r&gt;'>"
          "</iframe>"),
         ["/own/in", "/r"]),
        ("<iframe srcdoc='&lt;base href=/o/&gt;&lt;a href=&quot;&quot;&gt;'></iframe>", ["/o/"]),
        ("<iframe srcdoc=\"<iframe srcdoc='&lt;a href=/deep>'></iframe>\"></iframe>", ["/deep"]),
        ("<iframe srcdoc='&lt;a rel=nofollow href=/no&gt;' src=/yes></iframe>", ["/yes", "/no"]),
        # <base>: the first with an href counts, an empty one too; what is no web page does not
        ("<base target=x><base href=/b/><base href=/c/><a href=1>", ["/b/1"]),
        ("<base href=''><base href=/c/><a href=1>", ["/1"]),
        ("<base href='javascript:x'><a href=1>", ["/1"]),
        ("<base href='data:text/html,'><a href=1>", ["/1"]),
        ("<a href=1><base href=/b/>", ["/b/1"]),
        ("<body><template><base href=/t/></template><base href=/b/><a href=1>", ["/b/1"]),
        ("<body><noscript><base href=/n/></noscript><a href=1>", ["/1"]),
        ("<svg><base href=/svg/></base></svg><math><base href=/m/></math><a href=1>", ["/1"]),
        ("<base data-href=/x/ href=/b/ href=/c/><a href=1>", ["/b/1"]),
        ("<base href=' \t\n'><base href=/c/><a href=1>", ["/1"]),
        ("<!-- <base href=/no/> --><script>'<base href=/no/>'</script><a href=1>", ["/1"]),
        ("<base href='/a>b/'><a href=1>", ["/a%3Eb/1"]),
        # a link without a path names the base; without a base it names the page itself
        ("<base href=/home/><a href=''>home</a>", ["/home/"]),
        ("<base href=/home/><a href='#x'>home</a>", ["/home/"]),
        ("<a href=''>x</a><a href='#x'>x</a><a name=y>x</a>", []),
        ("<base href=/home/><a name=y>x</a>", []),
        ("<link rel=prerender href=/next>", ["/next"]),
        ("<link rel=prefetch as=document href=/next>", ["/next"]),
        ("<map><area href=/area ping=/ping></map><a href=/a ping=/ping>", ["/area", "/a"]),
        ("<meta property=og:url content=/no><blockquote cite=/no>", []),
        ("<meta http-equiv=refresh content='0\n;\nurl\n=\n\"/next\n\"'>", ["/next"]),
        ("<noscript><meta http-equiv=refresh content='0;/ns'></noscript>", ["/ns"]),
        ("<a href='/a\nb\tc'>", ["/abc"]),
        ("<a href='\\a\\b'>", ["/a/b"]),
        ("<form action=/f><button formaction=/g></form>", []),
    ],
)  # fmt: skip
def test_what_is_followed(markup: str, found: list[str]) -> None:
    assert links(read(markup)) == found


def test_forms_that_get_are_an_option() -> None:
    markup = "<form action=/f></form><form action=/p method=post></form><form action=''></form>"
    assert links(read(markup, reader=FORMS)) == ["/f", "/"]


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        ("<link rel=preload as=image imagesrcset='/1.png 1x, /2.png 2x'>", ["/1.png", "/2.png"]),
        ("<link rel=preload as=image href=/0.png imagesrcset='/1.png 1x'>", ["/1.png", "/0.png"]),
        ("<link rel=prefetch href=/p.js>", ["/p.js"]),
        ("<img src=/p.gif data-src=/i.png data-srcset='/1.png 1x, /2.png 2x'>",
         ["/p.gif", "/i.png", "/1.png", "/2.png"]),
        ("<p data-src=/no>", []),
        (("<svg><image href=/i.png /><use xlink:href=/s.svg#a /><feImage href=/f.png />"
         "<script href=/s.js></script></svg>"), ["/i.png", "/s.svg", "/f.png", "/s.js"]),
        ("<style>p{background:image-set('/1.png' 1x, url(/2.png) 2x type('image/png'))}</style>",
         ["/1.png", "/2.png"]),
        ("<p><template shadowrootmode=open><style>p{b:url(/b.png)}</style><img src=/i.png>",
         ["/i.png", "/b.png"]),
        ("<iframe srcdoc='<img src=/in.png><p style=background:url(/b.png)>'></iframe>",
         ["/in.png", "/b.png"]),
        ("<object data=/o></object><embed src=/e><video poster=/v.jpg></video>",
         ["/o", "/e", "/v.jpg"]),
    ],
)  # fmt: skip
def test_what_a_page_is_shown_with(markup: str, found: list[str]) -> None:
    assert links(read(markup, reader=MIRROR), "asset") == found


def test_images_for_later_are_no_links_of_an_ordinary_crawl() -> None:
    assert links(read("<img data-src=/i.png>"), "asset") == []


def test_the_text_of_a_shadow_root_is_text() -> None:
    page = "<p>a<template shadowrootmode=open><script>no</script>shadow</template></p>b"
    assert read(page).text_length == len("a b shadow")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("Refresh", "5; url=/next")], ["/next"]),
        ([("refresh", "0")], []),
        ([("Link", '</1>; rel="next')], ["/1"]),
        ([("Link", '</1>; rel="next, </2>; rel=prev')], ["/1", "/2"]),
        ([("Link", '</1>; title="a, b; c"; rel=next, </2>; rel="prev up"')], ["/1", "/2"]),
        ([("Link", '</1>; rel="nex\\t"'), ("Link", "</2>;rel=last")], ["/1", "/2"]),
        ([("Link", "</2> ; rel = prev")], ["/2"]),
    ],
)
def test_headers_lead_on(headers: list[tuple[str, str]], found: list[str]) -> None:
    assert links(read("x", "text/html", *headers)) == found
    assert links(read("x", "text/plain", *headers)) == found


def test_all_links_of_a_header_are_read() -> None:
    value = ", ".join(f"</{n}>; rel=next" for n in range(500))
    assert len(links(read("x", "text/html", ("Link", value)))) == 500


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("5", ""), ("5;", ""), ("", ""), ("url=/x", ""), ("; url=/x", ""), ("x; /x", ""),
        ("0; url=/x", "/x"), ("0;URL='/x'", "/x"), ('0, url="/x" tail', "/x"), ("0 /x", "/x"),
        (" 1.5.2 ; /x", "/x"), (".5; /x", "/x"), ("0; url /x", "url /x"), ("0;url='/x", "/x"),
        ("0;'/x'y", "/x"), ("0; uri=/x", "uri=/x"), ("0; url=", ""), ("0x; /x", ""),
        ("3; url = a/x.html", "a/x.html"), ("0\x0c;\t/x\n", "/x"), ("0; ;/x", ";/x"),
    ],
)  # fmt: skip
def test_refresh_as_the_standard_has_it(value: str, url: str) -> None:
    assert refresh_url(value) == url


XHTML = (
    '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><script src="a.js"/>'
    "<style/><title/></head><body><a id='top'/><div class=\"a>b\"/><textarea/><a href='/x'>x</a>"
    "<iframe src='/f'/><br/><a href='/y'/>z</body></html>"
)


@pytest.mark.parametrize(
    "content_type", ["application/xhtml+xml", "application/xml", "text/xml; charset=utf-8"]
)
def test_in_xml_an_empty_element_is_empty(content_type: str) -> None:
    extract = read(XHTML, content_type)
    assert links(extract) == ["/x", "/f", "/y"]
    assert extract.mime == "application/xhtml+xml"
    assert extract.title == ""


def test_in_html_it_is_a_start_tag() -> None:
    assert links(read(XHTML, "text/html")) == []


def test_other_xml_is_no_page() -> None:
    assert links(read("<feed><a href='/x'/></feed>", "application/xml")) == []


@pytest.mark.parametrize(
    ("css", "urls"),
    [
        ('a{b:image-set("1.png" 1x, "2.png" 2x)}', ["1.png", "2.png"]),
        ("a{b:-webkit-image-set(url(1.png) 1x, '2.png' 2x)}", ["1.png", "2.png"]),
        ('a{b:IMAGE-SET("1.png" type("image/png"))}', ["1.png"]),
        ('a{b:image-set(linear-gradient(red, blue) 1x, "2.png" 2x)}', ["2.png"]),
        ('a{b:image-set("1.png" 1x)} c{content:"no"}', ["1.png"]),
        ('/* image-set( */ c{content:"no"}', []),
        ('a{b:my-image-set("no")}', []),
        ('a{b:image-set("1.png" calc(1 * (1x + 1x)), "2.png")}', ["1.png", "2.png"]),
    ],
)
def test_image_sets(css: str, urls: list[str]) -> None:
    assert list(css_urls(css)) == urls
    assert list(css_urls(replace_urls(css, lambda url: f"/new/{url}"))) == [
        f"/new/{url}" for url in urls
    ]


def test_a_base_elsewhere() -> None:
    (found,) = read(f"<base href=//other.test/b/><a href={HOME}/a>x</a>").found
    assert found[0] == f"{HOME}/a"


def test_what_is_no_url_is_a_problem_and_other_schemes_are_none() -> None:
    odd = (
        "http://[bad/",
        "//a:99999/",
        "http:// x/",
        "/ok",
        "mailto:a@b",
        "javascript:x()",
        "tel:1",
    )
    extract = read("".join(f"<a href='{href}'>x</a>" for href in odd))
    assert links(extract) == ["/ok"]
    assert extract.problems == ("3 links are no URL: 'http://[bad/', '//a:99999/', 'http:// x/'",)
    assert not extract.incomplete
