"""From bytes on the wire to text: Content-Encoding undone within limits, charset found. Blocking.

A bomb never exists in memory: every layer is undone in steps of 64 KiB and stops at its cap.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import brotli
import webencodings
from backports import zstd
from turbohtml.detect import detect

from crawler.errors import ParseError

STEP: Final = 64 * 1024
FREE: Final = 1024 * 1024
"""Below a megabyte of output the ratio does not matter."""

AGAIN: Final = 16
"""Chunks of a stream, 1 MiB, that are read again when its checksum is wrong."""

MAX_LAYERS: Final = 3
PRESCAN: Final = 1024
"""Bytes in which a `<meta charset>` is looked for before a page is parsed (WHATWG HTML, "prescan a
byte stream"); one that comes later makes it be read again.
"""

GUESSED: Final = frozenset({"detected", "default"})
"""Sources of a charset that a later `<meta>` overrules."""

SAMPLE: Final = 64 * 1024
"""Bytes shown to the charset detector, which needs 2 ms for them."""

_WRONG_SUM: Final = re.compile("incorrect (data|length) check")

UNICODE: Final = frozenset({"utf-8", "utf-16le", "utf-16be", "replacement"})
"""Encodings whose pages have their queries in UTF-8, as have all paths (WHATWG URL)."""

NOT_ASCII: Final = frozenset({"iso-2022-jp", "replacement"})
"""Encodings (of those that markup can name) in which ASCII bytes may mean something else."""

_WINDOW_LOG: Final = 23
"""8 MiB: the largest window an HTTP client must accept (RFC 9659)."""


def decompress(
    body: bytes | Path, encodings: str, *, limit: int, ratio: float
) -> tuple[bytes, list[str]]:
    """The body without its Content-Encodings, and what was wrong with it.

    A stream that breaks off keeps what came of it, as in browsers. Raises ParseError("too-large")
    beyond `limit` bytes or, past a megabyte, beyond `ratio` times the size on the wire.
    """
    problems: list[str] = []
    layers = _layers(encodings, problems)
    size = body.stat().st_size if isinstance(body, Path) else len(body)
    if not layers or not size:
        if size > limit:
            raise ParseError("too-large", f"{size} bytes, {limit} allowed")
        return (body.read_bytes() if isinstance(body, Path) else body), problems
    allowed = min(limit, max(FREE, int(size * ratio)))
    stream = _chunks(body)
    for layer in layers:
        stream = _capped(_LAYERS[layer](stream, problems), allowed)
    return b"".join(stream), problems


def stream(body: bytes | Path, encodings: str, problems: list[str]) -> Iterator[bytes]:
    """The body piece by piece, for who stops by himself: no limit of size or ratio here.

    Raises ParseError("encoding") as `decompress` does.
    """
    return unpack(_chunks(body), encodings, problems)


def unpack(pieces: Iterable[bytes], encodings: str, problems: list[str]) -> Iterator[bytes]:
    """Pieces of at most 64 KiB, their Content-Encodings undone."""
    for layer in _layers(encodings, problems):
        pieces = _LAYERS[layer](pieces, problems)
    yield from pieces


def _layers(encodings: str, problems: list[str]) -> list[str]:
    """The codings to undo, in that order. One that is none (`utf-8`) changed nothing."""
    if not encodings:
        return []
    layers = []
    for coding in reversed(encodings.split(",")):
        name = coding.partition(";")[0].strip().lower()
        if name in _LAYERS:
            layers.append(name)
        elif name not in {"", "identity", "none"}:
            problems.append(f"unknown Content-Encoding {name[:40]!r}")
    if len(layers) > MAX_LAYERS:
        raise ParseError("encoding", f"{len(layers)} layers")
    return layers


def _chunks(body: bytes | Path) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield from (body[start : start + STEP] for start in range(0, len(body), STEP))
        return
    with body.open("rb") as file:
        while chunk := file.read(STEP):
            yield chunk


def _capped(pieces: Iterable[bytes], allowed: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > allowed:
            raise ParseError("too-large", f"more than {allowed} bytes when decompressed")
        yield piece


def _gzip(chunks: Iterable[bytes], problems: list[str]) -> Iterator[bytes]:
    return _inflate(chunks, problems, "gzip", lambda _: zlib.decompressobj(31))


def _deflate(chunks: Iterable[bytes], problems: list[str]) -> Iterator[bytes]:
    # RFC 9110 means zlib's format; some servers send raw deflate. The first bytes tell.
    def make(first: bytes) -> Any:
        wrapped = len(first) > 1 and first[0] & 15 == 8 and (first[0] << 8 | first[1]) % 31 == 0
        return zlib.decompressobj(15 if wrapped else -15)

    return _inflate(chunks, problems, "deflate", make)


def _inflate(
    chunks: Iterable[bytes], problems: list[str], name: str, make: Callable[[bytes], Any]
) -> Iterator[bytes]:
    state: Any = None
    came = False
    read: list[bytes] | None = []  # of the stream; None: it is too long
    out = 0  # bytes of the stream handed out
    for chunk in chunks:
        rest = chunk
        read = _more(read, chunk)
        while rest:
            if state is None:
                state = make(rest)
                read, out = [rest], 0
            try:
                piece = state.decompress(rest, STEP)
            except zlib.error as error:
                first = chunk if not came else b""
                if _WRONG_SUM.search(str(error)) and read:
                    yield from _unchecked(name, b"".join(read), out, problems)
                else:
                    yield from _broken(name, first, problems, came, chunks)
                return
            if piece:
                came = True
                out += len(piece)
                yield piece
            rest = state.unconsumed_tail
            if state.eof:
                rest = state.unused_data
                if name != "gzip" or not rest.startswith(b"\x1f\x8b"):
                    return  # trailing garbage, or nothing
                state = None
    if state is not None and not state.eof:
        problems.append(f"{name} stream breaks off")
        if piece := state.flush(STEP):
            yield piece


def _more(read: list[bytes] | None, chunk: bytes) -> list[bytes] | None:
    return None if read is None or len(read) >= AGAIN else [*read, chunk]


def _unchecked(name: str, stream: bytes, out: int, problems: list[str]) -> Iterator[bytes]:
    """The last piece of a stream, after `out` bytes, whatever its checksum says, as in Chromium:
    zlib keeps that piece to itself.
    """
    problems.append(f"{name} checksum is wrong")
    state = zlib.decompressobj(-15)
    rest = stream[_gzip_head(stream) if name == "gzip" else 2 :]
    while rest and not state.eof:
        piece = state.decompress(rest, STEP)
        rest = state.unconsumed_tail
        yield piece[out:]
        out = max(0, out - len(piece))


def _gzip_head(stream: bytes) -> int:
    """Bytes before the deflated ones (RFC 1952 §2.3)."""
    flags, at = stream[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(stream[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = stream.index(b"\0", at) + 1
    return at + (flags & 2)


def _brotli(chunks: Iterable[bytes], problems: list[str]) -> Iterator[bytes]:
    state = brotli.Decompressor()
    came = False
    for chunk in chunks:
        if state.is_finished():
            return
        rest = chunk
        while True:
            try:
                piece = state.process(rest, output_buffer_limit=STEP)
            except brotli.error:
                yield from _broken("br", chunk if not came else b"", problems, came, chunks)
                return
            rest = b""
            if piece:
                came = True
                yield piece
            if state.is_finished() or state.can_accept_more_data():
                break
    if not state.is_finished():
        problems.append("br stream breaks off")


def _zstd(chunks: Iterable[bytes], problems: list[str]) -> Iterator[bytes]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    state = zstd.ZstdDecompressor(options=options)
    came = False
    for chunk in chunks:
        rest = chunk
        while rest or not state.needs_input:
            if state.eof:
                rest = state.unused_data
                if not rest:
                    break
                state = zstd.ZstdDecompressor(options=options)
            try:
                piece = state.decompress(rest, STEP)
            except zstd.ZstdError:
                yield from _broken("zstd", chunk if not came else b"", problems, came, chunks)
                return
            rest = b""
            if piece:
                came = True
                yield piece
            elif state.needs_input:
                break
    if not state.eof:
        problems.append("zstd stream breaks off")


def _broken(
    name: str, first: bytes, problems: list[str], came: bool, chunks: Iterable[bytes]
) -> Iterator[bytes]:
    """What is left of a stream that its decoder refuses: as it is, when nothing was decoded yet."""
    if came:
        problems.append(f"{name} stream is broken")
        return
    problems.append(f"said to be {name}, but is not")
    yield first
    yield from chunks


_LAYERS: Final = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

# ── charset ──────────────────────────────────────────────────────────────────────────────────

_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_XML_ENCODING: Final = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*(["'])([^"'>]*)\1""")
_CSS_CHARSET: Final = re.compile(rb'@charset "([^"]{0,1000})";')
_ASCII_ONLY: Final = bytes([*range(0x80), *b"?" * 0x80])


def to_text(body: bytes, http_charset: str) -> tuple[str, str, str]:
    """Text, charset and where that came from, in the WHATWG order: BOM, HTTP, meta, detector."""
    for bom, name in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(name, "replace"), name.replace("16-", "16"), "bom"
    encoding = webencodings.lookup(http_charset) if http_charset else None
    if encoding is not None:
        return _decode(body, encoding), encoding.name, "http"
    encoding = _declared(body)
    if encoding is not None:
        return _decode(body, encoding), encoding.name, "meta"
    try:
        return body.decode("utf-8"), "utf-8", "detected"
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # cut off within its last character
            return body.decode("utf-8", "replace"), "utf-8", "detected"
        encoding = _detected(body)
    if encoding is not None:
        return _decode(body, encoding), encoding.name, "detected"
    return body.decode("whatwg-windows-1252"), "windows-1252", "default"


def sheet_text(body: bytes, http_charset: str) -> tuple[str, str]:
    """A style sheet's text and charset: byte order mark, HTTP, `@charset` (CSS Syntax Level 3,
    §3.2). Where nothing names one its page's would count, which is not known here: UTF-8, or what
    the bytes look like.
    """
    if not http_charset and (rule := _CSS_CHARSET.match(body)):
        encoding = _of_markup(rule[1].decode("latin-1"))
        http_charset = "" if encoding is None else encoding.name
    text, charset, _ = to_text(body, http_charset)
    return text, charset


def late_charset(labels: Iterable[str], charset: str) -> str:
    """What a `<meta>` beyond the first kilobyte makes of a page that was read as `charset` for want
    of anything better; "" where it stays (WHATWG HTML, "change the encoding").
    """
    for label in labels:
        encoding = _of_markup(label)
        if encoding is not None:
            return "" if encoding.name == charset else str(encoding.name)
    return ""


def decoded(body: bytes, charset: str) -> str:
    """The body in an encoding that is named as the standard names it."""
    return _decode(body, webencodings.lookup(charset))


def declares_utf8(body: bytes) -> bool:
    """Whether a page says itself that it is UTF-8, so that it needs no HTTP header for it."""
    if body.startswith(_BOMS[0][0]):
        return True
    encoding = _declared(body)
    return encoding is not None and encoding.name == "utf-8"


def _decode(body: bytes, encoding: Any) -> str:
    """As the Encoding standard decodes: Python's own codecs differ in all of Asia's, and turbohtml
    registers the standard's by these names (decision 0108).
    """
    if encoding.name == "utf-8":
        return body.decode("utf-8", "replace")
    return body.decode(f"whatwg-{encoding.name}")


def _declared(body: bytes) -> Any:
    """The encoding that a `<meta>` in the first kilobyte names, else an XML declaration (WHATWG
    HTML, "prescan a byte stream to determine its encoding"); UTF-16 there is a lie for UTF-8.
    """
    head = body[:PRESCAN]
    declaration = _XML_ENCODING.match(head)
    if declaration is None and b"charset" not in head.lower():
        return None
    # Of a head that is neither ASCII nor UTF-8 nor like any language only a `<meta>` is certain.
    match = detect(head.translate(_ASCII_ONLY) + b"\xff")
    if match.confidence == 1.0 and match.encoding:
        return webencodings.lookup(match.encoding)
    return None if declaration is None else _of_markup(declaration[2].decode("ascii", "replace"))


def _of_markup(label: str) -> Any:
    """The encoding that markup names; UTF-16 there is a lie, since the label could be read."""
    encoding = webencodings.lookup(label.strip())
    if encoding is None:
        return None
    if encoding.name.startswith("utf-16"):
        return webencodings.UTF8
    return webencodings.lookup("windows-1252") if encoding.name == "x-user-defined" else encoding


def _detected(body: bytes) -> Any:
    """What the bytes look like by the frequency of their pairs; None: like nothing."""
    match = detect(body[:SAMPLE])
    return webencodings.lookup(match.encoding) if match.encoding and match.confidence else None
