"""HTML pages and style sheets of a mirror, with their links rewritten to the copies on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from urllib.parse import quote

import ada_url
import webencodings

from crawler.export.link_rewriter import replace_links
from crawler.export.start_tags import attributes_of, start_tags
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture
from crawler.parse.css import replace_urls
from crawler.parse.decode import UNICODE, declares_utf8, sheet_text, to_text
from crawler.parse.query_encoding import encoded_query
from crawler.parse.reader import XHTML
from crawler.parse.xhtml import as_html
from crawler.policy.urls import Urls


class PageRewriter:
    """Reads pages from the archive and rewrites their links.

    `path_of` gives the path of a URL's copy in the mirror; None: it has none.
    """

    def __init__(
        self, archive: WarcReader, urls: Urls, path_of: Callable[[str], str | None]
    ) -> None:
        self._archive = archive
        self._urls = urls
        self._path_of = path_of

    def html(self, capture: Capture, path: str) -> bytes:
        """The page of `capture` as it is stored at `path`. Raises ParseError."""
        body = self._archive.payload(capture).decoded()
        declared = declares_utf8(body)
        encoding = webencodings.lookup(capture.charset or "utf-8")
        if encoding is None or encoding.name == "utf-8":
            # Bytes that are not UTF-8 are kept; a browser treats them as it did online.
            text = body.decode("utf-8", "surrogateescape")
        else:
            text, _, _ = to_text(body, capture.charset)
            declared = False
        # A query was requested in the page's encoding; on disk the page is in UTF-8.
        recode: Callable[[str], str] = _unchanged
        if encoding is not None and encoding.name not in UNICODE:
            recode = partial(encoded_query, charset=encoding.name)
        if capture.mime == XHTML:
            text = as_html(text)
        base = _base_url(capture.url, text)
        new = replace_links(
            text,
            # Cached: a page often has the same link many times.
            lru_cache(None)(lambda link: self._rewrite(recode(link), base, capture.url, path)),
            lambda link: _absolute(base, recode(link)) or link,
        )
        # A file has no header with its charset; a byte order mark overrides what a page declares.
        mark = "" if declared or new.startswith("\ufeff") else "\ufeff"
        return (mark + new).encode("utf-8", "surrogateescape")

    def css(self, capture: Capture, path: str) -> bytes:
        """The style sheet of `capture` as it is stored at `path`. Raises ParseError."""
        body = self._archive.payload(capture).decoded()
        text, charset = sheet_text(body, capture.charset)
        if charset in UNICODE and not charset.startswith("utf-16"):
            text = body.decode("utf-8", "surrogateescape")

        def rewrite(link: str) -> str:
            recoded = link if charset in UNICODE else encoded_query(link, charset)
            new = self._rewrite(recoded, capture.url, capture.url, path)
            return link if new == recoded else new

        new = replace_urls(text, rewrite)
        if new == text:
            return body
        # A file has no header with its charset: a sheet in another encoding gets a mark.
        mark = "" if body.startswith(b"\xef\xbb\xbf") or charset == "utf-8" else "\ufeff"
        return (mark + new).encode("utf-8", "surrogateescape")

    def _rewrite(self, link: str, base: str, url: str, path: str) -> str:
        """A link as stored at `path`: relative if its target is in the mirror, else absolute."""
        if link.startswith("#") and base == url:
            return link
        absolute = _absolute(base, link)
        if absolute is None:
            return link
        rest, mark, fragment = absolute.partition("#")
        target = self._urls.canonical(rest)
        target_path = self._path_of(target) if target is not None else None
        if target_path is None:
            return absolute
        if target_path == path and mark:
            return mark + fragment
        return quote_path(_relative(target_path, path)) + mark + fragment


def quote_path(path: str) -> str:
    """A path percent-encoded for use in a link."""
    return quote(path, safe="/._~@=,+-")


def _base_url(url: str, text: str) -> str:
    """The page's base URL: that of its first `<base>`, else its own."""
    if "<base" not in text and "<BASE" not in text.upper():
        return url
    for name, start, end, _ in start_tags(text):
        if name == "base":
            for attribute in attributes_of(text, name, start, end):
                if attribute.name == "href":
                    return _absolute(url, attribute.value.strip()) or url
    return url


def _relative(target: str, path: str) -> str:
    """The relative path from one file to another; posixpath's function reads the working directory
    first.
    """
    here, parts = path.split("/")[:-1], target.split("/")
    same = 0
    while same < len(here) and same < len(parts) - 1 and here[same] == parts[same]:
        same += 1
    return "/".join([".."] * (len(here) - same) + parts[same:])


def _unchanged(link: str) -> str:
    return link


def _absolute(base: str, link: str) -> str | None:
    """A link as an absolute http URL with its fragment; None: it is something else."""
    try:
        joined = ada_url.join_url(base, link)
    except ValueError:
        return None
    return joined if joined.startswith(("http://", "https://")) else None
