"""Where a crawl begins: its seeds, and the sitemaps that were named or are looked for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crawler.config.model import Config
from crawler.errors import ConfigError
from crawler.policy.outcome import USUAL_PLACES
from crawler.policy.urls import Urls, origin, path_of
from crawler.records import Kind


def starting_points(config: Config, seeds: Sequence[str], urls: Urls) -> Iterator[tuple[str, Kind]]:
    """The seeds, and the sitemaps that the person named or asked to look for.

    With `sitemap.only` a seed stands for its site: its sitemaps are read, not the seed itself.
    Where robots.txt is not asked for, the gate cannot look in the usual places: they start here.
    """
    guess = config.sitemap.only or ("guess" in config.sitemap.urls and not config.robots.obey)
    for seed in seeds:
        if config.sitemap.only and is_list(seed):
            yield seed, Kind.SITEMAP
            continue
        if not config.sitemap.only:
            yield seed, Kind.PAGE
        if guess:
            for place in USUAL_PLACES:
                yield origin(seed) + place, Kind.SITEMAP
    for given in config.sitemap.urls:
        if given != "guess":
            url = urls.canonical(given)
            if url is None:
                raise ConfigError(f"--sitemap {given!r}: neither `guess` nor a http or https URL")
            yield url, Kind.SITEMAP


def is_list(seed: str) -> bool:
    """Whether a seed is a sitemap by its name."""
    path = path_of(seed).partition("?")[0].lower()
    return path.endswith((".xml", ".xml.gz", ".txt", ".txt.gz", ".rss", ".atom"))
