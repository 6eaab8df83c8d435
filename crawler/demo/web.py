"""The demo web: a graph of pages that is computed, never stored. Pure: the same seed, the same web.

A page is a number. Its address, text, size, links and errors follow from (seed, number), so a web
of ten million pages needs no more memory than one of ten.

    page n ── its children 8n+1 … 8n+8 (so every page is reachable from `/`)
           ── random pages, each in one of several spellings of the same address
           ── the navigation, twice

`pages.py` renders pages, `extra_resources.py` everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from crawler.demo.prose import SLUGS, prose

FANOUT = 8  # children of a page in the tree that makes every page reachable
SECTIONS = ("news", "guide", "blog", "docs", "letters", "people", "places", "archive")
HTML = "text/html; charset=utf-8"
WORD = 1 << 64
TRACKING = "utm_source=demo"

Share = Annotated[float, Meta(ge=0, le=1)]
Sitemap = Literal["off", "xml", "gz"]


class DemoReply(msgspec.Struct, frozen=True):
    """The response to one address. `number` is the page's; None: not a page."""

    status: int
    body: bytes = b""
    mime: str = HTML
    headers: tuple[tuple[str, str], ...] = ()
    number: int | None = None


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description of a web: everything that its pages depend on, and nothing else.

    `size` is the mean length of a page's HTML in bytes, `spread` the standard deviation of its
    logarithm. `hosts` spreads the pages over 127.0.0.1, 127.0.0.2 …, all on `port`. `broken` and
    `redirects` are shares of the random links, `busy` the share of pages that refuse the first
    `busy_times` requests (the home page never does). With `tracking`, some links carry
    `utm_source`, which is not part of the page's name. `robots` is the whole text of robots.txt;
    None: one that allows everything.
    """

    pages: Annotated[int, Meta(ge=1, le=10_000_000)] = 2000
    seed: int = 1
    size: Annotated[int, Meta(ge=0, le=50_000_000)] = 24_000
    spread: Annotated[float, Meta(ge=0, le=3)] = 0.8
    links: Annotated[int, Meta(ge=0, le=5000)] = 30  # random ones, beside children and navigation
    hosts: Annotated[int, Meta(ge=1, le=1000)] = 1
    scheme: Literal["http", "https"] = "http"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    tracking: bool = False
    broken: Share = 0.0
    redirects: Share = 0.0
    hops: Annotated[int, Meta(ge=1, le=50)] = 3  # the longest chain
    busy: Share = 0.0
    busy_times: Annotated[int, Meta(ge=1, le=250)] = 2
    retry_after: Annotated[int, Meta(ge=0)] | None = None  # seconds, sent with 503
    sitemap: Sitemap = "xml"
    sitemap_size: Annotated[int, Meta(ge=1, le=50_000)] = 50_000  # addresses in one file
    robots: str | None = None
    robots_status: Annotated[int, Meta(ge=200, le=599)] = 200
    crawl_delay: Annotated[float, Meta(ge=0)] | None = None
    traps: bool = False

    def origin(self, host: int = 0) -> str:
        """The scheme, address and port of a host."""
        return f"{self.scheme}://{literal(host)}:{self.port}"

    def path(self, number: int) -> str:
        """The canonical address of a page on its host; the hosts' first pages are their `/`."""
        return address(number, self.hosts, prose(self.seed).slugs)

    def url(self, number: int) -> str:
        """The canonical URL of a page."""
        return self.origin(number % self.hosts) + self.path(number)

    def urls(self) -> Iterator[str]:
        """Every page of this web, by its canonical URL, once."""
        return (self.url(number) for number in range(self.pages))

    def number(self, host: int, target: str) -> int | None:
        """The page behind a request target; None when it is not the name of one."""
        if self.tracking and TRACKING in target:
            target = target.replace("&" + TRACKING, "").replace("?" + TRACKING, "")
        if target == "/":
            return host if host < self.pages else None
        path, _, query = target.partition("?")
        if query.startswith("id="):
            digits = query[3:].partition("&")[0]
        else:
            digits = path.rpartition("/")[2].partition("-")[0]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 8:
            return None
        number = int(digits)
        if number >= self.pages or number % self.hosts != host:
            return None
        return number if self.path(number) == target else None

    def children(self, number: int) -> range:
        """The pages that the tree hangs below this one."""
        first = FANOUT * number + 1
        return range(min(first, self.pages), min(first + FANOUT, self.pages))

    def related(self, number: int) -> list[int]:
        """The random links of a page, as page numbers; repeats happen."""
        one, step = self.draw(number, b"links"), self.draw(number, b"step") | 1
        return [(one + i * step) % WORD % self.pages for i in range(self.links)]

    def refusals(self, number: int) -> int:
        """How many requests for a page are refused before it answers."""
        return self.busy_times if number and self.chance(number, b"busy", self.busy) else 0

    def draw(self, number: int, what: bytes) -> int:
        """A random 64-bit number that belongs to a page (or link) and a purpose."""
        text = b"%d %d" % (self.seed, number)
        return int.from_bytes(blake2b(text, digest_size=8, person=what).digest(), "little")

    def chance(self, number: int, what: bytes, share: float) -> bool:
        """Whether a page (or link) is among a share of all."""
        return share > 0 and self.draw(number, what) < share * WORD


def slug(number: int) -> int:
    """Which of the slugs and titles a page carries."""
    return (number * 2_654_435_761 >> 8) % SLUGS


def literal(host: int) -> str:
    """The loopback address of a host: 127.0.0.1 … 127.0.0.250, 127.0.1.1 …"""
    return f"127.0.{host // 250}.{host % 250 + 1}"


def number_of(literal: str) -> int:
    """The host that `literal` named."""
    block, last = literal.split(".")[2:]
    return 250 * int(block) + int(last) - 1


def address(number: int, hosts: int, slugs: Sequence[str]) -> str:
    """`Web.path`, for those who need forty of them at once."""
    if number < hosts:
        return "/"
    if number % 16 == 5:
        return f"/{SECTIONS[number % 8]}/view?id={number}&lang=en"
    return f"/{SECTIONS[number % 8]}/{number}-{slugs[slug(number)]}.html"
