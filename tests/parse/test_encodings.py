"""Encodings as the standard and browsers have them: decoded, re-read, and used for queries."""

from __future__ import annotations

import codecs

import pytest
from helpers.reading import HOME, links, read, reader
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.parse.decode import to_text
from crawler.parse.query_encoding import encoded_query, percent_encoded

# ── decoded ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("euc-jp", b"\xad\xa1\xb9\xe2\x8f\xa2\xb7\x8e\xb1", "①高～ｱ"),  # NEC's row 13
        ("shift_jis", b"\x87\x40\x81\x60\xfa\x55\xb1\x80", "①～￤ｱ\x80"),  # windows-31j
        ("euc-kr", b"\x81\x41\xb0\xa1", "갂가"),  # windows-949
        ("gb2312", b"\x80\x81\x40\x81\x30\x81\x30", "€丂\x80"),  # GBK, and four bytes
        ("gb18030", b"\x90\x30\x81\x30\xa8\xbc", "\U00010000ḿ"),
        ("big5", b"\x87\x40\x88\x62", "䏰Ê̄"),  # HKSCS
        ("iso-8859-1", b"\x80\x81\x9f", "€\x81Ÿ"),  # windows-1252
        ("tis-620", b"\xa1\x80", "ก€"),  # windows-874
        ("x-user-defined", b"a\x80\xff", "a\uf780\uf7ff"),
        ("koi8-u", b"\xae\xbe", "ўЎ"),
        ("iso-2022-jp", b"\x1b$B-!\x1b(B", "①"),
        ("iso-2022-kr", b"whatever", "\ufffd"),
        ("utf-16", b"a\0b\0", "ab"),
        ("euc-jp", b"\xa1<a>", "\ufffd<a>"),  # no tag is swallowed by half a character
        ("shift_jis", b"\x81<a>", "\ufffd<a>"),
        ("big5", b"\x81<a>", "\ufffd<a>"),
        ("gb18030", b"\x81<a>", "\ufffd<a>"),
        ("utf-8", b"\xe4<a>\xf0\x9f\x98", "\ufffd<a>\ufffd"),
    ],
)
def test_as_the_standard_decodes(charset: str, body: bytes, text: str) -> None:
    assert to_text(body, charset)[0] == text


def test_a_charset_that_browsers_do_not_read_is_told_of() -> None:
    extract = read("<a href=/x>x</a>", "text/html; charset=hz-gb-2312")
    assert (extract.charset, extract.incomplete) == ("replacement", "charsetNotRead")
    assert extract.found == ()


# ── named late ───────────────────────────────────────────────────────────────────────────────

PAD = "<!--" + "x" * 2000 + "-->"


@pytest.mark.parametrize(
    ("markup", "charset", "source"),
    [
        (f"{PAD}<meta charset=shift_jis>", "shift_jis", "meta"),
        (f"{PAD}<meta http-equiv=Content-Type content='text/html; charset=\"euc-jp\"'>",
         "euc-jp", "meta"),
        (f"{PAD}<body><p><meta charset=windows-1251>", "windows-1251", "meta"),
        (f"{PAD}<meta charset=utf-16le>", "utf-8", "detected"),
        (f"{PAD}<meta charset=x-user-defined>", "windows-1252", "meta"),
        (f"{PAD}<meta charset=bogus><meta charset=koi8-r>", "koi8-r", "meta"),
        (f"{PAD}<!-- <meta charset=koi8-r> --><script>'<meta charset=koi8-r>'</script>",
         "utf-8", "detected"),
        (f"<meta charset=koi8-r>{PAD}<meta charset=shift_jis>", "koi8-r", "meta"),
    ],
)  # fmt: skip
def test_a_late_meta_counts_when_nothing_else_did(markup: str, charset: str, source: str) -> None:
    extract = read(f"<html>{markup}<title>x</title>", "text/html")
    assert (extract.charset, extract.charset_source) == (charset, source)
    told = read(f"<html>{markup}<title>x</title>", "text/html; charset=iso-8859-2")
    assert (told.charset, told.charset_source) == ("iso-8859-2", "http")
    marked = read(f"\ufeff<html>{markup}<title>x</title>", "text/html")
    assert (marked.charset, marked.charset_source) == ("utf-8", "bom")


def test_the_page_is_read_again() -> None:
    head = f"<html>{PAD}<meta charset=shift_jis><title>".encode()
    extract = read(
        head + "東京".encode("shift_jis") + b"</title><a href='?q=\x8b\x9e'>", "text/html"
    )
    assert extract.title == "東京"
    assert links(extract) == ["/?q=%8B%9E"]


# ── queries ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("charset", "text", "query"),
    [
        ("windows-1252", "café", "caf%E9"),
        ("windows-1252", "†☃", "%86%26%239731%3B"),
        ("windows-1251", "мир", "%EC%E8%F0"),
        ("koi8-r", "мир", "%CD%C9%D2"),
        ("shift_jis", "日本", "%93%FA%96{"),
        ("shift_jis", "−ｱ¥‾", "%81|%B1\\~"),
        ("shift_jis", "纊\ue000", "%FA%5C%26%2357344%3B".replace("%5C", "\\")),
        ("euc-jp", "日本①", "%C6%FC%CB%DC%AD%A1"),
        ("euc-kr", "한국갂", "%C7%D1%B1%B9%81A"),
        ("gbk", "中国€", "%D6%D0%B9%FA%80"),
        ("gbk", "\U0001f4a9", "%26%23128169%3B"),
        ("gb18030", "中€\U0001f4a9", "%D6%D0%A2%E3%949%DA3"),
        ("gb18030", "\ue5e5\ue7c7", "%26%2358853%3B%815%F47"),
        ("big5", "中文═十", "%A4%A4%A4%E5%F9%F9%A4Q"),
        ("big5", "䏰", "%26%2317392%3B"),  # what only HKSCS has is read, and never written
        ("iso-2022-jp", "日本x", "%1B$BF|K\\%1B(Bx"),
        ("iso-2022-jp", "¥\\~", "%1B(J\\%1B(B\\~"),
        ("iso-2022-jp", "日☃x\x0e", "%1B$BF|%1B(B%26%239731%3Bx%26%2365533%3B"),
        ("iso-2022-jp", "ｱﾞ", "%1B$B%%22!+%1B(B".replace("%%22", "%%22")),
        ("iso-8859-8-i", "א", "%E0"),
        ("windows-1252", "é\"#<>' ", "%E9%22%23%3C%3E%27%20"),
        ("x-user-defined", "\uf7ff", "%FF"),
    ],
)  # fmt: skip
def test_percent_encoded_after_encoding(charset: str, text: str, query: str) -> None:
    assert percent_encoded(text, charset) == query


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("/é?é#é", "/é?%E9#é"),
        ("/é#?é", "/é#?é"),
        ("?a=é&b=%C3%A9", "?a=%E9&b=%C3%A9"),
        ("/é", "/é"), ("?x", "?x"), ("é?x#é", "é?x#é"), ("?é\n?\té", "?%E9?%E9"),
    ],
)  # fmt: skip
def test_only_the_query(href: str, expected: str) -> None:
    assert encoded_query(href, "windows-1252") == expected


MULTI = ["shift_jis", "euc-jp", "euc-kr", "gbk", "gb18030", "iso-2022-jp"]


@pytest.mark.parametrize("charset", [*MULTI, "big5", "windows-1252", "koi8-u", "macintosh"])
@given(text=st.text(st.characters(codec="utf-8"), max_size=20))
@example(text="日本語ｱ中文한국어кириллица𠀀")
def test_what_was_encoded_decodes_to_what_it_was(charset: str, text: str) -> None:
    """But for what an encoding writes in another way on purpose."""
    written = percent_encoded(text, charset)
    assert written.isascii()
    for one in "\"#<>' \t\n\x7f":
        assert one not in written
    one_way = set("−‾¥\x0e\x0f\x1b\ufffd") | set(map(chr, range(0xFF61, 0xFFA0)))
    if "%26%23" in written or one_way & set(text):
        return
    raw = bytearray()
    at = 0
    while at < len(written):
        step = 3 if written[at] == "%" and _is_hex(written[at + 1 : at + 3]) else 1
        raw += bytes.fromhex(written[at + 1 : at + 3]) if step == 3 else written[at].encode()
        at += step
    if b"%" not in text.encode():
        assert codecs.decode(bytes(raw), f"whatwg-{charset}") == text


def _is_hex(two: str) -> bool:
    return len(two) == 2 and set(two) <= set("0123456789ABCDEF")


def test_pages_in_utf_8_keep_their_queries() -> None:
    for charset in ("utf-8", "utf-16le"):
        body = "<a href='?w=é'>x</a><base href='?é'>".encode(charset)
        assert links(read(body, f"text/html; charset={charset}")) == ["/?w=%C3%A9"]


def test_everything_of_a_page_that_is_a_link_is_meant_so() -> None:
    page = (
        "<base href='/b/?é'><a href='?é'>x</a><a rel=nofollow href='?ü'>x</a>"
        "<link rel=canonical href='/c?é'><link rel=alternate hreflang=fr href='/fr?é'>"
        "<form action='/f?é'></form><iframe srcdoc='&lt;a href=?ä&gt;'></iframe>"
    ).encode("latin-1")
    extract = read(page, "text/html; charset=iso-8859-1")
    assert links(extract) == ["/b/?%E9", "/c?%E9", "/fr?%E9", "/b/?%E4", "/b/?%FC"]
    assert extract.canonical == f"{HOME}/c?%E9"
    assert extract.hreflang == (("fr", f"{HOME}/fr?%E9"),)


# ── style sheets ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "content_type", "found"),
    [
        (b"@import '/\xe9.css?\xe9';", "text/css; charset=iso-8859-1", "/%C3%A9.css?%E9"),
        (b'@charset "shift_jis";a{b:url(/\x93\xfa?\x93\xfa)}', "text/css", "/%E6%97%A5?%93%FA"),
        (b'@charset "shift_jis";a{b:url(/\xc3\xa9)}', "text/css; charset=utf-8", "/%C3%A9"),
        ("\ufeffa{b:url(/é?é)}".encode("utf-16-le"), "text/css", "/%C3%A9?%C3%A9"),
        ("\ufeffa{b:url(/é)}".encode(), "text/css; charset=iso-8859-1", "/%C3%A9"),
        (b'@charset "utf-16";a{b:url(/\xc3\xa9)}', "text/css", "/%C3%A9"),
        (b" @charset 'koi8-r';a{b:url(/\xc3\xa9?\xc3\xa9)}", "text/css", "/%C3%A9?%C3%A9"),
        ("a{b:url(/é)} /* déjà vu à la française */".encode("latin-1"), "text/css", "/%C3%A9"),
    ],
)  # fmt: skip
def test_a_style_sheet_in_its_encoding(body: bytes, content_type: str, found: str) -> None:
    sheet = read(body, content_type, path="/s.css", reader=reader(requisites=True))
    assert links(sheet, "asset") == [found]
