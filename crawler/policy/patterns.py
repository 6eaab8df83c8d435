r"""A person's regular expressions, matched in time that grows with the text alone. Pure.

Python's engine backtracks: `(a|aa)+$` needs 2ⁿ steps for n letters, and nothing can interrupt it in
the event loop. So a pattern is compiled by the first of these that can have it (decision 0099):

    Python's engine    a pattern without repeats, whose ways to match are few: three times as fast
    RE2                everything that it knows: repeats, alternatives, groups, classes, flags
    Python's engine    what RE2 does not know (look-around), where one repeat at most stands in it,
                       at its end or behind `^`: such a pattern backtracks once through the text
    nobody             the rest is refused with a sentence: look-around or back-references beside
                       repeats, counted repeats that multiply

RE2 takes `\d`, `\w` and `\s` for ASCII. In text they are rewritten to Unicode's classes, as
Python has them; `\b` stays ASCII's.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, Final, Protocol

from crawler.errors import ConfigError

LONGEST: Final = 256 * 1024
"""Characters of a pattern: to compile one costs time, too."""

WAYS: Final = 64
"""Ways through a pattern without repeats that Python's engine may have to try at one place."""

STEPS: Final = 20_000
TEXT_STEPS: Final = 100_000
"""Instructions of RE2's program for a pattern with counted repeats, of which a short one can make
any number; the slowest program takes 0.1 s for a URL of 2083 characters. In text each of Unicode's
classes needs a thousand, and there a page has its deadline."""


SHOWN: Final = 200
"""Characters of a pattern that an error quotes."""


class Match(Protocol):
    """What a pattern found in a text."""

    def groups(self) -> tuple[str | None, ...]: ...
    def __getitem__(self, group: int, /) -> str | Any: ...


class Pattern(Protocol):
    """A compiled pattern for URLs: does it occur?"""

    @property
    def pattern(self) -> str: ...
    def search(self, text: str, /) -> object: ...


class TextPattern(Protocol):
    """A compiled pattern for text: what did it find?"""

    @property
    def pattern(self) -> str: ...
    def search(self, text: str, /) -> Match | None: ...


def compile_pattern(key: str, pattern: str) -> Pattern:
    """A pattern to look for in URLs. Raises ConfigError that names `key` and what is wrong."""
    if (ours := _pythons(key, pattern)) is not None:
        return ours
    try:
        return _Occurs(pattern)
    except _Refused as refused:
        return _last_way(key, pattern, refused)


def compile_text_pattern(key: str, pattern: str) -> TextPattern:
    """A pattern to take a value out of a page's text with. Raises ConfigError likewise."""
    if (ours := _pythons(key, pattern)) is not None:
        return ours
    try:
        return _Finds(pattern)
    except _Refused as refused:
        return _last_way(key, pattern, refused)


class _Refused(Exception):
    """RE2 cannot have this pattern; the message says why."""


class _Occurs:
    """RE2 on a URL's bytes: it need not say where, which halves the time of a call (1.5 µs)."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._search = _linear(_translated(pattern, classes=_NONE), captures=False).search

    def search(self, text: str, /) -> object:
        return self._search(text.encode("utf-8", "replace"))


class _Finds:
    """RE2 on text."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._search = _linear(_translated(pattern, classes=_UNICODE), captures=True).search

    def search(self, text: str, /) -> Match | None:
        try:
            found: Match | None = self._search(text)
        except UnicodeEncodeError:  # a lone surrogate
            found = self._search(text.encode("utf-8", "replace").decode())
        return found


# ── Python's engine ──────────────────────────────────────────────────────────────────────────


def _pythons(key: str, pattern: str) -> re.Pattern[str] | None:
    """For Python's engine; None: it could run away on it."""
    if len(pattern) > LONGEST:
        raise ConfigError(f"{key}: a pattern of {len(pattern)} characters, at most {LONGEST}")
    shape = _Shape(pattern)
    return _by_python(key, pattern) if shape.plain else None


def _last_way(key: str, pattern: str, refused: _Refused) -> re.Pattern[str]:
    """What RE2 does not know, with Python's engine where that is linear all the same."""
    ours = _by_python(key, pattern)
    if _Shape(pattern).linear:
        return ours
    hint = ""
    if "(?" in pattern or "\\" in pattern:
        hint = "; look-around needs a pattern with one repeat at most, at its end or behind ^"
    shown = pattern if len(pattern) <= SHOWN else f"{pattern[:SHOWN]}…"
    raise ConfigError(f"{key}: {shown!r} cannot be matched in linear time ({refused}){hint}")


def _by_python(key: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        where = f" at position {error.pos}" if isinstance(error, re.error) else ""
        said = error.msg if isinstance(error, re.error) else "too large"
        raise ConfigError(
            f"{key}: {pattern!r} is not a regular expression: {said}{where}"
        ) from error


class _Shape:
    """What can make Python's engine backtrack in a pattern, counted high rather than low."""

    def __init__(self, pattern: str) -> None:
        self.repeats = 0
        self.many = False  # a whole group is repeated, or something is not understood
        self.back = False  # there is a back-reference
        self.ends = False  # the pattern ends with its repeat, outside of any look-around
        self.anchored = False  # it is only tried at the beginning
        alternatives = [1]  # of the pattern and of each group in it
        optional = 0
        groups: list[tuple[int, bool]] = [(0, False)]  # open: place above, within a look-around
        before = ""
        for token in _TOKENS.finditer(pattern):
            kind, text = token.lastgroup or "", token[0]
            if kind == "repeat":
                self.many = self.many or before == "close"
                optional += text[0] == "?"
                self.repeats += text[0] != "?"
                self.ends = text[0] != "?" and not groups[-1][1]
            elif kind == "close":
                groups[1:] = groups[1:-1]
            else:
                self.ends = False
            if kind == "open":
                alternatives.append(1)
                groups.append((len(alternatives) - 1, groups[-1][1] or text in _LOOKS))
            elif kind == "bar":
                alternatives[groups[-1][0]] += 1
            self.back = self.back or kind == "back"
            self.many = self.many or kind == "strange"
            self.anchored = self.anchored or (kind == "start" and before in {"", "flags"})
            before = kind
        self.anchored = self.anchored and alternatives[0] == 1
        self.few = optional <= WAYS and prod(alternatives) * 2**optional <= WAYS

        self.flags = "(?" in pattern and any(
            token.lastgroup == "flags" for token in _TOKENS.finditer(pattern)
        )
        # Python's compiler goes through a range letter by letter where case is ignored: minutes.
        if self.flags and (not pattern.isascii() or re.search(r"\\[uUN]", pattern)):
            self.many = True

    @property
    def plain(self) -> bool:
        """Whether there is nothing to repeat, and little to try."""
        return not (self.many or self.flags or self.repeats) and self.few

    @property
    def linear(self) -> bool:
        """Whether Python's engine needs a time that grows with the text alone."""
        if self.many or not self.few:
            return False
        if self.repeats == 0:
            return True
        return self.repeats == 1 and not self.back and (self.ends or self.anchored)


_LOOKS: Final = frozenset({"(?=", "(?!", "(?<=", "(?<!"})

_TOKENS: Final = re.compile(
    r"""(?P<start>\^|\\A)
      | (?P<back>\\[1-9]|\(\?P=)
      | (?P<letter>\\.|\[\^?\]?(?:[^\]\\]|\\.)*\])
      | (?P<flags>\(\?[ais]+\))
      | (?P<open>\((?:\?(?:[:=!]|<[=!]|P<[A-Za-z_][A-Za-z0-9_]*>))?(?!\?))
      | (?P<strange>\(\?|\[)
      | (?P<close>\))
      | (?P<repeat>(?:[*+?]|\{[0-9]*,?[0-9]*\})[?+]?)
      | (?P<bar>\|)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
"""A pattern's parts, as far as they tell whether it backtracks."""


# ── RE2 ──────────────────────────────────────────────────────────────────────────────────────


def _linear(pattern: str, *, captures: bool) -> Any:
    """Raises _Refused."""
    import re2  # noqa: PLC0415 - few crawls have such patterns

    options: Any = re2.Options()
    options.log_errors = False
    options.never_capture = not captures
    try:
        compiled: Any = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        raise _Refused(
            said.decode("utf-8", "replace") if isinstance(said, bytes) else "?"
        ) from error
    most = TEXT_STEPS if captures else STEPS
    if "{" in pattern and (steps := compiled.programsize) > most:
        raise _Refused(f"its counted repeats multiply to {steps} steps, at most {most}")
    return compiled


_NONE: Final[dict[str, tuple[str, str]]] = {}
_SPACES: Final = r"\t-\r\x1c-\x1f\x{85}\pZ"
_UNICODE: Final = {
    # as Python has them: outside of a class, and in one
    "d": (r"\p{Nd}", r"\p{Nd}"),
    "D": (r"\P{Nd}", r"\P{Nd}"),
    "w": (r"[\pL\pN_]", r"\pL\pN_"),
    "W": (r"[^\pL\pN_]", ""),
    "s": (f"[{_SPACES}]", _SPACES),
    "S": (f"[^{_SPACES}]", ""),
}


def _translated(pattern: str, *, classes: dict[str, tuple[str, str]]) -> str:
    r"""The same in RE2's words: `\Z`, `\uXXXX`, and `classes` outside and inside of brackets."""

    def escape(text: str, *, inside: bool) -> str:
        letter = text[1]
        if letter == "Z" and not inside:
            return r"\z"
        if letter in "uU":
            return rf"\x{{{text[2:]}}}"
        return classes.get(letter, (text, text))[inside] or text

    def part(token: re.Match[str]) -> str:
        text = token[0]
        if text[0] == "[":
            return _ESCAPE.sub(lambda one: escape(one[0], inside=True), text)
        return escape(text, inside=False)

    return _PARTS.sub(part, pattern)


_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^uU])", re.DOTALL)
_PARTS: Final = re.compile(rf"{_ESCAPE.pattern}|\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
