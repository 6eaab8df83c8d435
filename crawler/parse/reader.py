"""A page read in one piece: decoded, measured, its links judged. Runs in a parse process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.parse.attribute_values import refresh_url
from crawler.parse.decode import (
    GUESSED,
    NOT_ASCII,
    UNICODE,
    decoded,
    decompress,
    late_charset,
    sheet_text,
    to_text,
)
from crawler.parse.html import RawPage, add_link, read_anchors, read_html
from crawler.parse.link_header import read_link_header
from crawler.parse.listings import is_list, is_sitemap, is_start, read_list, read_robots_file
from crawler.parse.markup_limits import within_bounds
from crawler.parse.native import simhash
from crawler.parse.plugins import Plugin, PluginPage, load_plugins
from crawler.parse.query_encoding import encoded_query
from crawler.parse.robots_meta import MAX_DIRECTIVES, NO_FOLLOW, NO_INDEX, directives
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.parse.xhtml import as_html, is_xhtml
from crawler.policy.mime import UNKNOWN, extract_mime, sniff_mime
from crawler.policy.seeds import is_list as named_list
from crawler.policy.urls import fingerprint, host_key
from crawler.records import CrawlUrl, Kind, Outlink, ParsedPage, PluginRun
from crawler.utils.units import counted

XHTML: Final = "application/xhtml+xml"
HTML: Final = frozenset({"text/html", XHTML})
XML: Final = frozenset({"application/xml", "text/xml"})
TRANSFER: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""Transfer codings beside `chunked` (RFC 9112 §7.2); nobody asks for them."""

_ASSET: Final = Kind.ASSET.value
PROBE: Final = Kind.PROBE.value
TOO_MANY_LINKS: Final = "tooManyLinks"
UNREAD_CHARSET: Final = "charsetNotRead"
JOINED: Final = 1 << 14
"""Links whose canonical form and verdict a process remembers: a site's pages share their menus."""


class PageReader:
    """Reads pages, one after another."""

    def __init__(self, rules: ReaderSettings, html: Callable[..., RawPage] = read_html) -> None:
        self._rules = rules
        self._join = rules.urls.join
        self._html = html  # the benchmark compares other parsers
        self._plugins: tuple[Plugin, ...] = load_plugins(rules.parse.plugins)
        if rules.parse.rules:
            from crawler.parse.extraction_rules import load_rules  # noqa: PLC0415 - only for who has some

            self._plugins += load_rules(rules.parse.rules)
        self._found = lru_cache(JOINED)(self._judged)
        self._admitted = lru_cache(JOINED)(self._admit)
        self._agent = rules.agent.lower()

    def adopt(self, urls: Iterable[str]) -> None:
        """Judge links with seeds that redirects made."""
        for url in urls:
            self._rules.scope.adopt(url)
        self._found.cache_clear()
        self._admitted.cache_clear()

    def read(
        self, link: CrawlUrl, headers: Sequence[tuple[str, str]], body: bytes | Path
    ) -> ParsedPage:
        """Raises ParseError when the body is beyond its limits."""
        began = time.perf_counter()
        fetch = self._rules.fetch
        values = _values(headers)
        encodings = _codings(values)
        if link.kind is Kind.ROBOTS:
            return read_robots_file(body, encodings)
        if (extract := self._listed(link, values, body, encodings)) is not None:
            return extract
        plain, problems = decompress(
            body,
            encodings,
            limit=fetch.max_body,
            ratio=fetch.max_ratio,
        )
        mime, charset = extract_mime(values.get("content-type", ""))
        if mime in UNKNOWN:
            mime = sniff_mime(plain) or mime
        if mime in XML and is_xhtml(plain):
            mime = XHTML
        digest = f"sha256:{hashlib.sha256(plain).hexdigest()}"
        said = [value for name, value in headers if name.lower() == "x-robots-tag"]
        if mime not in HTML:
            return msgspec.structs.replace(
                self._no_page(link, mime, charset, values, plain, said, problems),
                charset=charset,
                charset_source="http" if charset else "",
                digest=digest,
                parse_ms=(time.perf_counter() - began) * 1000,
            )
        cuts: list[str] = []  # limits that left links out
        size = len(plain)
        text, charset, source = to_text(plain, charset)
        kept = plain if self._rules.keep_body else None
        again = plain if source in GUESSED else b""
        del plain  # up to ten megabytes that the parser can use
        known = len(problems)
        text, raw = self._markup(text, mime, problems, cuts)
        if again and raw.charsets and (late := late_charset(raw.charsets, charset)):
            charset, source = late, "meta"
            if not again.isascii() or charset in NOT_ASCII:
                del problems[known:], cuts[:]
                text, raw = self._markup(decoded(again, charset), mime, problems, cuts)
        del again
        if charset == "replacement":
            problems.append("its charset is one that browsers do not read")
            cuts.append(UNREAD_CHARSET)
        if charset not in UNICODE:
            _recode(raw, charset)
        requisites = self._rules.limits.requisites
        if requisites and link.kind is Kind.ASSET:  # a page where an image should be
            raw.links = {key: None for key in raw.links if key[1] != Kind.ASSET}
        self._add_link_headers(raw, values)
        in_headers = directives(said, (), self._agent)
        robots = tuple(dict.fromkeys((*in_headers, *raw.robots)))[:MAX_DIRECTIVES]
        base = self._join(link.url, raw.base) or link.url if raw.base else link.url
        found = self._links(base, raw, link.depth + 1, problems, cuts, robots)
        anchors, fragments = self._anchors(link.url, base, text, charset)
        records: tuple[dict[str, Any], ...] = ()
        ran: tuple[PluginRun, ...] = ()
        if self._plugins:
            parsed = PluginPage(
                link.url,
                text,
                raw.title,
                raw.text,
                tuple(one[0] for one in found),
                base=base,
                problems=problems,
                cuts=cuts,
            )
            records, found, ran = self._run(parsed, found, link.depth + 1)
        return ParsedPage(
            found=found,
            mime=mime,
            charset=charset,
            charset_source=source,
            bytes_body=size,
            digest=digest,
            text_digest=_text_digest(raw),
            title=raw.title,
            description=raw.description,
            canonical=self._join(base, raw.canonical) if raw.canonical else None,
            lang=raw.lang,
            hreflang=tuple(
                (language, url)
                for language, href in raw.hreflang[:100]
                if (url := self._join(base, href)) is not None
            ),
            text_length=len(raw.text),
            simhash=simhash(raw.text) if self._rules.parse.simhash else None,
            robots=robots,
            records=records,
            problems=tuple(problems[:20]),
            incomplete=cuts[0] if cuts else "",
            parse_ms=(time.perf_counter() - began) * 1000,
            anchors=anchors,
            fragments=fragments,
            markdown=self._markdown(link.url, text, raw, robots),
            body=self._kept(kept, robots),
            ran=ran,
        )

    def _listed(
        self, link: CrawlUrl, values: Mapping[str, str], body: bytes | Path, encodings: str
    ) -> ParsedPage | None:
        """What a sitemap or a feed lists; None: it is something else."""
        listed = link.kind in {Kind.SITEMAP, Kind.FEED}
        if not listed and link.kind is not Kind.PAGE:
            return None
        mime, charset = extract_mime(values.get("content-type", ""))
        if not listed:
            if is_start(link):
                listed = is_list(body, encodings, charset)
            elif self._rules.sitemaps and mime not in HTML:
                may_be = mime in XML or named_list(link.url)
                listed = may_be and is_sitemap(body, encodings, charset)
        if listed:
            return read_list(link, self._rules, mime, charset, body, encodings)
        return None

    def _no_page(
        self,
        link: CrawlUrl,
        mime: str,
        charset: str,
        values: dict[str, str],
        plain: bytes,
        said: Sequence[str],
        problems: list[str],
    ) -> ParsedPage:
        """What has no markup may still have headers that lead on; a style sheet names images."""
        raw = RawPage()
        cuts: list[str] = []
        if mime == "text/css" and self._rules.limits.requisites:
            from crawler.parse.css import css_urls  # noqa: PLC0415 - 8 ms, for mirrors only

            text, charset = sheet_text(plain, charset)
            for href in css_urls(text):
                raw.links[href, Kind.ASSET.value] = None
            if charset not in UNICODE:
                _recode(raw, charset)
        self._add_link_headers(raw, values)
        robots = directives(said, (), self._agent)
        return ParsedPage(
            found=self._links(link.url, raw, link.depth + 1, problems, cuts, robots),
            canonical=self._join(link.url, raw.canonical) if raw.canonical else None,
            mime=mime,
            bytes_body=len(plain),
            robots=robots,
            problems=tuple(problems),
            incomplete=cuts[0] if cuts else "",
            body=self._kept(plain, robots),
        )

    def _markup(
        self, text: str, mime: str, problems: list[str], cuts: list[str]
    ) -> tuple[str, RawPage]:
        """A page's text within bounds, and what it says."""
        limits = self._rules.limits
        text = within_bounds(text, problems, cuts)
        if mime == XHTML:
            text = as_html(text)
        return text, self._html(
            text, forms=limits.forms, agent=self._agent, styles=limits.requisites
        )

    def _kept(self, plain: bytes | None, robots: tuple[str, ...]) -> bytes | None:
        """The body for the sinks, where they want it and the page does not mind."""
        return plain if self._rules.keep_body and not self._dropped(robots) else None

    def _markdown(self, url: str, text: str, raw: RawPage, robots: tuple[str, ...]) -> str | None:
        if not self._rules.keep_text or self._dropped(robots):
            return None
        from crawler.parse.markdown import to_markdown  # noqa: PLC0415 - for --text only

        return to_markdown(text, url, title=raw.title, lang=raw.lang, join=self._join)

    def _dropped(self, robots: tuple[str, ...]) -> bool:
        """Whether the page asks not to be kept, and we obey."""
        rules = self._rules.robots
        return rules.obey and rules.noindex == "drop" and not NO_INDEX.isdisjoint(robots)

    @staticmethod
    def _add_link_headers(raw: RawPage, values: dict[str, str]) -> None:
        if value := values.get("link"):
            for attributes in read_link_header(value):
                add_link(attributes, raw)
        if (value := values.get("refresh")) and (url := refresh_url(value)):
            raw.links[url, Kind.PAGE.value] = None

    def _anchors(
        self, url: str, base: str, text: str, charset: str
    ) -> tuple[tuple[str, ...] | None, tuple[tuple[str, str], ...]]:
        """The page's ids, and the (URL, fragment) pairs of its links."""
        if not self._rules.parse.anchors:
            return None, ()
        ids, hrefs = read_anchors(text)
        pairs: dict[tuple[str, str], None] = {}
        for path, fragment in hrefs:
            if charset not in UNICODE:
                path = encoded_query(path, charset)  # noqa: PLW2901 - as it was read above
            target = self._join(base, path) if path else url
            if target is not None:
                pairs[target, fragment] = None
        return tuple(ids), tuple(pairs)

    def _run(
        self, page: PluginPage, found: tuple[Outlink, ...], depth: int
    ) -> tuple[tuple[dict[str, Any], ...], tuple[Outlink, ...], tuple[PluginRun, ...]]:
        """What the rules and plugins take from a page, its links with those that they add, and how
        each of them went.
        """
        records: list[dict[str, Any]] = []
        ran: list[PluginRun] = []
        by_url = {one[0]: one for one in found}
        for plugin in self._plugins:
            taken, follow, how = plugin.run(page)
            records += taken
            ran.append(how)
            for one in follow:
                link = self._judged(page.base, one.url, Kind(one.kind).value, depth)
                if link is not None and (link[0] not in by_url or by_url[link[0]][4]):
                    by_url[link[0]] = link
        return tuple(records), tuple(by_url.values()), tuple(ran)

    def _links(
        self,
        base: str,
        raw: RawPage,
        depth: int,
        problems: list[str],
        cuts: list[str],
        robots: tuple[str, ...],
    ) -> tuple[Outlink, ...]:
        """The page's links, canonical, judged, each once; the first kind that is admitted wins."""
        rules = self._rules.robots
        links: Iterable[tuple[str, str]] = raw.links
        forbidden_from = len(raw.links)  # the number of the first link with reason nofollow
        if raw.disowned:
            links = chain(raw.links, raw.disowned)
        if rules.obey and not NO_FOLLOW.isdisjoint(robots):
            forbidden_from = 0
        elif not (rules.obey and rules.rel):
            forbidden_from += len(raw.disowned)
        folder = base[: base.rindex("/") + 1] if "?" not in base else base
        root = base[: base.find("/", len("https://")) + 1]
        depth = self._rules.scope.alike(depth)
        bare = self._rules.urls.bare
        by_url: dict[str, Outlink] = {}
        invalid: list[str] = []  # browsers follow none of these either
        limit = self._rules.limits.max_links
        for number, (href, kind) in enumerate(links):
            if number >= limit:
                every = len(raw.links) + len(raw.disowned)
                problems.append(f"{every} links, the first {limit} taken")
                cuts.append(TOO_MANY_LINKS)
                break
            # Most hrefs mean the same on every page of a folder, or of a site: worth remembering.
            first = href[:1]
            near = root if first == "/" else base if first in {"", "?", "#"} else folder
            found = self._found(near, bare(href) if "#" in href else href, kind, depth)
            if found is not None:
                if number >= forbidden_from and not found[4] and kind != _ASSET:
                    found = (*found[:4], "nofollow")
                known = by_url.get(found[0])
                better = known is None or known[4] or known[3] == PROBE != found[3]
                if known is None or (better and not found[4]):
                    by_url[found[0]] = found
            elif href and self._rules.urls.invalid(href):
                invalid.append(href)
        if invalid:
            problems.append(
                f"{counted(len(invalid), 'link is', 'links are')} no URL: {_shown(invalid)}"
            )
        return tuple(by_url.values())

    def _judged(self, base: str, href: str, kind: str, depth: int) -> Outlink | None:
        url = self._join(base, href)
        return None if url is None else self._admitted(url, kind, depth)

    def _admit(self, url: str, kind: str, depth: int) -> Outlink:
        host = host_key(url)
        kind, reason = self._rules.scope.admit(url, host, depth, kind)
        if not reason and self._rules.sitemap_only and kind != _ASSET:
            reason = "notInSitemap"
        return url, host, fingerprint(url, host), kind, reason


def _shown(hrefs: Sequence[str]) -> str:
    """The first of what could not be followed, for a person to find on the page."""
    return ", ".join(repr(href[:100]) for href in hrefs[:3]) + (", …" if len(hrefs) > 3 else "")


def _recode(raw: RawPage, charset: str) -> None:
    """Put the queries of a page's links into its encoding."""
    if raw.base:
        raw.base = encoded_query(raw.base, charset)
    raw.canonical = encoded_query(raw.canonical, charset)
    raw.hreflang = [(language, encoded_query(href, charset)) for language, href in raw.hreflang]
    for links in (raw.links, raw.disowned):
        if not all(href.isascii() for href, _ in links):
            again = {(encoded_query(href, charset), kind): None for href, kind in links}
            links.clear()
            links.update(again)


def _text_digest(raw: RawPage) -> str:
    """Sixteen bytes are enough to tell a page's texts apart; nobody is to forge one."""
    text = f"{raw.title}\n{raw.main}".encode("utf-8", "surrogatepass")
    return f"blake2b:{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def _values(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; repeats joined by commas (RFC 9110 §5.3)."""
    values: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        values[key] = f"{values[key]}, {value}" if key in values else value
    return values


def _codings(values: Mapping[str, str]) -> str:
    """All codings of a body: those of its transfer came last, and chunks are joined already."""
    encodings = values.get("content-encoding", "")
    if "transfer-encoding" not in values:
        return encodings
    names = (name.strip() for name in values["transfer-encoding"].split(","))
    return ",".join([encodings, *(name for name in names if name.lower() in TRANSFER)])
