"""Metalink 4 (RFC 5854): names, sizes, hashes and mirrors of files. Pure."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring

from crawler.downloads import checksums, file_names
from crawler.downloads.download_request import DownloadRequest
from crawler.errors import ConfigError

NAMESPACE: Final = "{urn:ietf:params:xml:ns:metalink}"

DEFAULT_PRIORITY: Final = 999_999
"""Priority of a URL that states none (§4.2.16: 1 is the highest, 999999 the lowest)."""


def parse_metalink(text: str, name: str) -> list[DownloadRequest]:
    """Requests for every file in the document. Raises ConfigError, also for a file without an http
    or https URL.

    A document type is rejected: an entity could expand to gigabytes, and Metalinks have none.
    """
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise ConfigError(f"{name}: a document type in a Metalink")
    try:
        root = fromstring(text)  # noqa: S314 - without entities there is nothing to expand
    except (ParseError, ValueError) as error:
        raise ConfigError(f"{name}: not XML: {error}") from error
    if root.tag != f"{NAMESPACE}metalink":
        raise ConfigError(f"{name}: not a Metalink 4 document (RFC 5854)")
    requests = [_to_request(file, name) for file in root.iter(f"{NAMESPACE}file")]
    if not requests:
        raise ConfigError(f"{name}: no file in it")
    return requests


def _to_request(file: Element, name: str) -> DownloadRequest:
    file_name = file.get("name", "")
    sources = [
        (_parse_int(element.get("priority")) or DEFAULT_PRIORITY, (element.text or "").strip())
        for element in file.iter(f"{NAMESPACE}url")
    ]
    sources = [
        source for source in sources if source[1].lower().startswith(("http://", "https://"))
    ]
    if not sources:
        raise ConfigError(f"{name}: {file_name!r} has no http or https URL")
    url, *mirrors = [url for _, url in sorted(sources, key=lambda source: source[0])]
    digests = []
    for element in file.findall(f"{NAMESPACE}hash"):
        algorithm = checksums.normalize_algorithm(element.get("type", ""))
        digest = (element.text or "").strip().lower()
        if algorithm is None:
            continue  # §4.2.5: unknown types are ignored
        if len(digest) != checksums.DIGEST_HEX_DIGITS[algorithm] or not re.fullmatch(
            "[0-9a-f]+", digest
        ):
            raise ConfigError(f"{name}: {file_name!r}: not a digest of {algorithm}")
        digests.append((algorithm, digest))
    size = file.findtext(f"{NAMESPACE}size")
    return DownloadRequest(
        url,
        name=file_names.sanitize_path(file_name) or file_names.sanitize(file_names.from_url(url)),
        checksums=tuple(digests),
        size=_parse_int(size),
        mirrors=tuple(dict.fromkeys(mirrors)),
    )


def _parse_int(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
