"""`--dry-run`: what would be fetched, and by which settings. Nothing is fetched or written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crawler.cli.formatting import plain
from crawler.frontier.sqlite.overview import queued
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, host_key

if TYPE_CHECKING:
    from crawler.config.loader import Origins
    from crawler.config.model import Config


class DryRunPlan(msgspec.Struct, frozen=True):
    """What would become of one URL. `verdict` is visit, skip, queued or invalid."""

    url: str  # canonical; as given when it is no URL
    verdict: str
    reason: str
    words: str
    rules: tuple[str, ...] = ()  # what made the canonical form differ from the given one

    def __str__(self) -> str:
        changed = f" [{', '.join(self.rules)}]" if self.rules and self.verdict != "invalid" else ""
        why = f"  {self.words}" if self.verdict != "visit" else ""
        return f"{self.verdict:<7} {plain(self.url, 2000)}{changed}{why}"


def plans(config: Config) -> Iterator[DryRunPlan]:
    """The seeds, each once, in their order. robots.txt is a matter of the crawl itself."""
    urls = Urls(config.urls)
    told = [(given, *urls.explain(given)) for given in config.seeds]
    scope = Scope(config.scope, [one for _, one, _ in told if one is not None])
    before = set()
    for given, url, rules in told:
        if url is None:
            yield DryRunPlan(given, "invalid", "invalid", "not a http or https URL", rules)
        elif url not in before:
            before.add(url)
            host = host_key(url)
            reason = scope.judge(url, host, 0, "page")
            words = scope.explain(url, host, 0, "page")
            yield DryRunPlan(url, "skip" if reason else "visit", reason, words, rules)


def lines(config: Config, origins: Origins, folder: Path | None) -> Iterator[str]:
    """Every URL that would be visited or not, then the settings that are not the defaults.

    `folder` holds the crawl that would be gone on with; None: a new one.
    """
    yield from map(str, plans(config))
    if folder is not None:
        for url in queued(folder):
            yield f"queued  {plain(url, 2000)}"
    for key, value in changed(config):
        yield f"# {key} = {value}  ({origins.get(key, 'default')})"
    yield (
        "# robots.txt is asked and obeyed when it crawls"
        if config.robots.obey
        else ("# robots.txt is not obeyed")
    )


def json_lines(config: Config, folder: Path | None) -> Iterator[str]:
    """The same URLs for programs, one JSON object a line."""
    encode = msgspec.json.Encoder().encode
    for plan in plans(config):
        yield encode(plan).decode()
    for url in queued(folder) if folder is not None else ():
        yield encode(DryRunPlan(url, "queued", "", "")).decode()


def changed(config: Config) -> Iterator[tuple[str, str]]:
    """Settings that differ from the defaults, the seeds aside."""
    default, ours = type(config)(), config
    for section in config.__struct_fields__:
        if section == "seeds":
            continue
        old, new = getattr(default, section), getattr(ours, section)
        for name in new.__struct_fields__:
            if getattr(old, name) != getattr(new, name):
                yield f"{section}.{name}", _shown(getattr(new, name))


def _shown(value: Any) -> str:
    return plain(msgspec.json.encode(value).decode(), 500)
