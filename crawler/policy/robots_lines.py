"""The lines of a robots.txt, as they are written: which records they are (RFC 9309 §2.2). Pure.

What the RFC's grammar reads is read by it. What it cannot read is read as Google's parser, Protego
and crawler-commons do, where they agree on what was meant (docs/decisions/0111).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

MAX_BYTES: Final = 512 * 1024
"""RFC 9309 §2.5 asks for at least 500 KiB; what comes after the last whole line is not read."""

MAX_LINE: Final = 8 * 2083 - 1
"""Octets of a line that are read, as Google's parser does: eight times the longest address that
browsers once took. It bounds what matching a pattern costs."""

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


def records(body: bytes) -> Iterator[tuple[int, str, str]]:
    """The file's records: line (from 1), key as the RFC spells it, value; octets are one a
    character. Lines that say nothing are passed over.
    """
    for number, line in enumerate(_LINE_END.split(_text(body)), 1):
        key, value = _record(line[:MAX_LINE])
        if key:
            yield number, key, value


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
