"""The start tags of an HTML page and their attributes, with their positions in the text.

This is the standard's tokenizer (WHATWG HTML §13.2.5) for tags and attributes; the tests compare it
with lexbor. Only start tags are inspected; comments, scripts and text are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from html.entities import html5
from typing import Final

_S: Final = r"[\t\n\f\r ]"
_VALUE: Final = rf"""{_S}*+={_S}*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
_TAG: Final = re.compile(
    rf"""
      <!--(?:-?>|.*?(?:--!?>|\Z))
    | <(?:[!?]|/(?![a-zA-Z]))[^>]*+>?
    | <(?P<name>/?[a-zA-Z][^\t\n\f\r />]*+)
       (?P<attributes>(?:[\t\n\f\r /]++|[^\t\n\f\r />][^\t\n\f\r />=]*+(?:{_VALUE}|(?!{_S}*=)))*+)>
    | </?[a-zA-Z].*  # a tag cut off at the end of the page: browsers drop it
    """,
    re.VERBOSE | re.DOTALL,
)
_ATTRIBUTE: Final = re.compile(
    rf"""[\t\n\f\r /]*+(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)
    (?:{_S}*+={_S}*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'
        |(?P<bare>[^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>)|(?=\Z)))?+""",
    re.VERBOSE,
)
_RAW_TEXT_ELEMENTS: Final = frozenset(
    {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"}
)
_END_TAGS: Final = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in _RAW_TEXT_ELEMENTS - {"plaintext"}
}
_REFERENCE: Final = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|([a-zA-Z][a-zA-Z0-9]*)(;?)(=?))")


class TagAttribute:
    """One attribute of a start tag: its position in the page and its decoded value."""

    __slots__ = ("end", "name", "quote", "start", "value", "value_end", "value_start")

    def __init__(self, match: re.Match[str]) -> None:
        self.name = match["name"].lower()
        self.start, self.end = match.span()
        group = match.lastgroup or "name"
        self.quote = {"double": '"', "single": "'"}.get(group, "")
        if group == "name":
            self.value, self.value_start, self.value_end = "", self.end, self.end
        else:
            self.value_start, self.value_end = match.span(group)
            self.value = unescape_attribute(match[group])

    def quoted(self, value: str) -> str:
        """The value escaped for the attribute's existing quotes, or with new ones."""
        if self.quote == "'":
            return escape(value, quote=False).replace("'", "&#39;")
        text = escape(value, quote=False).replace('"', "&quot;")
        return text if self.quote else f'"{text}"'


def start_tags(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Name, start and end of each start tag, and the content of a raw text element (`<style>`)."""
    position = 0
    while True:
        for match in _TAG.finditer(text, position):
            name = match["name"]
            if not name or name[0] == "/":
                continue
            name = name.lower()
            if name not in _RAW_TEXT_ELEMENTS:
                yield name, match.start(), match.end(), ""
                continue
            start = match.end()
            end = _END_TAGS[name].search(text, start) if name in _END_TAGS else None
            position = end.start() if end else len(text)
            yield name, match.start(), start, text[start:position]
            break  # skip the content, which may look like tags
        else:
            return


def attributes_of(text: str, name: str, start: int, end: int) -> list[TagAttribute]:
    """The attributes of the tag at `start`; of repeated names, the first."""
    found: dict[str, TagAttribute] = {}
    position = start + 1 + len(name)
    while (match := _ATTRIBUTE.match(text, position, end - 1)) is not None:
        position = match.end()
        attribute = TagAttribute(match)
        found.setdefault(attribute.name, attribute)
    return list(found.values())


def unescape_attribute(text: str) -> str:
    """Decode the character references of an attribute value (§13.2.5.73)."""
    return _REFERENCE.sub(_expand_reference, text) if "&" in text else text


def _expand_reference(match: re.Match[str]) -> str:
    name, semicolon, equals = match.groups()
    if name is None:
        return unescape(match[0])
    if semicolon and f"{name};" in html5:
        return html5[f"{name};"] + equals
    if not semicolon and not equals and name in html5:
        return html5[name]
    return match[0]
