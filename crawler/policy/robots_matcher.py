"""The rules of a robots.txt (RFC 9309 §2.2.2, §2.2.3): which of them decides on an address. Pure.

Everything is compared as octets in one spelling, `spell`:

    unreserved (RFC 3986 §2.3)        as it is:     %62%61%7A → baz
    a delimiter in its role           as it is:     / in a path, & = + in a query
    the same octet, percent-encoded   stays so:     %2F in a path is data, not a delimiter
    other reserved octets             as they are:  %3A → : and, in a query, %2F → /
    all else                          encoded:      ツ → %E3%83%84, a raw byte E9 → %E9

so two spellings of one address compare equal (RFC 9309 §2.2.2), and length counts a non-ASCII octet
as three, as the RFC's table writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

_ODD: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~/?:@!$&'()*+,;=\[\]#%-]")
_IN_PATH: Final = frozenset("/?#%")
_IN_QUERY: Final = frozenset("#%&=+")
_RESERVED_OR_PLAIN: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;="
)
_TWO_MEANINGS: Final = re.compile(r"%(2[6bBfF]|3[dDfF])")
"""& + / = ? percent-encoded: data in one part of an address, the same as unencoded in the other."""


class RobotsRule(msgspec.Struct, frozen=True):
    """One `allow` or `disallow` line, counted from 1; `octets` are its pattern's."""

    allow: bool
    octets: str
    line: int

    @property
    def pattern(self) -> str:
        """As the file has it, fit to be shown."""
        return shown(self.octets)

    def __str__(self) -> str:
        return f"{'Allow' if self.allow else 'Disallow'}: {self.pattern}"


class RobotsMatcher:
    """A group's rules, ready: the longest match first, Allow before Disallow (RFC 9309 §2.2.2)."""

    def __init__(self, rules: Iterable[RobotsRule]) -> None:
        self._prefixes: dict[str, RobotsRule] = {}
        self._wild: list[tuple[int, _Wild, RobotsRule]] = []
        for rule in rules:
            if "*" in rule.octets or rule.octets.endswith("$"):
                wild = _Wild(rule.octets)
                self._wild.append((wild.length, wild, rule))
                continue
            pattern = spell(rule.octets)
            known = self._prefixes.get(pattern)
            if known is None or (rule.allow and not known.allow):
                self._prefixes[pattern] = rule
        self._lengths = sorted({len(pattern) for pattern in self._prefixes}, reverse=True)
        self._wild.sort(key=lambda one: (-one[0], not one[2].allow))

    def first(self, url: str) -> RobotsRule | None:
        """The rule that decides, None: no rule matches."""
        if not (self._prefixes or self._wild):
            return None
        address = spell(address_of(url))
        best, longest = self._longest_prefix(address)
        for length, wild, rule in self._wild:
            if length < longest or (length == longest and best is not None and best.allow):
                break
            if wild.matches(address):
                # Allow comes first where lengths tie, so what ties here and does not allow
                # changes nothing.
                return rule if length > longest or rule.allow else best
        return best

    def _longest_prefix(self, address: str) -> tuple[RobotsRule | None, int]:
        for length in self._lengths:
            if length <= len(address):
                rule = self._prefixes.get(address[:length])
                if rule is not None:
                    return rule, length
        return None, 0


class _Wild:
    """A pattern with `*` (any octets) or an ending `$` (the end), matched without backtracking."""

    def __init__(self, pattern: str) -> None:
        self._anchored = pattern.endswith("$")
        if self._anchored:
            pattern = pattern[:-1]
        raw = pattern.split("*")
        seen = False
        self._pieces: list[str] = []
        for piece in raw:
            self._pieces.append(_spell(piece, in_query=seen))
            seen = seen or "?" in piece
        self.length = sum(map(len, self._pieces)) + len(raw) - 1 + self._anchored
        # Where `*` may or may not stand for the `?`, what follows has a spelling for each case.
        self._later: list[str] | None = None
        if len(raw) > 1 and not seen and _TWO_MEANINGS.search(pattern):
            self._later = [_spell(piece, in_query=True) for piece in raw]

    def matches(self, address: str) -> bool:
        if self._later is None:
            return _fits(self._pieces, address, anchored=self._anchored)
        path, mark, query = address.partition("?")
        if _fits(self._pieces, path, anchored=self._anchored and not mark):
            return True
        return bool(mark) and any(
            _fits([*self._pieces[:at], ""], path, anchored=True)
            and _fits(["", *self._later[at:]], query, anchored=self._anchored)
            for at in range(1, len(self._pieces))
        )


def _fits(pieces: list[str], text: str, *, anchored: bool) -> bool:
    """Whether the pieces stand in the text in this order, the first at its start."""
    if not text.startswith(pieces[0]):
        return False
    at = len(pieces[0])
    if len(pieces) == 1:
        return not anchored or at == len(text)
    for piece in pieces[1:-1]:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    last = pieces[-1]
    if anchored:
        return text.endswith(last) and len(text) - len(last) >= at
    return text.find(last, at) >= 0


def spell(address: str) -> str:
    """Path and query in the one spelling in which they are compared."""
    if _ODD.search(address) is None:
        return address
    path, mark, query = address.partition("?")
    return _spell(path, in_query=False) + mark + (_spell(query, in_query=True) if query else "")


def _spell(octets: str, *, in_query: bool) -> str:
    """One spelling for equal addresses; `octets` are one a character. See the table at the top."""
    if _ODD.search(octets) is None:
        return octets
    if not in_query and "?" in octets:
        return spell(octets)
    kept = _IN_QUERY if in_query else _IN_PATH

    def one(match: re.Match[str]) -> str:
        found = match[0]
        if len(found) == 1:
            return f"%{ord(found):02X}"
        char = chr(int(found[1:], 16))
        return char if char in _RESERVED_OR_PLAIN and char not in kept else found.upper()

    return _ODD.sub(one, octets)


def address_of(url: str) -> str:
    """Path and query as octets, one a character."""
    rest = url.partition("://")[2].partition("#")[0]
    start = next((at for at, char in enumerate(rest) if char in "/?"), len(rest))
    address = rest[start:]
    if not address.startswith("/"):
        address = f"/{address}"
    return address if address.isascii() else address.encode("utf-8", "replace").decode("latin-1")


def shown(octets: str) -> str:
    """As text, whatever the octets are."""
    return octets.encode("latin-1").decode("utf-8", "replace")
