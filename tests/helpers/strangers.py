"""Everything that reads what strangers send, each as a function of bytes that may not fail.

Shared by the quick properties (test_strangers.py) and the coverage-guided run (fuzz.py). A reader
answers, or raises the one error of ours that it names; anything else is a bug.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import yarl
from aiohttp.http_exceptions import BadHttpMessage

from crawler.cli.formatting import harmless, plain
from crawler.config.model import Config
from crawler.config.redaction import split_login
from crawler.errors import ParseError
from crawler.fetch.address_guard import kind_of
from crawler.fetch.cookie_jar import CookieJar
from crawler.fetch.lenient_reader import LenientReader
from crawler.output.body_files import path_for
from crawler.parse.attribute_values import parse_srcset
from crawler.parse.decode import decompress, to_text
from crawler.parse.html import read_html
from crawler.parse.markup_limits import within_bounds
from crawler.parse.native import joined
from crawler.parse.reader import PageReader
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.retry_policy import parse_retry_after
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, fingerprint, host_key, origin, path_of, registered_domain
from crawler.records import CrawlUrl, Kind

CONFIG = Config()
URLS = Urls(CONFIG.urls)
BASE = "http://example.com/a/b?c"
READER = PageReader(
    ReaderSettings(
        urls=URLS,
        scope=Scope(CONFIG.scope, [BASE]),
        limits=CONFIG.scope,
        parse=CONFIG.parse,
        fetch=CONFIG.fetch,
    )
)
ENCODINGS = ("gzip", "deflate", "br", "zstd", "gzip, br", "x-gzip, zstd, deflate", "nosuch", "")
LIMIT = 300_000


def url(data: bytes) -> None:
    """A link as a page has it: canonical once is canonical for ever, and always a web address."""
    href = data.decode("utf-8", "surrogateescape")
    for found in (URLS.join(BASE, href), URLS.canonical(href)):
        if found is None:
            continue
        assert URLS.canonical(found) == found
        assert found.startswith(("http://", "https://"))
        assert "@" not in found.split("/", 3)[2]
        assert found.isascii()
        assert found.isprintable()
        host = host_key(found)
        fingerprint(found, host)
        registered_domain(host)
        assert found == origin(found) + path_of(found)
        yarl.URL(found, encoded=True)
        file(found.partition("://")[2].encode())
    bare, _ = split_login(href)
    assert split_login(bare)[0].count("@") <= href.count("@")


def file(data: bytes) -> None:
    """The path of a URL's body stays in its folder, on any file system."""
    found = URLS.canonical(f"http://{data.decode('utf-8', 'replace')}")
    if found is None:
        return
    path = path_for(found, "text/html")
    assert path.isascii()
    assert path == path.lower()
    assert len(path) < 2000
    for part in path.split("/"):
        assert part not in {"", ".", ".."}
        assert len(part) < 200
        assert not set(part) & set('\\:*?"<>|\0')
        assert not part.endswith((".", " "))
        assert part.partition(".")[0] not in {"con", "nul", "prn", "aux", "com1", "lpt9"}


def html(data: bytes) -> None:
    """A page's markup."""
    text = data.decode("utf-8", "replace")
    problems: list[str] = []
    reasons: list[str] = []
    kept = within_bounds(text, problems, reasons)
    assert (kept == text) == (not problems)
    assert text.startswith(kept) or not reasons
    read_html(kept, forms=True)
    assert joined([text]) == " ".join(text.split())
    for each in parse_srcset(text):
        assert each


def page(data: bytes) -> None:
    """A whole page: the first byte picks the encoding, the next line is the content type."""
    head, _, rest = data[1:].partition(b"\n")
    encoding = ENCODINGS[(data[:1] or b"\0")[0] % len(ENCODINGS)]
    headers = (("Content-Type", head.decode("latin-1")), ("Content-Encoding", encoding))
    kind = Kind.ROBOTS if head == b"robots" else Kind.PAGE
    with contextlib.suppress(ParseError):
        extract = READER.read(CrawlUrl(BASE, "example.com", kind=kind), headers, rest)
        assert extract.bytes_body <= CONFIG.fetch.max_body
        assert all(found[0].startswith(("http://", "https://")) for found in extract.found)


def encoding(data: bytes) -> None:
    """A compressed body: never more than the limit, and a broken one is no error."""
    for name in ENCODINGS:
        with contextlib.suppress(ParseError):
            made, _ = decompress(data, name, limit=LIMIT, ratio=100)
            assert len(made) <= LIMIT


def charset(data: bytes) -> None:
    """Bytes in whatever they say they are in."""
    label, _, rest = data.partition(b"\n")
    text, _, source = to_text(rest, label.decode("latin-1"))
    text.encode()
    assert source in {"bom", "http", "meta", "detected", "default"}


def header(data: bytes) -> None:
    """Values that are read by hand."""
    value = data.decode("latin-1")
    wait = parse_retry_after(value, 0.0)
    assert wait is None or wait >= 0
    jar = CookieJar()
    jar.take([value], "https://a.example.com/")
    assert all(one.domain.endswith("example.com") for one in jar)


def screen(data: bytes) -> None:
    """What a terminal is shown."""
    text = data.decode("utf-8", "replace")
    for shown in (harmless(text), plain(text)):
        assert not any(char in shown for char in "\x1b\x07\n\r\u202e\u2066\x9b\u2028")


def address(data: bytes) -> None:
    """Four or sixteen bytes: what an IPv6 address embeds is judged as what it is."""
    import ipaddress  # noqa: PLC0415

    if len(data) >= 4:
        four = ipaddress.IPv4Address(data[:4])
        for form in (f"::ffff:{four}", f"64:ff9b::{four}"):
            assert bool(kind_of(form)) == bool(kind_of(str(four)))
    if len(data) >= 16:
        kind_of(str(ipaddress.IPv6Address(data[:16])))


class _Deaf:
    """A protocol that nobody hears of."""

    def pause_reading(self) -> None: ...
    def resume_reading(self, *, resume_parser: bool = True) -> None: ...


def http(data: bytes) -> None:
    """An answer that the strict parser refused: however it is cut, the same is read of it."""
    small = [data[at : at + 7] for at in range(0, len(data), 7)]
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        one, other = (
            _answered(loop, pieces) for pieces in ([b"HTTP/1.1" + data], [b"HTTP/1.1", *small])
        )
    assert one == other or not one


def _answered(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> list[Any]:
    """Status, headers and length of body of each answer."""
    deaf: Any = _Deaf()
    lenient = LenientReader(deaf, loop, BadHttpMessage("refused"), limit=1 << 16, body=True, slop=4)
    messages: list[Any] = []
    with contextlib.suppress(BadHttpMessage):
        for piece in pieces:
            messages += lenient.feed_data(piece)[0]
    return [(head.code, head.raw_headers, body.total_bytes) for head, body in messages]


READERS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (url, file, html, page, encoding, charset, header, screen, address, http)
}
