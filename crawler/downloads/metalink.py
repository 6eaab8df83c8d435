"""Metalink 4 (RFC 5854): names, sizes, hashes and mirrors of files. Pure."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring

from crawler.downloads import checksums, file_names
from crawler.downloads.download_request import DownloadRequest
from crawler.errors import ConfigError

SPACE: Final = "{urn:ietf:params:xml:ns:metalink}"

LAST: Final = 999_999
"""Priority of a place that names none (§4.2.16: 1 is best)."""


def read(text: str, name: str) -> list[DownloadRequest]:
    """Every file with at least one http or https place. Raises ConfigError.

    A document type is refused: an entity could stand for gigabytes (and no Metalink has one).
    """
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise ConfigError(f"{name}: a document type in a Metalink")
    try:
        root = fromstring(text)  # noqa: S314 - without entities there is nothing to expand
    except (ParseError, ValueError) as error:
        raise ConfigError(f"{name}: not XML: {error}") from error
    if root.tag != f"{SPACE}metalink":
        raise ConfigError(f"{name}: not a Metalink 4 document (RFC 5854)")
    orders = [_order(file, name) for file in root.iter(f"{SPACE}file")]
    if not orders:
        raise ConfigError(f"{name}: no file in it")
    return orders


def _order(file: Element, name: str) -> DownloadRequest:
    called = file.get("name", "")
    places = [
        (_number(one.get("priority")) or LAST, (one.text or "").strip())
        for one in file.iter(f"{SPACE}url")
    ]
    places = [place for place in places if place[1].lower().startswith(("http://", "https://"))]
    if not places:
        raise ConfigError(f"{name}: {called!r} has no http or https place")
    url, *mirrors = [url for _, url in sorted(places, key=lambda place: place[0])]
    digests = []
    for one in file.findall(f"{SPACE}hash"):
        which = checksums.algorithm(one.get("type", ""))
        digest = (one.text or "").strip().lower()
        if which is None:
            continue  # §4.2.5: those one does not know are ignored
        if len(digest) != checksums.LENGTHS[which] or not re.fullmatch("[0-9a-f]+", digest):
            raise ConfigError(f"{name}: {called!r}: not a digest of {which}")
        digests.append((which, digest))
    size = file.findtext(f"{SPACE}size")
    return DownloadRequest(
        url,
        name=file_names.tamed_path(called) or file_names.tame(file_names.from_url(url)),
        checksums=tuple(digests),
        size=_number(size),
        mirrors=tuple(dict.fromkeys(mirrors)),
    )


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
