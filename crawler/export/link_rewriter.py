"""Links in HTML replaced in their places; every other byte of the page stays as it was.

A parser's serialisation is another page: lexbor drops the document type's identifiers (quirks
mode), a newline in `<pre>`, and moves what browsers leave in `<noscript>`. So this is the
standard's tokenizer (WHATWG HTML §13.2.5) as far as tags and attributes go, and lexbor is the
oracle in the tests. Only start tags are looked into; comments, scripts and text are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape, unescape
from html.entities import html5
from typing import Final

from crawler.parse.css import replace_urls

_S: Final = r"[\t\n\f\r ]"
_VALUE: Final = rf"""{_S}*+={_S}*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
_TAG: Final = re.compile(
    rf"""
      <!--(?:-?>|.*?(?:--!?>|\Z))
    | <(?:[!?]|/(?![a-zA-Z]))[^>]*+>?
    | <(?P<name>/?[a-zA-Z][^\t\n\f\r />]*+)
       (?P<attributes>(?:[\t\n\f\r /]++|[^\t\n\f\r />][^\t\n\f\r />=]*+(?:{_VALUE}|(?!{_S}*=)))*+)>
    | </?[a-zA-Z].*  # a tag that the end of the page cuts off: browsers drop it
    """,
    re.VERBOSE | re.DOTALL,
)
_ATTRIBUTE: Final = re.compile(
    rf"""[\t\n\f\r /]*+(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)
    (?:{_S}*+={_S}*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'
        |(?P<bare>[^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>)|(?=\Z)))?+""",
    re.VERBOSE,
)
_RAW: Final = frozenset(
    {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"}
)
_ENDS: Final = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE) for name in _RAW - {"plaintext"}
}
_REFERENCE: Final = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|([a-zA-Z][a-zA-Z0-9]*)(;?)(=?))")

_URLS: Final = {
    "href": frozenset({"a", "area", "link", "image", "use", "feimage"}),
    "xlink:href": frozenset({"a", "image", "use", "feimage", "script"}),
    "src": frozenset(
        {
            "img", "script", "iframe", "frame", "source", "video", "audio", "track", "embed",
            "input",
        }
    ),
    "data-src": frozenset({"img", "source", "video", "audio", "iframe"}),
    "poster": frozenset({"video"}),
    "data": frozenset({"object"}),
    "action": frozenset({"form"}),
    "formaction": frozenset({"button", "input"}),
    "background": frozenset({"body", "table", "td", "th"}),
}  # fmt: skip
_SRCSETS: Final = {
    "srcset": frozenset({"img", "source"}),
    "data-srcset": frozenset({"img", "source"}),
    "imagesrcset": frozenset({"link"}),
}
_LINKING: Final = frozenset({"base", "meta"}.union(*_URLS.values(), *_SRCSETS.values()))
_STYLED: Final = re.compile(r"[sS][tT][yY][lL][eE]")
"""Any element may have a style; faster than with IGNORECASE."""

_REFRESH: Final = re.compile(
    r"(\s*[\d.]*\s*[;,\s]\s*(?:url\s*=\s*)?['\"]?)([^'\"]*)", re.IGNORECASE | re.DOTALL
)
_SPACE: Final = "\t\n\f\r "

Place = Callable[[str], str]
"""From a link as it is written to the link as it shall be."""


class TagAttribute:
    """One attribute of a start tag: where its value is, and what it means."""

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
            self.value = unescaped(match[group])

    def written(self, value: str) -> str:
        """The value as it stands in a page, in the quotes that are there, or in new ones."""
        if self.quote == "'":
            return escape(value, quote=False).replace("'", "&#39;")
        text = escape(value, quote=False).replace('"', "&quot;")
        return text if self.quote else f'"{text}"'


def start_tags(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Name, start and end of each start tag, and its raw content (`<style>`), if it has any."""
    position = 0
    while True:
        for match in _TAG.finditer(text, position):
            name = match["name"]
            if not name or name[0] == "/":
                continue
            name = name.lower()
            if name not in _RAW:
                yield name, match.start(), match.end(), ""
                continue
            start = match.end()
            end = _ENDS[name].search(text, start) if name in _ENDS else None
            position = end.start() if end else len(text)
            yield name, match.start(), start, text[start:position]
            break  # what was passed over may hold what looks like tags
        else:
            return


def attributes_of(text: str, name: str, start: int, end: int) -> list[TagAttribute]:
    """The attributes of the tag at a place; the first of a name counts."""
    found: dict[str, TagAttribute] = {}
    position = start + 1 + len(name)
    while (match := _ATTRIBUTE.match(text, position, end - 1)) is not None:
        position = match.end()
        attribute = TagAttribute(match)
        found.setdefault(attribute.name, attribute)
    return list(found.values())


def replace_links(text: str, place: Place, keep: Place) -> str:
    """The page with each link put through `place`.

    A canonical address goes through `keep`. What a copy on disk must not have is taken out: the
    base address, a content security policy, connections made in advance, checksums of what may
    have been rewritten.
    """
    out: list[str] = []
    last = 0
    for name, start, end, content in start_tags(text):
        if name in _LINKING or (end - start > len(name) + 9 and _STYLED.search(text, start, end)):
            edits = _edits(name, attributes_of(text, name, start, end), place, keep)
            if edits is None:
                out.append(text[last:start])
                last = end
                continue
            for first, after, new in sorted(edits):
                out += [text[last:first], new]
                last = after
        if name == "style" and content:
            new = replace_urls(content, place)
            if new != content:
                out += [text[last:end], new]
                last = end + len(content)
    return "".join([*out, text[last:]])


def _edits(
    name: str, attributes: list[TagAttribute], place: Place, keep: Place
) -> list[tuple[int, int, str]] | None:
    """What to replace in a tag; None: the tag itself goes."""
    by_name = {one.name: one for one in attributes}
    if name == "base":
        return None if "href" in by_name else []
    rels: frozenset[str] = frozenset()
    if name == "meta":
        return _meta_edits(by_name, place)
    if name == "link":
        rels = frozenset(by_name["rel"].value.lower().split()) if "rel" in by_name else rels
        if rels & {"preconnect", "dns-prefetch"}:
            return None
    edits = []
    for one in attributes:
        if name in _URLS.get(one.name, ()):
            value = one.value.strip(_SPACE)
            new = (keep if "canonical" in rels else place)(value) if value else value
            if new == value:
                continue
        elif name in _SRCSETS.get(one.name, ()):
            new = replace_srcset(one.value, place)
        elif one.name == "style":
            new = replace_urls(one.value, place)
        elif one.name in {"integrity", "crossorigin"}:
            edits.append((one.start, one.end, ""))
            continue
        else:
            continue
        if new != one.value:
            edits.append((one.value_start, one.value_end, one.written(new)))
    return edits


def _meta_edits(
    by_name: dict[str, TagAttribute], place: Place
) -> list[tuple[int, int, str]] | None:
    kind = by_name["http-equiv"].value.strip(_SPACE).lower() if "http-equiv" in by_name else ""
    if kind.startswith("content-security-policy"):
        return None
    content = by_name.get("content")
    if kind == "refresh" and content is not None:
        match = _REFRESH.match(content.value)
        if match and match[2].strip(_SPACE):
            new = match[1] + place(match[2].strip(_SPACE)) + content.value[match.end() :]
            return [(content.value_start, content.value_end, content.written(new))]
    return []


def replace_srcset(srcset: str, place: Place) -> str:
    """A srcset with its URLs replaced and its descriptors kept (WHATWG HTML, "parse a srcset")."""
    out: list[str] = []
    position, end = 0, len(srcset)
    while position < end:
        start = position
        while position < end and srcset[position] in _SPACE + ",":
            position += 1
        out.append(srcset[start:position])
        start = position
        while position < end and srcset[position] not in _SPACE:
            position += 1
        url = srcset[start:position]
        bare = url.rstrip(",")
        if bare:
            out.append(place(bare))
        out.append(url[len(bare) :])
        if bare != url:
            continue
        start, depth = position, 0
        while position < end and (depth or srcset[position] != ","):
            depth = max(depth + {"(": 1, ")": -1}.get(srcset[position], 0), 0)
            position += 1
        out.append(srcset[start:position])
    return "".join(out)


def unescaped(text: str) -> str:
    """An attribute's value with its character references undone, as in attributes (§13.2.5.73)."""
    return _REFERENCE.sub(_referred, text) if "&" in text else text


def _referred(match: re.Match[str]) -> str:
    name, semicolon, equals = match.groups()
    if name is None:
        return unescape(match[0])
    if semicolon and f"{name};" in html5:
        return html5[f"{name};"] + equals
    if not semicolon and not equals and name in html5:
        return html5[name]
    return match[0]
