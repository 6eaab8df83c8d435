"""Merging of download requests for the same URL, and the origins and hosts of a list. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from crawler.config.redaction import split_login
from crawler.downloads.download_request import DownloadRequest
from crawler.errors import ConfigError
from crawler.policy.urls import Urls, origin


def merge_requests(urls: Urls, requests: Sequence[DownloadRequest]) -> list[DownloadRequest]:
    """One request per canonical URL: mirrors, checksums and names of requests for the same URL are
    merged; every name after the first gets a copy. Raises ConfigError for a URL that is not http or
    https.
    """
    found: dict[str, DownloadRequest] = {}
    for request in requests:
        if (
            not request.mirrors
            and request.url not in found
            and urls.canonical(request.url) == request.url
        ):
            found[request.url] = request  # the common case
            continue
        canonical_urls = []
        for url in (request.url, *request.mirrors):
            canonical = urls.canonical(url)
            if canonical is None:
                raise ConfigError(f"{split_login(url)[0]!r}: not a http or https URL")
            canonical_urls.append(canonical)
        url, *mirrors = canonical_urls
        before = found.get(url)
        if before is not None:
            mirrors = [*before.mirrors, *mirrors]
            names = filter(None, (before.name, *before.also, request.name, *request.also))
            name, *also = dict.fromkeys(names) or [None]
            request = msgspec.structs.replace(  # noqa: PLW2901 - the same request, merged
                request,
                name=name,
                also=tuple(also),
                checksums=tuple(dict.fromkeys((*before.checksums, *request.checksums))),
                size=before.size if request.size is None else request.size,
            )
        mirrors = [mirror for mirror in dict.fromkeys(mirrors) if mirror != url]
        found[url] = msgspec.structs.replace(request, url=url, mirrors=tuple(mirrors))
    return list(found.values())


def origins(requests: Sequence[DownloadRequest]) -> set[str]:
    """The origins of the files and their mirrors."""
    return {origin(url) for request in requests for url in (request.url, *request.mirrors)}


def hosts(origins: Iterable[str]) -> set[str]:
    """The host names of origins."""
    return {urlsplit(url).hostname or "" for url in origins}
