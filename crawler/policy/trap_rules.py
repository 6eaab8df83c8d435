"""Webs without an end, and when to stop following them. Pure: the frontier asks, and remembers.

Two kinds of brakes. What a URL shows by itself is judged where links are found (`scope.py` calls
`shape_trap`); what only many pages show together is judged here, per template:

    template   a URL with its numbers, hashes and slugs generalised: host/calendar/#/#
    barren     a page whose text was there before in its template, digits apart (simhash), or whose
               bytes were there anywhere
    idle       a barren page that brought no new link worth following (an image is one, on the
               first pages of its template) and was itself found on a page of its own template, or
               of a barren one

A template of whose last `patience` pages nine tenths were idle is braked: links to it that are
found inside it, or on barren pages, are parked. Links to it from honest pages are still followed,
so that a wrong verdict costs little. Honest templates, however large, keep bringing either text
or links. One path whose parameters come in more than `combinations` different combinations is
braked for what is found on that same path (faceted search).

The reasons: trap:calendar, trap:session, trap:query, trap:novelty.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from crawler.config.model import ScopeConfig

NEAR: Final = 3
"""Bits of 64 in which near duplicates differ at most (Manku, Jain, Das Sarma, WWW 2007)."""

IDLE_SHARE: Final = 0.9
TEXTS: Final = 64
"""Different texts remembered of one template."""

POOLED: Final = 8
"""Combinations of parameters on one path from which on they are one template."""

GALLERY: Final = 200
"""Pages of one template to which a new image is news, where their text is known. A gallery of more
pages without a word of their own is rare; `crawler release` frees its rest."""

ASSETS: Final = "asset "
"""Before the name of a template, for what is counted of its pages' images."""

REMEMBERED: Final = 4096
"""Templates in memory; the others are recalled from the frontier's file."""

_HEX = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_SLUG = re.compile(r"[^-_]+([-_][^-_]+){2,}")
_DATE = re.compile(r"(?<!\d)\d{4}[-/]\d{1,2}(?!\d)")
_DATE_KEYS = frozenset({"year", "month", "week", "day", "date", "y", "m", "yr", "mon"})
_SESSION = re.compile(
    r"(?P<lead>[;?&/])(?:jsessionid|phpsessid|aspsessionid[a-z]*|sessionid|session_id|sid|"
    r"cfid|cftoken|zenid|oscsid)=(?=[^/?&;#]*\d)[\w.!-]{16,}(?P<tail>&?)"
    r"|/\(S\([a-z0-9]{24}\)\)",
    re.IGNORECASE,
)


def is_brake(reason: str) -> bool:
    """Whether a link with this reason is parked, and can be released, instead of refused."""
    return reason == "tooLong" or reason.startswith("trap:")


def shape_trap(url: str, *, max_segments: int, max_repeats: int) -> str:
    """What a canonical URL's path shows by itself: `trap:segments`, `trap:repeats` or nothing.

    Repeats are one segment more than `max_repeats` times, or two or more segments that stand
    there again right behind themselves, twice over (/a/b/a/b/a/b).
    """
    segments = url.count("/") - 2
    if segments > max_segments:
        return "trap:segments"
    if segments <= max_repeats:
        return ""
    path = url.split("/", 3)[3].partition("?")[0]
    parts = [part for part in path.split("/") if part]
    if len(set(parts)) == len(parts):
        return ""
    if any(parts.count(part) > max_repeats for part in set(parts)):
        return "trap:repeats"
    for length in range(2, len(parts) // 3 + 1):
        for start in range(len(parts) - 3 * length + 1):
            first, second, third = (
                parts[start + i * length : start + (i + 1) * length] for i in range(3)
            )
            if first == second == third:
                return "trap:repeats"
    return ""


def without_session(url: str) -> str | None:
    """The URL without its session identifier; None when it carries none.

    An identifier is a parameter of a usual name (`;jsessionid=`, `PHPSESSID=`, `sid=` …) with 16
    characters or more, a digit among them, or ASP.NET's `/(S(…))`.
    """
    if "=" not in url and "/(" not in url:  # nearly every URL: a tenth of the regex's cost
        return None
    bare, found = _SESSION.subn(_lead, url)
    return bare.rstrip("?&") if found else None


def _lead(match: re.Match[str]) -> str:
    lead = match["lead"] or ""
    return lead if lead in {"?", "&"} and match["tail"] else ""


@lru_cache(maxsize=1 << 14)
def _general(segment: str) -> str:
    """One path segment with what varies taken out; the same when nothing does."""
    stem, dot, extension = segment.rpartition(".")
    if not dot or not extension.isalnum() or extension.isdigit():
        stem, dot, extension = segment, "", ""
    extension = _DIGITS.sub("#", extension)
    if _HEX.fullmatch(stem):
        return f"%x{dot}{extension}"
    number, _, rest = stem.partition("-")
    if number.isdigit() and rest:
        return f"#-~{dot}{extension}"
    if _SLUG.fullmatch(stem):
        return f"~{dot}{extension}"
    return f"{_DIGITS.sub('#', stem)}{dot}{extension}"


class UrlShape(msgspec.Struct, frozen=True, gc=False):
    """A URL's template: `path` with its host, `keys` the parameters' names in their order."""

    path: str
    keys: str
    varies: bool  # there is a part that may take many values
    combined: bool  # two or more parameters


@lru_cache(maxsize=1 << 14)
def shape(url: str) -> UrlShape:
    """The template of a canonical URL."""
    rest, _, query = url.partition("#")[0].partition("?")
    _, _, host, path = rest.split("/", 3)
    general = "/".join([_general(part) for part in path.partition(";")[0].split("/")])
    names = [part.partition("=")[0] for part in query.split("&")] if query else []
    varies = bool(query) or general != path
    return UrlShape(f"{host}/{general}", "&".join(names), varies, combined=len(names) > 1)


def template_names(url: str) -> tuple[str, ...]:
    """The templates, as they are kept, that can speak for a URL: its own, its path's pool."""
    one = shape(url)
    if not one.combined:
        return (f"{one.path}?{one.keys}" if one.keys else one.path,)
    return (f"{one.path}?{one.keys}", f"{one.path}?*", f"{one.path}?")


class UrlTemplate(msgspec.Struct):
    """What is known of one template; the frontier keeps it on disk as it is."""

    name: str
    visits: int = 0
    barren: int = 0  # the last pages, a bit each
    idle: int = 0
    reason: str = ""  # why it is braked
    texts: list[int] = []  # simhashes
    keys: list[str] = []  # of a path: the combinations of its parameters


class TrapJudge:
    """Judges links by what the crawl has seen of their template so far.

    `recall` fetches a template that is no longer in memory, None when there never was one.
    What changed is in `changed` until its owner has kept it.
    """

    def __init__(self, rules: ScopeConfig, recall: Callable[[str], UrlTemplate | None]) -> None:
        self._rules = rules
        self._recall = recall
        self._known: OrderedDict[str, UrlTemplate] = OrderedDict()
        self._mask = (1 << rules.trap_patience) - 1
        self._enough = IDLE_SHARE * rules.trap_patience
        self.changed: dict[str, UrlTemplate] = {}
        self.engaged = False  # something is braked: what is queued has to be judged again

    def forget(self) -> None:
        """Drop what was not kept: the transaction it belonged to was rolled back."""
        self._known.clear()
        self.changed.clear()

    def judge(self, url: str, via: str | None) -> str:
        """The reason to park a link that was found on the page `via`; nothing: let it go."""
        if not self.engaged or via is None:
            return ""
        one, parent = shape(url), shape(via)
        if not one.varies:
            return ""
        if (
            one.combined
            and one.path == parent.path
            and len(self._get(f"{one.path}?").keys) > self._rules.trap_combinations
        ):
            return "trap:query"
        template = self._of(one)
        return template.reason if template.reason and self._is_fed(template, via) else ""

    def found(self, url: str) -> bool:
        """A link is new. True when it made its path one of too many combinations."""
        if "&" not in url:
            return False
        one = shape(url)
        if not one.combined:
            return False
        path = self._get(f"{one.path}?")
        if one.keys in path.keys or len(path.keys) > self._rules.trap_combinations:
            return False
        path.keys.append(one.keys)
        self._touch(path)
        if len(path.keys) <= self._rules.trap_combinations:
            return False
        path.reason = "trap:query"
        self.engaged = True
        return True

    def promises(self, url: str, parent: str) -> bool:
        """Whether a new link is worth something: another template than its page's, not barren."""
        one = shape(url)
        if not one.varies:
            return True
        template = self._of(one)
        return template is not self._of(shape(parent)) and not self._is_barren(template)

    def shows(self, parent: str) -> bool:
        """Whether a new image, or something else that a page is made of, is worth the page: of the
        first `GALLERY` pages of its template. A tracking pixel or cache buster has an address of
        its own on every page of a calendar.
        """
        one = shape(parent)
        template = self._get(f"{ASSETS}{one.path}?{one.keys}")
        if template.visits >= GALLERY:
            return False
        template.visits += 1
        self._touch(template)
        return True

    def learn(
        self, url: str, via: str | None, simhash: int | None, *, copied: bool, fruitful: bool
    ) -> bool:
        """A page was read. True when its template is braked from now on.

        `copied`: its bytes were there before; `fruitful`: it brought links that promise something.
        """
        one = shape(url)
        if not one.varies or (simhash is None and not copied):
            return False
        template = self._of(one)
        near = copied
        if simhash is not None:
            near = near or any((simhash ^ text).bit_count() <= NEAR for text in template.texts)
            if not near:
                template.texts = [*template.texts[1 - TEXTS :], simhash]
        idle = near and not fruitful and via is not None and self._is_fed(template, via)
        template.visits += 1
        template.barren = (template.barren << 1 | near) & self._mask
        template.idle = (template.idle << 1 | idle) & self._mask
        self._touch(template)
        if template.reason or template.idle.bit_count() < self._enough:
            return False
        template.reason = _reason(template.name, url)
        self.engaged = True
        return True

    def _is_fed(self, template: UrlTemplate, via: str) -> bool:
        parent = shape(via)
        if not parent.varies:
            return False
        feeder = self._of(parent)
        return feeder is template or self._is_barren(feeder)

    def _is_barren(self, template: UrlTemplate) -> bool:
        return bool(template.reason) or template.barren.bit_count() >= self._enough

    def _of(self, one: UrlShape) -> UrlTemplate:
        if not one.combined:
            return self._get(f"{one.path}?{one.keys}" if one.keys else one.path)
        pooled = len(self._get(f"{one.path}?").keys) > POOLED
        return self._get(f"{one.path}?{'*' if pooled else one.keys}")

    def _get(self, name: str) -> UrlTemplate:
        template = self._known.get(name)
        if template is None:
            template = self._recall(name) or UrlTemplate(name)
            self._known[name] = template
            if len(self._known) > REMEMBERED:
                oldest = next(iter(self._known))
                if oldest not in self.changed:  # else it goes after it was kept
                    del self._known[oldest]
        return template

    def _touch(self, template: UrlTemplate) -> None:
        self.changed[template.name] = template
        self._known.move_to_end(template.name)


def _reason(name: str, url: str) -> str:
    path, _, keys = name.partition("?")
    if _DATE.search(url) or _DATE_KEYS & set(keys.split("&")):
        return "trap:calendar"
    if "%x" in path or without_session(url):
        return "trap:session"
    return "trap:query" if keys else "trap:novelty"
