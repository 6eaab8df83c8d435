"""Answers as real servers send them, right and wrong: cases one by one, and a grammar of them.

`CASES` are single deviations. `recorded()` is what curl, Chromium and this program made of each
(tests/http_answers.json). `generated(number, seed)` combines them.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = b'<!doctype html><title>t</title><a href="/got">x</a>'
RECORD = Path(__file__).with_suffix(".json")

TYPE = b"Content-Type: text/html\r\n"
CLOSE = b"Connection: close\r\n"
LENGTH = b"Content-Length: 51\r\n"
NONE = b"Content-Length: 0\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TO = b"Location: /got\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
FOUND = b"HTTP/1.1 302 Found\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
DEFLATE = b"Content-Encoding: deflate\r\n"
ZIPPED = gzip.compress(PAGE, mtime=0)


def chunks(*parts: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + last


def sized(size: bytes, after: bytes = b"\r\n", last: bytes = b"0\r\n\r\n") -> bytes:
    """The page as one chunk whose size line is given."""
    return size + PAGE + after + last


def answer(fields: bytes, body: bytes = PAGE, status: bytes = OK) -> bytes:
    return status + TYPE + fields + b"\r\n" + body


def closing(fields: bytes, body: bytes = PAGE, status: bytes = OK) -> bytes:
    return answer(CLOSE + fields, body, status)


def odd(line: bytes) -> bytes:
    return OK + line + b"\r\n" + TYPE + CLOSE + LENGTH + b"\r\n" + PAGE


def said(status: bytes) -> bytes:
    return closing(LENGTH, status=status)


CASES: dict[str, bytes] = {
    # framing: length
    "length": closing(LENGTH),
    "length, kept open": answer(LENGTH),
    "to the end": closing(b""),
    "length twice": closing(LENGTH + LENGTH),
    "length twice, by a comma": closing(b"Content-Length: 51, 51\r\n"),
    "two lengths": closing(LENGTH + b"Content-Length: 5\r\n"),
    "two lengths, by a comma": closing(b"Content-Length: 51, 5\r\n"),
    "length negative": closing(b"Content-Length: -1\r\n"),
    "length with a plus": closing(b"Content-Length: +51\r\n"),
    "length empty": closing(b"Content-Length: \r\n"),
    "length a word": closing(b"Content-Length: abc\r\n"),
    "length with letters": closing(b"Content-Length: 51abc\r\n"),
    "length a decimal": closing(b"Content-Length: 51.0\r\n"),
    "length with zeros": closing(b"Content-Length: 00051\r\n"),
    "length beyond 64 bits": closing(b"Content-Length: 99999999999999999999999\r\n"),
    "length in quotes": closing(b'Content-Length: "51"\r\n'),
    "length folded": closing(b"Content-Length:\r\n 51\r\n", PAGE + b"more"),
    "length, space before the colon": closing(b"Content-Length : 51\r\n", PAGE + b"more"),
    "more than announced": closing(LENGTH, PAGE + b"</html>"),
    "more than announced, kept open": answer(LENGTH, PAGE + b"</html>"),
    "less than announced": closing(b"Content-Length: 500\r\n"),
    # framing: chunks
    "chunks": closing(CHUNKED, chunks(PAGE[:20], PAGE[20:])),
    "chunks and length": closing(CHUNKED + LENGTH, chunks(PAGE)),
    "length and chunks": closing(LENGTH + CHUNKED, chunks(PAGE)),
    "chunks and a wrong length": closing(CHUNKED + b"Content-Length: 3\r\n", chunks(PAGE)),
    "identity": closing(LENGTH + b"Transfer-Encoding: identity\r\n"),
    "identity to the end": closing(b"Transfer-Encoding: identity\r\n"),
    "unknown transfer coding": closing(LENGTH + b"Transfer-Encoding: foo\r\n"),
    "empty transfer coding": closing(LENGTH + b"Transfer-Encoding: \r\n"),
    "chunked, identity": closing(b"Transfer-Encoding: chunked, identity\r\n", chunks(PAGE)),
    "identity, chunked": closing(b"Transfer-Encoding: identity, chunked\r\n", chunks(PAGE)),
    "chunked twice": closing(CHUNKED + CHUNKED, chunks(PAGE)),
    "CHUNKED": closing(b"TRANSFER-ENCODING: CHUNKED\r\n", chunks(PAGE)),
    "gzip, chunked": closing(b"Transfer-Encoding: gzip, chunked\r\n", chunks(ZIPPED)),
    "gzip as transfer coding": closing(b"Transfer-Encoding: gzip\r\n", ZIPPED),
    "chunks that are none": closing(CHUNKED),
    "chunks in HTTP/1.0": closing(CHUNKED, chunks(PAGE), b"HTTP/1.0 200 OK\r\n"),
    "chunk extension": closing(CHUNKED, sized(b"33;a=b\r\n")),
    "chunk extension in quotes": closing(CHUNKED, sized(b'33;a="b;c"\r\n')),
    "chunk size, space after": closing(CHUNKED, sized(b"33  \r\n")),
    "chunk size, tab after": closing(CHUNKED, sized(b"33\t\r\n")),
    "chunk size, space before": closing(CHUNKED, sized(b" 33\r\n")),
    "chunk size with zeros": closing(CHUNKED, sized(b"0000000033\r\n")),
    "chunk size 0x": closing(CHUNKED, sized(b"0x33\r\n")),
    "chunk size 10x": closing(CHUNKED, sized(b"10x\r\n")),
    "chunk size with a plus": closing(CHUNKED, sized(b"+33\r\n")),
    "chunk size and a word": closing(CHUNKED, sized(b"33 foo\r\n")),
    "chunks by LF": closing(CHUNKED, sized(b"33\n", b"\n", b"0\n\n")),
    "chunk size by LF": closing(CHUNKED, sized(b"33\n")),
    "chunk ends by LF": closing(CHUNKED, sized(b"33\r\n", b"\n")),
    "chunk size by CR CR LF": closing(CHUNKED, sized(b"33\r\r\n")),
    "chunk without its end": closing(CHUNKED, sized(b"33\r\n", b"")),
    "last chunk by LF": closing(CHUNKED, sized(b"33\r\n", last=b"0\n\n")),
    "last chunk 000": closing(CHUNKED, sized(b"33\r\n", last=b"000\r\n\r\n")),
    "no last chunk": closing(CHUNKED, sized(b"33\r\n", last=b"")),
    "last chunk, no empty line": closing(CHUNKED, sized(b"33\r\n", last=b"0\r\n")),
    "chunk that is none": closing(CHUNKED, sized(b"33\r\n", last=b"zz\r\n")),
    "chunk cut": closing(CHUNKED, b"fff\r\n" + PAGE),
    "trailer": closing(CHUNKED, sized(b"33\r\n", last=b"0\r\nX-T: 1\r\n\r\n")),
    "trailer without colon": closing(CHUNKED, sized(b"33\r\n", last=b"0\r\nfoo bar\r\n\r\n")),
    "trailer with an odd name": closing(CHUNKED, sized(b"33\r\n", last=b"0\r\nX T: 1\r\n\r\n")),
    "more after the last chunk": closing(CHUNKED, chunks(PAGE) + b"more"),
    "more after the last chunk, kept open": answer(CHUNKED, chunks(PAGE) + b"more"),
    # answers without body
    "204 with a body": closing(LENGTH, status=b"HTTP/1.1 204 No Content\r\n"),
    "304 with a body": closing(LENGTH, status=b"HTTP/1.1 304 Not Modified\r\n"),
    "304 with a length": closing(LENGTH, b"", b"HTTP/1.1 304 Not Modified\r\n"),
    # field lines
    "space in a name": odd(b"PHP Warning: x"),
    "space before the colon": odd(b"X-A : b"),
    "no name": odd(b": b"),
    "latin-1 in a name": odd(b"X-\xe9: b"),
    "slash in a name": odd(b"X/A: b"),
    "brackets in a name": odd(b"X[0]: b"),
    "line without colon": odd(b"foobar"),
    "NUL in a value": odd(b"X-A: a\0b"),
    "control character in a value": odd(b"X-A: a\1b"),
    "bare CR in a value": odd(b"X-A: a\rX-B: b"),
    "folded": odd(b"X-A: a\r\n b"),
    "folded often": odd(b"X-A: a" + b"\r\n b" * 20_000),
    "folded at once": odd(b" X-A: a"),
    "latin-1 in a value": odd(b"X-A: \xe9"),
    "a field of 40 kB": odd(b"X-A: " + b"y" * 40_000),
    "600 fields": odd(b"\r\n".join(b"X-%d: 1" % number for number in range(600))),
    "Sec-WebSocket-Key1": odd(b"Sec-WebSocket-Key1: x"),
    # line ends
    "LF": closing(LENGTH).replace(b"\r\n", b"\n"),
    "CR CR LF": closing(LENGTH).replace(b"\r\n", b"\r\r\n"),
    "CR CR LF once": odd(b"X: y\r"),
    "CR alone": closing(LENGTH).replace(b"\r\n", b"\r"),
    # status line
    "two spaces": said(b"HTTP/1.1  200  OK\r\n"),
    "tabs": said(b"HTTP/1.1\t200\tOK\r\n"),
    "no reason": said(b"HTTP/1.1 200\r\n"),
    "no reason, a space": said(b"HTTP/1.1 200 \r\n"),
    "latin-1 reason": said(b"HTTP/1.1 200 \xe9t\xe9\r\n"),
    "reason joined": said(b"HTTP/1.1 200OK\r\n"),
    "reason of 9 kB": said(b"HTTP/1.1 200 " + b"y" * 9_000 + b"\r\n"),
    "code of two digits": said(b"HTTP/1.1 20 OK\r\n"),
    "code of four digits": said(b"HTTP/1.1 2000 OK\r\n"),
    "code 000": said(b"HTTP/1.1 000 OK\r\n"),
    "code 999": said(b"HTTP/1.1 999 OK\r\n"),
    "no code": said(b"HTTP/1.1 OK\r\n"),
    "HTTP/1.0": answer(LENGTH, status=b"HTTP/1.0 200 OK\r\n"),
    "HTTP/1.2": said(b"HTTP/1.2 200 OK\r\n"),
    "HTTP/1": said(b"HTTP/1 200 OK\r\n"),
    "HTTP/2": said(b"HTTP/2 200 OK\r\n"),
    "HTTP/3": said(b"HTTP/3 200 OK\r\n"),
    "http/1.1": said(b"http/1.1 200 OK\r\n"),
    "HTTP without version": said(b"HTTP 200 OK\r\n"),
    "ICY": said(b"ICY 200 OK\r\n"),
    "HTTP/0.9": PAGE,
    # before the head
    "empty line before": b"\r\n" + closing(LENGTH),
    "space before": b" " + closing(LENGTH),
    "BOM before": b"\xef\xbb\xbf" + closing(LENGTH),
    "nine bytes before": b"123456789" + closing(LENGTH),
    "100 before": b"HTTP/1.1 100 Continue\r\n\r\n" + closing(LENGTH),
    "103 with an odd name before": b"HTTP/1.1 103 Early\r\nLi nk: x\r\n\r\n" + closing(LENGTH),
    # the end comes early
    "nothing": b"",
    "ends in the status line": b"HTTP/1.1 200 OK",
    "ends in the head": OK + TYPE,
    "redirect ends in the head": FOUND + TO,
    "redirect ends in Location": FOUND + TO[:-4],
    # redirects
    "redirect": closing(TO + NONE, b"", FOUND),
    "redirect with less": closing(TO + b"Content-Length: 500\r\n", b"x", FOUND),
    "redirect with more": closing(TO + NONE, b"moved", FOUND),
    "redirect, chunks that are none": closing(TO + CHUNKED, b"moved", FOUND),
    "redirect, folded": closing(b"Location:\r\n /got\r\n" + NONE, b"", FOUND),
    "redirect, space before the colon": closing(b"Location : /got\r\n" + NONE, b"", FOUND),
    "redirect, after a bare CR": closing(b"X: a\rLocation: /got\r\n" + NONE, b"", FOUND),
    "redirect, twice": closing(TO + TO + NONE, b"", FOUND),
    "redirect, two targets": closing(TO + b"Location: /b\r\n" + NONE, b"", FOUND),
    "redirect to nowhere": closing(LENGTH, PAGE, FOUND),
    "redirect, latin-1": closing(b"Location: /caf\xe9\r\n" + NONE, b"", FOUND),
    "redirect, UTF-8": closing(b"Location: /caf\xc3\xa9\r\n" + NONE, b"", FOUND),
    "redirect, GBK in the query": closing(b"Location: /q?x=\xd6\xd0\r\n" + NONE, b"", FOUND),
    "redirect, a space": closing(b"Location: /a b\r\n" + NONE, b"", FOUND),
    "redirect, an empty query": closing(b"Location: /p?\r\n" + NONE, b"", FOUND),
    # content codings
    "gzip": closing(GZIP, ZIPPED),
    "gzip with the plain length": closing(
        GZIP + b"Content-Length: 5000\r\n", gzip.compress(PAGE * 99, mtime=0)
    ),
    "gzip, wrong checksum": closing(GZIP, ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:]),
    "gzip, wrong size": closing(GZIP, ZIPPED[:-4] + b"\0\0\0\1"),
    "gzip, no trailer": closing(GZIP, ZIPPED[:-8]),
    "gzip, cut": closing(GZIP, ZIPPED[:-20]),
    "gzip, more after it": closing(GZIP, ZIPPED + b"more"),
    "gzip twice, one after the other": closing(GZIP, ZIPPED + ZIPPED),
    "gzip of gzip": closing(
        b"Content-Encoding: gzip, gzip\r\n", gzip.compress(ZIPPED, mtime=0)
    ),
    "gzip that is none": closing(GZIP, PAGE),
    "gzip, nothing": closing(GZIP + NONE, b""),
    "x-gzip": closing(b"Content-Encoding: x-gzip\r\n", ZIPPED),
    "GZIP": closing(b"Content-Encoding: GZIP\r\n", ZIPPED),
    "deflate": closing(DEFLATE, zlib.compress(PAGE)),
    "deflate, raw": closing(DEFLATE, zlib.compress(PAGE, wbits=-15)),
    "deflate, wrong checksum": closing(DEFLATE, zlib.compress(PAGE)[:-4] + b"\0\0\0\0"),
    "coding utf-8": closing(b"Content-Encoding: utf-8\r\n"),
    "coding none": closing(b"Content-Encoding: none\r\n"),
    "coding identity": closing(b"Content-Encoding: identity\r\n"),
    "coding empty": closing(b"Content-Encoding: \r\n"),
}  # fmt: skip

WHY = {
    "two lengths": "RFC 9112 §6.3: where the answer ends is anybody's guess",
    "two lengths, by a comma": "RFC 9112 §6.3: where the answer ends is anybody's guess",
    "gzip, chunked": "as curl; browsers show the bytes of gzip",
    "gzip as transfer coding": "as curl; browsers show the bytes of gzip",
    "code of two digits": "as curl",
    "code of four digits": "as curl",
    "code 000": "as curl",
    "ends in the head": "not told from a server that died: tried again",
    "ends in the status line": "not told from a server that died: tried again",
    "redirect ends in Location": "a part of an address leads elsewhere",
    "redirect, after a bare CR": "RFC 9112 §2.2: a bare CR is a space; else it could forge a field",
    "redirect, two targets": "as curl: the first",
    "chunks that are none": "what came before the error is nothing",
    "CR alone": "not told from a server that died: tried again",
    "gzip twice, one after the other": "RFC 1952 §2.2: streams one after the other are one",
    "gzip that is none": "the page is there to be read",
    "deflate, wrong checksum": "as a wrong checksum of gzip",
    "gzip with the plain length": "nothing is missing: the length is that in the gzip trailer",
}
"""Why an answer is read as it is, where that is not said by who else does so."""


class Made(NamedTuple):
    """An answer of the grammar, and the names of what is odd about it."""

    tags: tuple[str, ...]
    raw: bytes


EXPLAINED: dict[str, str] = {
    "line without colon": "curl 7 refuses the answer, Chromium passes over the line",
    "space before the colon of a length": "curl does not see the field, Chromium does",
    "folded at once": "curl refuses the answer, Chromium reads it",
    "length that is no number": "curl refuses the answer, Chromium reads to the end",
    "two lengths": "curl takes the last one; here and in Chromium there is no answer",
    "unknown transfer coding": "curl refuses the answer, Chromium reads it",
    "empty line before": "curl refuses the answer, Chromium skips four bytes",
    "bytes before": "curl refuses the answer, Chromium skips four bytes",
    "tabs": "curl refuses the answer, Chromium reads it",
    "no code": "curl refuses the answer, browsers take it for 200",
    "other version": "curl refuses the answer, Chromium reads it",
    "checksum": "curl ends with an error after the page; Chromium takes the page",
    "more after gzip": "curl ends with an error after the page; Chromium takes the page",
    "gzip that is none": "curl ends with an error; the page is there to be read",
    "unknown coding": "curl ends with an error; the page is there to be read",
    "gzip cut": "curl and Chromium take what came for all; the record says that it breaks off",
    "redirect cut": "curl ends with an error; where it leads is known",
    "trailer without colon": "curl ends with an error after the page; Chromium takes the page",
    "chunk size with zeros": "curl refuses more than 16 digits, Chromium does not",
    "no empty line": "what follows is a trailer: curl refuses one without colon",
    "empty query": "curl tells the address without its question mark",
    "folded redirect": "curl does not unfold Location, Chromium does",
    "coding beside a length": "curl reads to the end, Chromium as far as the length",
    "length beyond 64 bits": "what follows gzip is part of the body: curl ends with an error",
    "raw deflate": "curl looks at its first chunk only",
}
"""Differences from curl that are meant, by what is odd about the answer."""

_STATUS = [
    *[("", OK)] * 48,
    ("", b"HTTP/1.1 200\r\n"),
    ("", b"HTTP/1.1 200 \r\n"),
    ("", b"HTTP/1.1  200  OK\r\n"),
    ("", b"HTTP/1.1 200OK\r\n"),
    ("", b"HTTP/1.1 200 \xe9t\xe9\r\n"),
    ("", b"HTTP/1.1 200 OK\n"),
    ("", b"HTTP/1.1 200 OK\r\r\n"),
    ("", b"http/1.1 200 ok\r\n"),
    ("", b"HTTP/1.0 200 OK\r\n"),
    ("", b"HTTP/1.1 404 Not Found\r\n"),
    ("", b"HTTP/1.1 599 \r\n"),
    ("tabs", b"HTTP/1.1\t200\tOK\r\n"),
    ("no code", b"HTTP/1.1 OK\r\n"),
    ("other version", b"HTTP/1.2 200 OK\r\n"),
    ("other version", b"HTTP/1 200 OK\r\n"),
    ("other version", b"HTTP 200 OK\r\n"),
]
_BEFORE = [
    *[("", b"")] * 80,
    ("", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ("", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    ("", b"HTTP/1.1 103 Early Hints\r\nLi nk: </x>\r\n\r\n"),
    ("empty line before", b"\r\n"),
    ("bytes before", b"x"),
    ("bytes before", b"\xef\xbb\xbf"),
]
_FIELDS = [
    ("", b"X-A: b\r\n"),
    ("", b"PHP Warning: x\r\n"),
    ("", b"X-A : b\r\n"),
    ("", b": b\r\n"),
    ("", b"X-\xe9: b\r\n"),
    ("", b"X/A[0](b): b\r\n"),
    ("", b"X-A: a\1b\x7f\r\n"),
    ("", b"X-A: a\rX-B: b\r\n"),
    ("", b"X-A: a\r\n b\r\n\tc\r\n"),
    ("", b"X-A: \xe9\xff\r\n"),
    ("", b"X-A: b\n"),
    ("", b"X-A: b\r\r\n"),
    ("", b"X-A:" + b" " * 300 + b"b\r\n"),
    ("", b"X-A: " + b"y" * 9000 + b"\r\n"),
    ("", b"X-A:\r\n"),
    ("", b"Server: a\r\nServer: b\r\nETag: a\r\nETag: b\r\n"),
    ("line without colon", b"foobar\r\n"),
]
_LENGTHS = [
    *[("", b"Content-Length: @\r\n")] * 8,
    ("", b"CONTENT-LENGTH:@\r\n"),
    ("", b"Content-Length:   @  \r\n"),
    ("", b"Content-Length: 000@\r\n"),
    ("", b"Content-Length: @\r\nContent-Length: @\r\n"),
    ("", b"Content-Length: @, @\r\n"),
    ("", b"Content-Length: +@\r\n"),
    ("", b"Content-Length: @\n"),
    ("coding beside a length", b"Transfer-Encoding: identity\r\nContent-Length: @\r\n"),
    ("", b"Transfer-Encoding: identity\r\n"),
    ("coding beside a length", b"Transfer-Encoding: \r\nContent-Length: @\r\n"),
    ("", b""),
    ("length beyond 64 bits", b"Content-Length: 9@99999999999999999999\r\n"),
    ("length that is no number", b"Content-Length: -@\r\n"),
    ("length that is no number", b"Content-Length: abc\r\n"),
    ("length that is no number", b"Content-Length: \r\n"),
    ("space before the colon of a length", b"Content-Length : @\r\n"),
    ("two lengths", b"Content-Length: @\r\nContent-Length: 5\r\n"),
    ("unknown transfer coding", b"Transfer-Encoding: foo\r\nContent-Length: @\r\n"),
]
_CHUNKED = [
    *[("", CHUNKED)] * 6,
    ("", b"Transfer-Encoding: Chunked\r\n"),
    ("", b"Transfer-Encoding:  chunked  \r\n"),
    ("", b"Transfer-Encoding: identity, chunked\r\n"),
    ("", b"Transfer-Encoding: chunked, identity\r\n"),
    ("", CHUNKED + CHUNKED),
    ("", CHUNKED + b"Content-Length: 7\r\n"),
    ("", b"Content-Length: 7\r\n" + CHUNKED),
]
_SIZES = [
    *[("", b"%x\r\n")] * 6,
    ("", b"%X\r\n"),
    ("", b"%x;a=b\r\n"),
    ("", b'%x; a="b;c"\r\n'),
    ("", b"%x  \r\n"),
    ("", b"%x\n"),
    ("", b"0%x\r\n"),
    ("chunk size with zeros", b"00000000000000000%x\r\n"),
]
_LAST = [
    *[("", b"0\r\n\r\n")] * 6,
    ("", b"0;a\r\n\r\n"),
    ("", b"000\r\n\r\n"),
    ("", b"0\n\n"),
    ("", b"0\r\nX-T: 1\r\nX T: 2\r\n\r\n"),
    ("trailer without colon", b"0\r\nfoo bar\r\n\r\n"),
    ("no empty line", b"0\r\n"),
    ("", b""),
    ("", b"zz\r\n"),
]
_CODINGS = [
    *[("", b"", PAGE)] * 10,
    ("", GZIP, ZIPPED),
    ("", b"Content-Encoding: x-gzip\r\n", ZIPPED),
    ("", b"Content-Encoding:GZIP\r\n", ZIPPED),
    ("", DEFLATE, zlib.compress(PAGE)),
    ("raw deflate", DEFLATE, zlib.compress(PAGE, wbits=-15)),
    ("", b"Content-Encoding: identity\r\n", PAGE),
    ("", b"Content-Encoding: gzip, identity\r\n", ZIPPED),
    ("", b"Content-Encoding: \r\n", PAGE),
    ("", GZIP, ZIPPED[:-8]),
    ("checksum", GZIP, ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:]),
    ("checksum", DEFLATE, zlib.compress(PAGE)[:-4] + b"\0\0\0\0"),
    ("more after gzip", GZIP, ZIPPED + b"more"),
    ("gzip that is none", GZIP, PAGE),
    ("gzip cut", GZIP, ZIPPED[:-20]),
    ("unknown coding", b"Content-Encoding: utf-8\r\n", PAGE),
    ("unknown coding", b"Content-Encoding: none\r\n", PAGE),
]
_MORE = [*[("", b"")] * 6, ("", b"</html>"), ("", b"\r\n"), ("", OK + b"\r\n")]
_REDIRECTS = [
    ("", b"Location: /got\r\n"),
    ("", b"Location: /caf\xe9\r\n"),
    ("", b"Location: /caf\xc3\xa9?x=\xd6\xd0\r\n"),
    ("", b"Location: /a b\r\n"),
    ("empty query", b"Location: /p?\r\n"),
    ("", b"Location: ../x/./y\r\n"),
    ("", b"Location: ?q\r\n"),
    ("", b"LOCATION:/got\r\n"),
    ("folded redirect", b"Location:\r\n /got\r\n"),
    ("", b"Location: /got\r\nLocation: /got\r\n"),
]
_REDIRECT_BODIES = [
    *[("", NONE, b"")] * 4,
    ("", LENGTH, PAGE),
    ("", NONE, b"moved"),
    ("", b"", b"moved"),
    ("", CHUNKED, chunks(b"moved")),
    ("redirect cut", b"Content-Length: 500\r\n", b"x"),
    ("redirect cut", CHUNKED, b"moved"),
]


class _Dice:
    """Picks parts of an answer, and notes what is odd about them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tags: list[str] = []

    def of(self, choices: Sequence[tuple[str, bytes]]) -> bytes:
        tag, raw = self.random.choice(choices)
        self.tags += [tag] if tag else []
        return raw

    def pair(self, choices: Sequence[tuple[str, bytes, bytes]]) -> tuple[bytes, bytes]:
        tag, first, second = self.random.choice(choices)
        self.tags += [tag] if tag else []
        return first, second


def generated(number: int, seed: int = 1) -> Iterator[Made]:
    """Answers in which several things are odd."""
    dice = _Dice(seed)
    choice = dice.random.choice
    for _ in range(number):
        dice.tags = []
        before = dice.of(_BEFORE)
        fields = b"".join(dice.of(_FIELDS) for _ in range(choice([0, 0, 1, 1, 2, 3])))
        if dice.random.random() < 0.15:
            status, head, body = _redirect(dice)
        else:
            status, head, body = _page(dice)
        parts = [fields, choice([CLOSE, CLOSE, b""]) + TYPE + head]
        dice.random.shuffle(parts)
        end = choice([b"\r\n", b"\r\n", b"\r\n", b"\n"])
        yield Made(tuple(dice.tags), before + status + b"".join(parts) + end + body)


def _redirect(dice: _Dice) -> tuple[bytes, bytes, bytes]:
    status = b"HTTP/1.1 %d Moved\r\n" % dice.random.choice([301, 302, 303, 307, 308])
    to = dice.of(_REDIRECTS)
    frame, body = dice.pair(_REDIRECT_BODIES)
    return status, to + frame, body


def _page(dice: _Dice) -> tuple[bytes, bytes, bytes]:
    status = dice.of(_STATUS)
    head, body = dice.pair(_CODINGS)
    if dice.random.random() < 0.4 and b"1.0" not in status:
        head += dice.of(_CHUNKED)
        middle = dice.random.randrange(1, len(body))
        chunk = [
            dice.of(_SIZES) % len(part) + part + dice.random.choice([b"\r\n", b"\r\n", b"\n"])
            for part in (body[:middle], body[middle:])
        ]
        body = b"".join(chunk) + dice.of(_LAST)
    else:
        head += dice.of(_LENGTHS).replace(b"@", b"%d" % len(body))
    if b"ontent-Length" in head or b"hunked" in head:
        body += dice.of(_MORE)
    return status, head, body


def recorded() -> dict[str, dict[str, str]]:
    """What curl, Chromium and this program (`here`) made of each case, as `told` tells it."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text("utf-8"))
    return found
