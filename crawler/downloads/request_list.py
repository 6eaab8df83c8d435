"""A list of orders: one for each URL, and whom they speak of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec

from crawler.config.redaction import split_login
from crawler.downloads.download_request import DownloadRequest
from crawler.errors import ConfigError
from crawler.policy.urls import Urls, origin


def canonical(urls: Urls, orders: Sequence[DownloadRequest]) -> list[DownloadRequest]:
    """One order a URL: of several, the mirrors and checksums come together, and each name that was
    given gets a copy. Raises ConfigError.
    """
    found: dict[str, DownloadRequest] = {}
    for order in orders:
        if not order.mirrors and order.url not in found and urls.canonical(order.url) == order.url:
            found[order.url] = order  # most are so
            continue
        places = []
        for url in (order.url, *order.mirrors):
            place = urls.canonical(url)
            if place is None:
                raise ConfigError(f"{split_login(url)[0]!r}: not a http or https URL")
            places.append(place)
        url, *mirrors = places
        before = found.get(url)
        if before is not None:
            mirrors = [*before.mirrors, *mirrors]
            called = [one for one in (before.name, *before.also, order.name, *order.also) if one]
            name, *also = dict.fromkeys(called) or [None]
            order = msgspec.structs.replace(  # noqa: PLW2901 - the same order, made whole
                order,
                name=name,
                also=tuple(also),
                checksums=tuple(dict.fromkeys((*before.checksums, *order.checksums))),
                size=before.size if order.size is None else order.size,
            )
        mirrors = [one for one in dict.fromkeys(mirrors) if one != url]
        found[url] = msgspec.structs.replace(order, url=url, mirrors=tuple(mirrors))
    return list(found.values())


def origins(orders: Sequence[DownloadRequest]) -> set[str]:
    """Where the files and their mirrors are."""
    return {origin(url) for one in orders for url in (one.url, *one.mirrors)}


def hosts(origins: Iterable[str]) -> set[str]:
    return {urlsplit(one).hostname or "" for one in origins}
