"""Canonical URLs: the standard's, and the few rules beyond it, each by name."""

from __future__ import annotations

import pickle

import ada_url
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.config.model import UrlsConfig
from crawler.policy.urls import (
    Urls,
    fingerprint,
    host_key,
    origin,
    path_of,
    registered_domain,
)

URLS = Urls(UrlsConfig())
SORTING = Urls(UrlsConfig(sort_query=True, strip_fragment=False, strip_query=()))


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("http://example.com/a/../b/./c", "http://example.com/b/c"),
        ("http://example.com/%7Euser", "http://example.com/%7Euser"),  # as the site wrote it
        ("http://example.com/A", "http://example.com/A"),
        ("http://example.com/a/", "http://example.com/a/"),
        ("http://example.com/ü?ö", "http://example.com/%C3%BC?%C3%B6"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://example.com/a b", "http://example.com/a%20b"),
        ("http://example.com\\a", "http://example.com/a"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://example.com/#part", "http://example.com/"),
        ("http://u:p@example.com/x@y", "http://example.com/x@y"),
        ("http://example.com/?utm_source=a&b=1&UTM_x=2", "http://example.com/?b=1"),
        ("http://example.com/?gclid=1", "http://example.com/"),
        ("http://example.com/?", "http://example.com/?"),
        ("http://example.com/?a=1&&b=2", "http://example.com/?a=1&&b=2"),
        ("http://example.com/?b=2&a=1", "http://example.com/?b=2&a=1"),
    ],
)
def test_canonical(url: str, canonical: str) -> None:
    assert URLS.canonical(url) == canonical
    assert URLS.canonical(canonical) == canonical


@pytest.mark.parametrize(
    "url", ["", "/a", "mailto:a@b.test", "ftp://a.test/", "http://", "http://a b/", "http://[::1",
            "javascript:void(0)", "http://a.test:99999/", "\ud800"]
)  # fmt: skip
def test_what_is_no_web_address(url: str) -> None:
    assert URLS.canonical(url) is None


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("b", "http://a.test/x/b"),
        ("../b", "http://a.test/b"),
        ("/b", "http://a.test/b"),
        ("//c.test/b", "http://c.test/b"),
        ("?q", "http://a.test/x/y?q"),
        ("", "http://a.test/x/y?z"),
        ("https:b", "https://b/"),
        ("b\n/c", "http://a.test/x/b/c"),
        ("mailto:x@y.test", None),
        ("data:text/html,x", None),
    ],
)
def test_join(href: str, url: str | None) -> None:
    assert URLS.join("http://a.test/x/y?z", href) == url


def test_a_question_mark_in_a_fragment_is_no_query() -> None:
    keeping = Urls(UrlsConfig(strip_fragment=False))
    assert keeping.join("http://a.test/p", "#x?y") == "http://a.test/p#x?y"
    assert keeping.canonical("http://a.test/p?#x?y") == "http://a.test/p?#x?y"
    assert keeping.canonical("http://a.test/p#x?utm_source=1") == "http://a.test/p#x?utm_source=1"


def test_sorting_is_an_option() -> None:
    assert SORTING.canonical("http://a.test/?b=2&a=2&a=1#f") == "http://a.test/?a=2&a=1&b=2#f"


@pytest.mark.parametrize(
    ("url", "rules"),
    [
        ("http://a.test/", ()),
        ("HTTP://a.test/", ("whatwg",)),
        ("http://u@a.test/#x", ("credentials", "strip-fragment")),
        ("http://a.test/?utm_a=1&b=2", ("strip-query:utm_a",)),
        ("ftp://a.test/", ("scheme",)),
        ("nothing", ("not a URL",)),
    ],
)
def test_explain_names_the_rules(url: str, rules: tuple[str, ...]) -> None:
    canonical, named = URLS.explain(url)
    assert named == rules
    assert canonical == URLS.canonical(url)


def test_parts() -> None:
    url = "http://a.test:8080/x?y"
    assert host_key(url) == "a.test:8080"
    assert origin(url) == "http://a.test:8080"
    assert path_of(url) == "/x?y"
    assert host_key("https://a.test/") == host_key("http://a.test/") == "a.test"


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("example.com:8080", "example.com"),
        ("a.b.github.io", "b.github.io"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("localhost", "localhost"),
        ("com", "com"),
    ],
)
def test_registered_domain(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_fingerprints_keep_a_host_together() -> None:
    one, two, other = (fingerprint(url, host_key(url)) for url in
                       ("http://a.test/1", "http://a.test/2", "http://b.test/1"))  # fmt: skip
    assert len(one) == 16
    assert one != two
    assert one[:4] == two[:4] != other[:4]


@given(st.text(max_size=60))
def test_canonical_is_a_fixed_point(text: str) -> None:
    for url in (text, f"http://{text}", f"http://a.test/{text}", f"http://a.test/?{text}"):
        canonical = URLS.canonical(url)
        if canonical is not None:
            assert URLS.canonical(canonical) == canonical
            assert canonical.startswith(("http://", "https://"))
            assert canonical.isascii()
            assert origin(canonical) + path_of(canonical) == canonical
            assert URLS.join("http://other.test/x/", canonical) == canonical


PIECES = [
    "a", "b.c", "..", ".", "/", "//", "../", "?", "q=1", "&", "#", "%2e", "%", ":", " ", "\t", "\\",
    "http", "http:", "é", "ſ", "@", ";", "~_-", "utm_source=x", "+", "A", "1",
    "http://a.test", "http://a.test/", "https://a.test:8443/",
]  # fmt: skip
BASES = [
    "http://a.test/", "http://a.test/b/c/d?e/f", "https://a.test:8443/b//c/", "http://a.test",
    "HTTP://A.test/B/./c", "http://u:p@a.test/x/y", "mailto:x@a.test", "file:///a/b", "no base",
]  # fmt: skip


@given(st.sampled_from(BASES), st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
@settings(max_examples=300)
@pytest.mark.parametrize("strip", [True, False])
def test_the_short_way_to_join_is_the_standard(strip: bool, base: str, href: str) -> None:
    urls = Urls(UrlsConfig(strip_fragment=strip))
    try:
        expected = urls._finish(ada_url.join_url(base, href))
    except ValueError:
        expected = None
    assert urls.join(base, href) == expected


def test_the_rules_travel() -> None:
    there = pickle.loads(pickle.dumps(SORTING))
    assert there.canonical("http://a.test/?b&a") == "http://a.test/?a&b"
