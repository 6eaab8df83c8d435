"""A person's regular expressions, none of which can stop the crawl. Pure.

Python's engine backtracks: `(a+)+$` needs 2ⁿ steps for n letters. RE2 needs a time that grows with
the text alone, but knows no look-around and no back-references, and a call costs 18 µs where
Python's costs 3 (measured). So:

    at most one unbounded repeat       Python's engine: it cannot run away on a URL's length
    more                               RE2
    more, and RE2 does not know it     Python's engine; a page over its deadline fails alone
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from crawler.errors import ConfigError


class Pattern(Protocol):
    """What is asked of a compiled pattern."""

    @property
    def pattern(self) -> str: ...
    def search(self, text: str, /) -> object: ...


def compile_pattern(key: str, pattern: str) -> Pattern:
    """Raises ConfigError that names `key` and what is wrong."""
    try:
        ours = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        where = f" at position {error.pos}" if isinstance(error, re.error) else ""
        said = error.msg if isinstance(error, re.error) else "too large"
        raise ConfigError(
            f"{key}: {pattern!r} is not a regular expression: {said}{where}"
        ) from error
    return ours if _repeats(pattern) <= 1 else _linear(pattern) or ours


def _repeats(pattern: str) -> int:
    """How many repeats there are, at most: escaped ones and those in classes count too."""
    return sum(map(pattern.count, "*+{"))


def _linear(pattern: str) -> Pattern | None:
    """The pattern for RE2; None when it cannot have it."""
    import re2  # noqa: PLC0415 - few crawls have such patterns

    options: Any = re2.Options()
    options.log_errors = False
    try:
        compiled: Pattern = re2.compile(pattern, options)
    except re2.error:
        return None
    return compiled
