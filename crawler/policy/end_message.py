"""How a crawl ended, in one sentence: for the summary, the report, `status`, a job, the log. Pure.

It says that everything was visited only where that is so. What was left, how many and why is read
from the counted reasons, so a reason that nobody here knows is told by its own name.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from crawler.records import Counts
from crawler.utils.units import amount, counted

NO_PAGES: Final = "no-pages"
"""The reason of a crawl that ended by itself, and never had a page."""

OUTSIDE: Final = frozenset({
    "outOfScope", "kind", "notIncluded", "excluded", "nofollow", "notInSitemap", "noSitemap",
    "redirectToExcluded", "mime",
})  # fmt: skip
"""Reasons that leave nothing out: rules that say what belongs to the crawl."""

_BEGINNINGS: Final[Mapping[str, str]] = {
    "finished": "finished",
    NO_PAGES: "no page was read",
    "hosts-down": "what is left waits for hosts that are down: go on when they are back",
    "max-pages": "reached --max-pages",
    "time-limit": "reached --time-limit",
    "size-limit": "reached --size-limit",
    "interrupted": "interrupted",
    "aborted": "stopped at once",
}

_NO_ROBOTS: Final = "robotsUnreachable"
_RETRY: Final = "crawler retry {dir}"
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "robotsTxt": ("forbidden by robots.txt", "--no-robots, on a site of your own"),
    _NO_ROBOTS: ("on hosts whose robots.txt could not be had", "-s robots.patience=TIME"),
    "tooDeep": ("deeper than --depth", "--depth"),
    "tooLong": ("longer than scope.max_url", "crawler release {dir} tooLong"),
    "trap": ("that look like a trap", "crawler release {dir} 'trap:*'"),
    "sitemapForeign": (
        "sitemaps of another domain than the index that names them",
        "--sitemap URL",
    ),
    "tooNested": ("in sitemaps inside sitemaps without end", ""),
    "internal": ("by a bug in this program", ""),
    "tooManyLinks": ("beyond the links taken from a page", "-s scope.max_links=N"),
    "crawlFull": ("beyond the queue's room", "-s frontier.max_queued=N"),
    "hostFull": ("beyond a host's room in the queue", "-s frontier.host_queued=N"),
    "too-large": ("larger than --max-body", "--max-body"),
    "forbidden": ("at addresses that are not visited", "-s fetch.allow_networks=…"),
    "redirect": ("that redirect without end or to no URL", ""),
    "parse": ("that could not be read", ""),
    "garbled": ("whose answer is not HTTP", ""),
    "dns": ("on hosts without an address", _RETRY),
    "connection": ("without a connection", _RETRY),
    "tls": ("where TLS was refused", _RETRY),
    "timeout": ("that took too long", _RETRY),
    "truncated": ("that ended too early", _RETRY),
}

SHOWN: Final = 5
"""Reasons told one by one."""


def left_of(reasons: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Reasons of links that were not read, with numbers, gathered by their first word; what a rule
    of scope leaves outside is left out. The most frequent first. A status keeps its number, a
    robots.txt that could not be had the word for what was the matter with it.
    """
    left: Counter[str] = Counter()
    for reason, number in reasons:
        word, _, detail = reason.partition(":")
        if word not in OUTSIDE and number > 0:
            left[_kept(word, detail)] += number
    return dict(left.most_common())


def _kept(word: str, detail: str) -> str:
    if word == "status":
        return f"{word}:{detail}"
    if word == _NO_ROBOTS and detail:  # what was the matter with it
        cause, _, more = detail.partition(":")
        return f"{word}:{cause} {more}" if cause == "status" else f"{word}:{cause}"
    return word or "unknown"


def sentence(
    reason: str,
    *,
    pending: int,
    left: Mapping[str, int],
    incomplete: int = 0,
    folder: str = "",
) -> str:
    """`reason` is a crawl's finish_reason, `pending` the links still queued, `left` what `left_of`
    counted, `incomplete` the pages of which a limit left links out. With the crawl's `folder` the
    commands are named that would change it.
    """
    begun = _BEGINNINGS.get(reason, reason)
    whole = sum(left.values())
    shown = [_one(word, number, folder) for word, number in [*left.items()][:SHOWN]]
    if rest := whole - sum([*left.values()][:SHOWN]):
        shown.append(f"{amount(rest)} for other reasons")
    told = ", ".join(shown)
    if reason == NO_PAGES:
        return f"{begun}: {told or 'nothing that was found belongs to the crawl (--scope)'}"
    if reason == "finished" and not (whole or pending or incomplete):
        return "finished: every link in scope was visited"
    parts = [f"{counted(pending, 'link is', 'links are')} still queued"] if pending else []
    if whole:
        were = "was" if whole == 1 else "were"
        parts.append(f"{counted(whole, 'link')} in scope {were} not read: {told}")
    if incomplete:
        were = "was" if incomplete == 1 else "were"
        parts.append(f"{counted(incomplete, 'page')} {were} not read whole: links were left out")
    return "; ".join([begun, *parts])


def sentence_of(reason: str, counts: Counts, *, folder: str = "", incomplete: int = 0) -> str:
    """`sentence` of a frontier's counts. `incomplete`: the pages that the run itself counted, where
    the frontier may remember fewer.
    """
    return sentence(
        reason,
        pending=counts.pending,
        left=counts.left,
        incomplete=max(counts.incomplete, incomplete),
        folder=folder,
    )


def _one(word: str, number: int, folder: str) -> str:
    name, _, detail = word.partition(":")
    if name == "status":
        text, hint = f"answered {detail}", _RETRY if detail[:1] == "5" or detail == "429" else ""
        if detail == "407":  # no site answers so
            hint = "the proxy wants a login: http://USER:PASSWORD@HOST:PORT"
    else:
        text, hint = _WORDS.get(name, (f"for {name}", ""))
        text += f": {detail}" if detail else ""
    if "{dir}" in hint:
        hint = hint.replace("{dir}", shlex.quote(folder)) if folder else ""
    return f"{amount(number)} {text}" + (f" ({hint})" if hint else "")
