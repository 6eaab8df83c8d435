"""How long an exchange may take and how much it may bring, by what is fetched. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from crawler.config.model import FetchConfig
from crawler.policy.seeds import is_list
from crawler.records import CrawlUrl, Kind

ROBOTS_BYTES: Final = 512 * 1024 + 1
"""RFC 9309 §2.5: at least 500 KiB; one byte more shows that there was more."""

SITEMAP_BYTES: Final = 50 * 1024 * 1024
"""sitemaps.org: no sitemap is larger."""


class FetchLimits(msgspec.Struct, frozen=True):
    """`seconds` for the whole exchange, `size` in bytes on the wire. `cut`: what is larger is used
    as far as it came; else it is TooLarge.
    """

    seconds: float
    size: int
    cut: bool = False


def allowance(link: CrawlUrl, rules: FetchConfig, robots_timeout: float) -> FetchLimits:
    """What this link's exchange is granted."""
    if link.kind is Kind.ROBOTS:
        return FetchLimits(min(rules.timeout, robots_timeout), ROBOTS_BYTES, cut=True)
    if link.kind is Kind.SITEMAP or (
        not link.depth and link.kind is Kind.PAGE and is_list(link.url)
    ):
        return FetchLimits(rules.timeout, max(rules.max_body, SITEMAP_BYTES))
    return FetchLimits(rules.timeout, rules.max_body)
