"""robots.txt by RFC 9309. Pure: bytes and a status in, verdicts out, with the line that gave them.

A matcher of our own, because no kept library passes the RFC's own examples
(docs/decisions/0015).
"""

from __future__ import annotations

import codecs
import math
import re
from typing import Final

import msgspec

from crawler.rulebook import Rule, Rulebook, address_of, shown

MAX_BYTES: Final = 512 * 1024
"""RFC 9309 §2.5 asks for at least 500 KiB; what comes after the last whole line is not read."""

UNREACHABLE: Final = "robotsUnreachable"
"""Why a link is refused when its host is there and its robots.txt is not; the cause after it."""

_NAME: Final = re.compile(r"[A-Za-z_-]+")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_SPACE: Final = " \t\0\v\f"

_SPELLINGS: Final = {
    "user-agent": (
        "useragent", "useragents", "useragnet", "usersagent", "usegagent", "seragent",
    ),
    "allow": ("allow", "allows", "allowed"),
    "disallow": (
        "disallow", "disallows", "disallowed", "dissallow", "dissalow", "disalow", "diasllow",
        "disallaw", "desallow", "dsallow", "dssalow", "diallow", "disllow",
    ),
    "sitemap": ("sitemap", "sitemaps"),
    "crawl-delay": ("crawldelay", "crawldeley", "clawldelay", "crawdelay"),
}  # fmt: skip
"""The records that are read, and how they are misspelled, without `-`, `_` and white space: what
Google's parser, Protego and crawler-commons accept. Listed, not guessed: what only begins like one
(`DisallowAITraining`) is another record (docs/decisions/0111)."""

_KEYS: Final = {word: key for key, words in _SPELLINGS.items() for word in (key, *words)}
_JOINTS: Final = re.compile(r"[ \t\v\f_-]+")
_SPACES: Final = re.compile(r"[ \t\0\v\f]+")
_MARKS: Final = re.compile(r"(?:[ \t\0\v\f]|\xc2\xa0|\xef\xbb\xbf|\xe2\x80\x8b)+")
"""White space, and what looks like none: U+00A0, U+FEFF and U+200B in UTF-8."""
_BREAKS: Final = ("<br>", "<br/>", "<br />")
_BARE_SITEMAP: Final = re.compile(r"https?://[^ \t]+\.xml(?:\.gz)?", re.IGNORECASE)
_BOM: Final = re.compile(rb"^(?:\xef(?:\xbb\xbf?)?)?")


class Explanation(msgspec.Struct, frozen=True):
    """Why a URL may be fetched or not. `rule` None: no rule matches, so it may (or, when
    there is a `trouble`, nothing may). `group` is the name of the groups that apply, "" for none;
    `group_lines` are their user-agent lines. `trouble` is the reason that links are given where
    there was no answer: `dns:…`, `connection:…`, `robotsUnreachable:…`.
    """

    allowed: bool
    rule: Rule | None
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


class Group(msgspec.Struct, frozen=True):
    """All that a file says to one name, its groups merged (RFC 9309 §2.2.1)."""

    lines: tuple[int, ...]
    rules: tuple[Rule, ...]
    delay: float | None


class Robots:
    """One origin's rules as they concern us. `unreachable`: no answer, so nothing is allowed, and
    `trouble` is the reason that its links are given.

    `agent` is our product token; it is matched without regard to case.
    """

    def __init__(self, body: bytes, agent: str, *, trouble: str = "") -> None:
        self.unreachable = bool(trouble)
        self.trouble = trouble
        name = product_name(agent).lower()
        groups, self.sitemaps = _parse(_text(body), name)
        self.group = name if name in groups else "*" if "*" in groups else ""
        self._group = groups.get(self.group)
        self._rulebook = Rulebook(self._group.rules if self._group else ())

    def allows(self, url: str) -> bool:
        """Whether a canonical URL may be fetched; a robots.txt itself always (RFC 9309 §2.2.2)."""
        if self.unreachable:
            return _is_robots(url)
        rule = self._rulebook.first(url)
        return rule is None or rule.allow or _is_robots(url)

    def explain(self, url: str) -> Explanation:
        """`allows` with its reason: the rule and its line number."""
        lines = self._group.lines if self._group else ()
        if _is_robots(url):
            return Explanation(True, None, self.group, lines)
        if self.unreachable:
            return Explanation(False, None, "", (), self.trouble)
        rule = self._rulebook.first(url)
        return Explanation(rule is None or rule.allow, rule, self.group, lines)

    @property
    def group_lines(self) -> tuple[int, ...]:
        """The user-agent lines that speak to us."""
        return self._group.lines if self._group else ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that apply to us, in the file's order."""
        return self._group.rules if self._group else ()

    @property
    def delay(self) -> float | None:
        """Crawl-delay in seconds; None where there is none that makes sense. Not in the RFC: the
        largest of a group counts.
        """
        return self._group.delay if self._group else None


def read_robots(status: int | None, body: bytes, agent: str, trouble: str = "") -> Robots:
    """What a robots.txt answer means (RFC 9309 §2.3.1). `status` None: no answer.

    2xx is read; 4xx allows everything, but 429 is a server that cannot answer; 5xx and no answer
    forbid everything for now.
    """
    if is_unreachable(status):
        return Robots(b"", agent, trouble=trouble or UNREACHABLE)
    assert status is not None
    return Robots(body if 200 <= status < 300 else b"", agent)


def is_unreachable(status: int | None) -> bool:
    """Whether the answer is none: "unreachable" in RFC 9309 §2.3.1.4, and 429."""
    return status is None or status == 429 or status >= 500


def product_name(agent: str) -> str:
    """The product token at the start of a user agent or of a user-agent line (RFC 9309 §2.2.1)."""
    match = _NAME.match(agent)
    return match[0] if match else ""


def _is_robots(url: str) -> bool:
    return address_of(url) == "/robots.txt"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def whole_lines(body: bytes) -> bytes:
    """What is read of a file: its lines that end within MAX_BYTES."""
    if len(body) <= MAX_BYTES:
        return body
    cut = body[:MAX_BYTES]
    if body[MAX_BYTES : MAX_BYTES + 1] in {b"\r", b"\n"}:
        return cut
    return cut[: max(cut.rfind(b"\n"), cut.rfind(b"\r")) + 1]


def _text(body: bytes) -> str:
    """The octets that count, one a character: what is not UTF-8 must compare as it stands.

    A byte order mark is no part of them, whole or cut. UTF-16's is believed where the text has
    its zeros, and dropped before one that has not.
    """
    if body[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        if b"\0" in body[2:64]:
            text = body[: 2 * MAX_BYTES].decode("utf-16", "replace")
            body = text.encode("utf-8", "replace")
        else:
            body = body[2:]
    return _BOM.sub(b"", whole_lines(body)).decode("latin-1")


def _parse(text: str, name: str) -> tuple[dict[str, Group], tuple[str, ...]]:
    """The groups for `name` and for `*`, merged, and the Sitemap lines (anywhere in the file).

    Only what RFC 9309 §2.2 defines shapes groups: a user-agent line after a rule starts a new one,
    any other line neither starts nor ends anything (§2.2.4). A Crawl-delay speaks to the names
    that stand before it in its group, back to the Crawl-delay before, which is how files that use
    it are written: a name, its delay, an empty line, the next name.
    """
    lines: dict[str, list[int]] = {}
    rules: dict[str, list[Rule]] = {}
    delays: dict[str, float] = {}
    sitemaps: list[str] = []
    present: set[str] = set()
    asked: set[str] = set()  # those of them to whom a Crawl-delay speaks
    delayed = False  # they have theirs: the next user-agent line is another's
    ruled = False  # the group has a rule: the next user-agent line starts another
    for number, line in enumerate(_LINE_END.split(text), 1):
        key, value = _record(line)
        if key == "user-agent":
            if ruled:
                present, ruled = set(), False
            if not present or delayed:
                asked, delayed = set(), False
            named = _group_name(value)
            if named in {name, "*"} and named:
                present.add(named)
                asked.add(named)
                lines.setdefault(named, []).append(number)
        elif key in {"allow", "disallow"}:
            ruled = True
            if value:  # an empty one matches nothing
                for one in present:
                    rules.setdefault(one, []).append(Rule(key == "allow", value, number))
        elif key == "crawl-delay":
            delay = _seconds(value)
            delayed = delay is not None
            for one in asked if delay is not None else ():
                delays[one] = max(delay or 0.0, delays.get(one, 0.0))
        elif key == "sitemap" and value:
            sitemaps.append(shown(value))
    groups = {
        one: Group(
            tuple(at),
            tuple(rules.get(one, ())),
            delays.get(one),
        )
        for one, at in lines.items()
    }
    return groups, tuple(dict.fromkeys(sitemaps))


def _record(line: str) -> tuple[str, str]:
    """The key of a line, as the RFC spells it, and its value; a key of "" is none that is read.

    Where the colon is missing, the white space before the last word stands for it. The address of
    an XML file alone in a line is a sitemap's whose key was forgotten.
    """
    text = line.partition("#")[0]
    key, colon, value = text.partition(":")
    if colon and (known := _key(key)):
        return known, _value(value)
    words = _SPACES.split(_value(text))
    value = words.pop()
    if not words:
        return ("sitemap", value) if _BARE_SITEMAP.fullmatch(value) else ("", "")
    known = _key(" ".join(words))
    if known in {"allow", "disallow"} and value[:1] not in {"/", "*"}:
        return "", ""  # prose
    return known, value


def _key(text: str) -> str:
    word = (text if text.isascii() else _MARKS.sub(" ", text)).strip(_SPACE).lower()
    return _KEYS.get(word) or _KEYS.get(_JOINTS.sub("", word), "")


def _value(text: str) -> str:
    """Without the white space around it, and what editors and web pages leave there.

    What is no ASCII goes from the start alone: at the end of a path it belongs to the path.
    """
    text = text.strip(_SPACE)
    if text.endswith(">"):
        lower = text[-6:].lower()
        ended = next((len(tag) for tag in _BREAKS if lower.endswith(tag)), 0)
        text = text[: len(text) - ended].rstrip(_SPACE)
    if text.isascii() or (marks := _MARKS.match(text)) is None:
        return text
    return text[marks.end() :]


def _group_name(value: str) -> str:
    """Whom a user-agent line names; whatever follows the token (a version) says nothing."""
    if value[:1] == "*" and (len(value) == 1 or value[1] in _SPACE):
        return "*"
    return product_name(value).lower()


def _seconds(value: str) -> float | None:
    try:
        delay = float(value)
    except ValueError:
        return None
    return delay if math.isfinite(delay) and delay >= 0 else None
