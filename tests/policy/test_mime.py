"""Content-Type as browsers read it."""

from __future__ import annotations

import pytest
from helpers.reading import links, read
from hypothesis import given
from hypothesis import strategies as st

from crawler.policy.mime import Mime, extract_mime, parse_mime, sniff_mime

HTML = "text/html"


@pytest.mark.parametrize(
    ("value", "essence", "charset"),
    [
        ("text/html", HTML, ""),
        ("TEXT/HTML;CHARSET=GBK", HTML, "GBK"),
        (" text/html ; charset=gbk ", HTML, "gbk"),
        ('text/html;charset="gbk"', HTML, "gbk"),
        ('text/html;charset="gbk', HTML, "gbk"),
        ('text/html;charset="\\g\\b\\k"tail', HTML, "gbk"),
        ("text/html;charset='gbk'", HTML, "'gbk'"),  # no quotes here: no encoding of that name
        ("text/html;charset =gbk", HTML, ""),
        ("text/html;charset= gbk", HTML, " gbk"),
        ("text/html;;;charset=gbk", HTML, "gbk"),
        ("text/html;x;y=;charset=gbk", HTML, "gbk"),
        ('text/html;";charset=gbk', HTML, "gbk"),
        ('text/html;x="a;charset=no";charset=gbk', HTML, "gbk"),
        ("text/html;charset=;charset=gbk", HTML, "gbk"),
        ("text/html;charset=gbk;charset=utf-8", HTML, "gbk"),
        # several: by repeated headers, or with commas in one
        ("text/html, text/html; charset=utf-8", HTML, "utf-8"),
        ("text/html,charset=utf-8", HTML, ""),
        ("text/html, text/plain", "text/plain", ""),
        ("text/plain;charset=gbk, text/html", HTML, ""),
        ("text/plain;charset=gbk, text/plain", "text/plain", "gbk"),
        ('text/html;charset=gbk, text/html;x=",text/plain', HTML, "gbk"),
        ("text/html;charset=gbk, text/plain, text/html", HTML, ""),
        ("text/html, */*;charset=gbk", HTML, ""),
        ("*/*, text/html", HTML, ""),
        (",text/html,", HTML, ""),
        # by the standard none at all: as Chromium has it
        ("text/html charset=utf-8", HTML, "utf-8"),
        ("text/html(comment)", HTML, ""),
        ("", "", ""), ("*/*", "", ""), ("bogus", "", ""), ("text/", "", ""), (",", "", ""),
        ("a" * 9 + "/", "", ""),
    ],
)  # fmt: skip
def test_what_the_header_says(value: str, essence: str, charset: str) -> None:
    assert extract_mime(value) == (essence, charset)


@pytest.mark.parametrize("value", ["", "x", "x/", "/x", "x/y/z", "</>", "x/x y", "é/x", "x/\0"])
def test_what_is_no_type(value: str) -> None:
    assert parse_mime(value) is None


TOKEN = st.text(st.sampled_from("abcXYZ019!#$%&'*+-.^_`|~"), min_size=1, max_size=9)


@given(TOKEN, TOKEN, st.text(max_size=9), TOKEN)
def test_a_type_is_read_whatever_stands_behind_it(a: str, b: str, junk: str, charset: str) -> None:
    whole = f"{a}/{b};{junk.replace(',', '')};charset={charset}"
    mime = parse_mime(whole)
    assert mime is not None
    assert mime.essence == f"{a}/{b}".lower()
    if not set(junk) & set('"=') and "charset" not in junk.lower():
        assert mime.charset == charset


@given(st.text(st.characters(max_codepoint=0xFF), max_size=60))
def test_any_value_is_read(value: str) -> None:
    assert isinstance(extract_mime(value), Mime)


@pytest.mark.parametrize(
    ("body", "mime"),
    [
        (b"<!doctype html>", HTML), (b"<!DocType HTML >", HTML), (b"\xef\xbb\xbf\n <HTML>", HTML),
        (b"<!-- x", HTML), (b"<a href=x>", HTML), (b"<p>x", HTML), (b"<br>", HTML), (b"<b>", HTML),
        (b"<?xml version='1.0'?>", "text/xml"), (b"<px>", ""), (b"<a", ""), (b"text <p>", ""),
        (b"<!doctypehtml>", ""), (b"", ""), (b"%PDF-1", ""), (b"\0<p>", ""),
    ],
)  # fmt: skip
def test_what_the_bytes_say(body: bytes, mime: str) -> None:
    assert sniff_mime(body) == mime


@pytest.mark.parametrize(
    ("content_type", "followed"),
    [
        (None, True), ("", True), ("*/*", True), ("unknown/unknown", True), ("bogus", True),
        ("application/unknown", True), ("text/html charset=utf-8", True),
        ("text/html;charset=utf-8, text/html", True), ("text/plain", False), ("image/png", False),
        ("application/octet-stream", False),  # a browser offers to save it
        ("text/html, text/plain", False),
    ],
)  # fmt: skip
def test_whether_a_page_is_a_page(content_type: str | None, followed: bool) -> None:
    assert links(read("<p><a href=/x>x</a>", content_type)) == ["/x"] * followed


def test_a_type_sent_twice() -> None:
    twice = read("<p>é", "text/html", ("content-type", "text/html; charset=utf-8"))
    assert (twice.mime, twice.charset, twice.charset_source) == (HTML, "utf-8", "http")


def test_a_charset_that_is_none_leaves_it_to_the_page() -> None:
    extract = read("<meta charset=koi8-r><p>", "text/html; charset='utf-8'")
    assert (extract.charset, extract.charset_source) == ("koi8-r", "meta")
