"""Replace links in HTML in place; every other byte of the page stays the same.

A parser's serialisation is a different page: lexbor drops the document type's identifiers (quirks
mode), a newline in `<pre>`, and moves what browsers leave in `<noscript>`. So links are replaced in
the text, at the positions of their attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from crawler.export.start_tags import TagAttribute, attributes_of, start_tags
from crawler.parse.css import replace_urls

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
_LINKING_ELEMENTS: Final = frozenset({"base", "meta"}.union(*_URLS.values(), *_SRCSETS.values()))
_STYLE_NAME: Final = re.compile(r"[sS][tT][yY][lL][eE]")
"""Any element may have a style; faster than with IGNORECASE."""

_REFRESH: Final = re.compile(
    r"(\s*[\d.]*\s*[;,\s]\s*(?:url\s*=\s*)?['\"]?)([^'\"]*)", re.IGNORECASE | re.DOTALL
)
_SPACE: Final = "\t\n\f\r "

LinkRewrite = Callable[[str], str]
"""From a link as written in the page to its replacement."""


def replace_links(text: str, rewrite: LinkRewrite, rewrite_canonical: LinkRewrite) -> str:
    """The page with each link replaced by `rewrite`, a canonical URL by `rewrite_canonical`.

    What does not work in a copy on disk is removed: the base URL, a content security policy,
    preconnect hints, and integrity checksums of files that may have been rewritten.
    """
    out: list[str] = []
    last = 0
    for name, start, end, content in start_tags(text):
        if name in _LINKING_ELEMENTS or (
            end - start > len(name) + 9 and _STYLE_NAME.search(text, start, end)
        ):
            edits = _edits(name, attributes_of(text, name, start, end), rewrite, rewrite_canonical)
            if edits is None:
                out.append(text[last:start])
                last = end
                continue
            for first, after, new in sorted(edits):
                out += [text[last:first], new]
                last = after
        if name == "style" and content:
            new = replace_urls(content, rewrite)
            if new != content:
                out += [text[last:end], new]
                last = end + len(content)
    return "".join([*out, text[last:]])


def _edits(
    name: str, attributes: list[TagAttribute], rewrite: LinkRewrite, rewrite_canonical: LinkRewrite
) -> list[tuple[int, int, str]] | None:
    """The replacements in a tag, as (start, end, text); None: remove the tag."""
    by_name = {attribute.name: attribute for attribute in attributes}
    if name == "base":
        return None if "href" in by_name else []
    rels: frozenset[str] = frozenset()
    if name == "meta":
        return _meta_edits(by_name, rewrite)
    if name == "link":
        rels = frozenset(by_name["rel"].value.lower().split()) if "rel" in by_name else rels
        if rels & {"preconnect", "dns-prefetch"}:
            return None
    edits = []
    for attribute in attributes:
        if name in _URLS.get(attribute.name, ()):
            value = attribute.value.strip(_SPACE)
            new = (rewrite_canonical if "canonical" in rels else rewrite)(value) if value else value
            if new == value:
                continue
        elif name in _SRCSETS.get(attribute.name, ()):
            new = replace_srcset(attribute.value, rewrite)
        elif attribute.name == "style":
            new = replace_urls(attribute.value, rewrite)
        elif attribute.name in {"integrity", "crossorigin"}:
            edits.append((attribute.start, attribute.end, ""))
            continue
        else:
            continue
        if new != attribute.value:
            edits.append((attribute.value_start, attribute.value_end, attribute.quoted(new)))
    return edits


def _meta_edits(
    by_name: dict[str, TagAttribute], rewrite: LinkRewrite
) -> list[tuple[int, int, str]] | None:
    kind = by_name["http-equiv"].value.strip(_SPACE).lower() if "http-equiv" in by_name else ""
    if kind.startswith("content-security-policy"):
        return None
    content = by_name.get("content")
    if kind == "refresh" and content is not None:
        match = _REFRESH.match(content.value)
        if match and match[2].strip(_SPACE):
            new = match[1] + rewrite(match[2].strip(_SPACE)) + content.value[match.end() :]
            return [(content.value_start, content.value_end, content.quoted(new))]
    return []


def replace_srcset(srcset: str, rewrite: LinkRewrite) -> str:
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
            out.append(rewrite(bare))
        out.append(url[len(bare) :])
        if bare != url:
            continue
        start, depth = position, 0
        while position < end and (depth or srcset[position] != ","):
            depth = max(depth + {"(": 1, ")": -1}.get(srcset[position], 0), 0)
            position += 1
        out.append(srcset[start:position])
    return "".join(out)
