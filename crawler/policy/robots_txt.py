"""robots.txt by RFC 9309. Pure: bytes and a status in, verdicts out, with the line that gave them.

A matcher of our own, because no kept library passes the RFC's own examples
(docs/decisions/0015).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from crawler.policy.robots_lines import records
from crawler.policy.robots_matcher import RobotsMatcher, RobotsRule, address_of, shown

UNREACHABLE: Final = "robotsUnreachable"
"""Why a link is refused when its host is there and its robots.txt is not; the cause after it."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN: Final = re.compile(r"[A-Za-z_-]+")
_ANOTHER_WORD: Final = re.compile(r"[ \t]+[A-Za-z0-9_-]")
_INDEX: Final = re.compile(r"(.*/)index\.htm[^/]*", re.DOTALL)
_SPACE: Final = " \t\0\v\f"


class RobotsExplanation(msgspec.Struct, frozen=True):
    """Why a URL may be fetched or not. `rule` None: no rule matches, so it may (or, when
    there is a `trouble`, nothing may). `group` is the name of the groups that apply, "" for none;
    `group_lines` are their user-agent lines. `trouble` is the reason that links are given where
    there was no answer: `dns:…`, `connection:…`, `robotsUnreachable:…`.
    """

    allowed: bool
    rule: RobotsRule | None
    group: str
    group_lines: tuple[int, ...]
    trouble: str = ""

    @property
    def unreachable(self) -> bool:
        """There was no answer."""
        return bool(self.trouble)

    def __str__(self) -> str:
        if self.trouble:
            word, _, cause = self.trouble.partition(":")
            if word != UNREACHABLE:
                return f"nothing can be asked of its host for now ({self.trouble})"
            why = f" ({cause})" if cause else ""
            return (
                f"robots.txt could not be had{why}: everything is forbidden for now "
                "(RFC 9309 §2.3.1.4)"
            )
        verdict = "allowed" if self.allowed else "forbidden"
        if self.rule is not None:
            return f"{verdict} by line {self.rule.line}, {self.rule}"
        if not self.group:
            return f"{verdict}: no group applies"
        return f"{verdict}: no rule of group {self.group!r} matches"


class RobotsGroup(msgspec.Struct, frozen=True):
    """All that a file says to one name, its groups merged (RFC 9309 §2.2.1)."""

    lines: tuple[int, ...]
    rules: tuple[RobotsRule, ...]
    delay: float | None


class RobotsTxt:
    """One origin's rules as they concern us. `unreachable`: no answer, so nothing is allowed, and
    `trouble` is the reason that its links are given.

    `agent` is our product token; it is matched without regard to case. One of two words could be
    addressed by no file: what is said to `*` applies.
    """

    def __init__(self, body: bytes, agent: str, *, trouble: str = "") -> None:
        self.unreachable = bool(trouble)
        self.trouble = trouble
        name = product_name(agent).lower()
        if _ANOTHER_WORD.match(agent, len(name)):
            name = ""
        groups, self.sitemaps = _parse(body, name)
        self.group = name if name in groups else "*" if "*" in groups else ""
        self._group = groups.get(self.group)
        self._rulebook = RobotsMatcher(self._group.rules if self._group else ())

    def allows(self, url: str) -> bool:
        """Whether a canonical URL may be fetched; a robots.txt itself always (RFC 9309 §2.2.2)."""
        if self.unreachable:
            return _is_robots(url)
        rule = self._rulebook.first(url)
        return rule is None or rule.allow or _is_robots(url)

    def explain(self, url: str) -> RobotsExplanation:
        """`allows` with its reason: the rule and its line number."""
        lines = self._group.lines if self._group else ()
        if _is_robots(url):
            return RobotsExplanation(True, None, self.group, lines)
        if self.unreachable:
            return RobotsExplanation(False, None, "", (), self.trouble)
        rule = self._rulebook.first(url)
        return RobotsExplanation(rule is None or rule.allow, rule, self.group, lines)

    @property
    def group_lines(self) -> tuple[int, ...]:
        """The user-agent lines that speak to us."""
        return self._group.lines if self._group else ()

    @property
    def rules(self) -> tuple[RobotsRule, ...]:
        """The rules that apply to us, in the file's order."""
        return self._group.rules if self._group else ()

    @property
    def delay(self) -> float | None:
        """Crawl-delay in seconds; None where there is none that makes sense. Not in the RFC: the
        largest of a group counts.
        """
        return self._group.delay if self._group else None


def read_robots(status: int | None, body: bytes, agent: str, trouble: str = "") -> RobotsTxt:
    """What a robots.txt answer means (RFC 9309 §2.3.1). `status` None: no answer.

    2xx is read; 4xx allows everything, but 429 is a server that cannot answer; 5xx and no answer
    forbid everything for now.
    """
    if is_unreachable(status):
        return RobotsTxt(b"", agent, trouble=trouble or UNREACHABLE)
    assert status is not None
    return RobotsTxt(body if 200 <= status < 300 else b"", agent)


def is_unreachable(status: int | None) -> bool:
    """Whether the answer is none: "unreachable" in RFC 9309 §2.3.1.4, and 429."""
    return status is None or status == 429 or status >= 500


def product_name(agent: str) -> str:
    """The product token at the start of a user agent (RFC 9309 §2.2.1). Digits are no part of one
    by the RFC; files address crawlers whose names have some all the same (docs/decisions/0126).
    """
    match = _NAME.match(agent)
    return match[0] if match else ""


def _is_robots(url: str) -> bool:
    return address_of(url) == "/robots.txt"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def _parse(body: bytes, name: str) -> tuple[dict[str, RobotsGroup], tuple[str, ...]]:
    """The groups for `name` and for `*`, merged, and the Sitemap lines (anywhere in the file).

    Only what RFC 9309 §2.2 defines shapes groups: a user-agent line after a rule starts a new one,
    any other line neither starts nor ends anything (§2.2.4). A Crawl-delay speaks to the names
    that stand before it in its group, back to the Crawl-delay before, which is how files that use
    it are written: a name, its delay, an empty line, the next name.
    """
    lines: dict[str, list[int]] = {}
    rules: dict[str, list[RobotsRule]] = {}
    delays: dict[str, float] = {}
    sitemaps: list[str] = []
    present: set[str] = set()
    asked: set[str] = set()  # those of them to whom a Crawl-delay speaks
    delayed = False  # they have theirs: the next user-agent line is another's
    ruled = False  # the group has a rule: the next user-agent line starts another
    numbered = any(char.isdigit() for char in name)
    for number, key, value in records(body):
        if key == "user-agent":
            if ruled:
                present, ruled = set(), False
            if not present or delayed:
                asked, delayed = set(), False
            named = _group_name(value, numbered)
            if named in {name, "*"} and named:
                present.add(named)
                asked.add(named)
                lines.setdefault(named, []).append(number)
        elif key in {"allow", "disallow"}:
            ruled = True
            if value:  # an empty one matches nothing
                for one in present:
                    rules.setdefault(one, []).extend(_rules(key == "allow", value, number))
        elif key == "crawl-delay":
            delay = _seconds(value)
            delayed = delay is not None
            for one in asked if delay is not None else ():
                delays[one] = max(delay or 0.0, delays.get(one, 0.0))
        elif key == "sitemap" and value:
            sitemaps.append(shown(value))
    groups = {
        one: RobotsGroup(
            tuple(at),
            tuple(rules.get(one, ())),
            delays.get(one),
        )
        for one, at in lines.items()
    }
    return groups, tuple(dict.fromkeys(sitemaps))


def _rules(allow: bool, octets: str, line: int) -> Iterator[RobotsRule]:
    """A line's rule; who allows a folder's index.html means the folder's own address too."""
    yield RobotsRule(allow, octets, line)
    if allow and (index := _INDEX.fullmatch(octets)):
        yield RobotsRule(allow, f"{index[1]}$", line)


def _group_name(value: str, numbered: bool) -> str:
    """Whom a user-agent line names; whatever follows the token (a version) says nothing.

    `numbered`: our name has digits, so names are read with theirs.
    """
    if value[:1] == "*" and (len(value) == 1 or value[1] in _SPACE):
        return "*"
    match = (_NAME if numbered else _TOKEN).match(value)
    return match[0].lower() if match else ""


def _seconds(value: str) -> float | None:
    try:
        delay = float(value)
    except ValueError:
        return None
    return delay if math.isfinite(delay) and delay >= 0 else None
