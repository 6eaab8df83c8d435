"""Answers as real servers send them, right and wrong: cases one by one, and a grammar of them.

`CASES` are single deviations. `recorded()` is what curl, Chromium and this program made of each
(tests/http_answers.json). `generated(number, seed)` combines them.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

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
