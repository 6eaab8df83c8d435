"""What strangers send cannot trip the readers: properties, and what fuzzing once found."""

from __future__ import annotations

import pytest
from helpers.strangers import READERS
from hypothesis import given, settings
from hypothesis import strategies as st

PIECES = st.sampled_from(
    [
        b"<a href=", b"<base href='", b"<meta charset=", b"<meta http-equiv=refresh content='0;",
        b"<img srcset='a 1x, b 2x'", b"<script>", b"<!--", b"-->", b"</", b">", b"'", b'"',
        b"<svg>", b"<template>", b"con", b"aux.", b"<title>", b"http://", b"https://", b"//",
        b"user:pw@", b"[::1]", b":80",
        b"%2e%2e/", b"../", b"..\\", b"?a=b&utm_source=x", b"#f", b"\0", b"\r\n", b"\xff\xfe",
        b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"x\x9c", b"gzip", b"text/html",
        b"; charset=utf-16\n", b"robots\n", b"User-agent: *\nDisallow: /", b"Set-Cookie: a=b",
        b"; Domain=com", b"; Secure", b"Sun, 06 Nov 1994 08:49:37 GMT", b"\xed\xa0\x80", b"&#0;",
        "ﬀ。".encode(), "\u202e\u2066".encode(), b"\x1b]0;x\x07", b"xn--", b"javascript:", b"data:",
        b" 200\r\n", b"\r\n\r\n", b"Content-Length: 3\r\n", b"3\r\n", b"0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ]
)  # fmt: skip
STREAM = st.lists(st.one_of(PIECES, st.binary(max_size=12)), max_size=30).map(b"".join)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=STREAM)
def test_readers_answer_whatever_comes(name: str, data: bytes) -> None:
    READERS[name](data)


FOUND = (
    ("file", b"%2e%2e/"),  # a host of dots alone made an absolute path
    ("file", b"con/aux.x/nul?lpt9"),
    ("address", bytes([254, 192]) + bytes(14)),  # fec0::/10 counts as global in Python
)
"""What a long run tripped over, kept."""


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_fixed(name: str, data: bytes) -> None:
    READERS[name](data)
