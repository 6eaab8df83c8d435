"""A site with awkward links, and a check that a mirror's links lead to files."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import tinycss2
from selectolax.lexbor import LexborHTMLParser

from crawler.parse.attribute_values import parse_srcset
from helpers.website import Answer, missing, page, redirect, reply

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "f8cf500f0003860180a1d3b2d20000000049454e44ae426082"
)


def urls_of_tinycss2(css: str) -> list[str]:
    """What a real parser finds; the first oracle."""
    found: list[str] = []

    def walk(nodes: Any, in_set: bool = False) -> None:
        before = ""
        for node in nodes:
            if node.type in {"whitespace", "comment"}:
                continue
            if node.type == "url":
                found.append(node.value)
            elif node.type == "function" and node.lower_name == "url":
                inner = [one for one in node.arguments if one.type == "string"]
                found.extend(one.value for one in inner[:1])
            elif node.type == "string" and (in_set or before == "@import"):
                found.append(node.value)
            elif node.type == "function":
                walk(node.arguments, node.lower_name in {"image-set", "-webkit-image-set"})
            elif node.type == "() block":
                walk(node.content)
            elif node.type in {"[] block", "{} block"}:  # neither stands in an image set
                walk(node.content, in_set)
            before = "@import" if (
                node.type == "at-keyword" and node.lower_value == "import"
            ) else ""  # fmt: skip

    walk(tinycss2.parse_component_value_list(css))
    stripped = [url.strip("\t\n\f\r ") for url in found]
    return [url for url in stripped if url and url[0] != "#"]


def awkward() -> dict[str, Answer]:
    links = [
        "/A", "/a", "/a/", "/a.html", "/a.html/b", "/caf%C3%A9", "/x?y=1&z=2", "/x?y=2", "/con",
        "/index.html", "/%2e%2e%2fescape", "/sp%20ace", "/old", "/gone", "/long/" + "n" * 300,
        "/pic.php?id=1", "/latin", "/deep/er/page#part", "/quo'te\"s", "/semi;colon", "/based",
    ]  # fmt: skip
    head = (
        "<link rel=stylesheet href='/style.php'><link rel=stylesheet href='/jis.css'>"
        "<style>i{background:url(/bg.png)}</style>"
        "<script src=/s.js integrity=sha384-x></script>"
    )
    extra = (
        "<img srcset='/pic.php?id=1 1x, {1}/cdn.png 2x' src='{1}/cdn.png'>"
        "<p style=\"background:url('/bg.png?inline')\">"
    )

    async def home(asked: Any) -> Any:
        body = "".join(f'<a href="{escape(link)}">x</a>\n' for link in links)
        text = f"<!doctype html><html><head><title>Home</title>{head}</head>{body}{extra}"
        return await reply(asked.site.fill(text))(asked)

    some = {
        path: page(f"At {path}", ["/", "/a", "#here", "/x?y=1&z=2"])
        for path in ["/A", "/a", "/a/", "/a.html", "/a.html/b", "/caf%C3%A9", "/x?y=1&z=2",
                     "/x?y=2", "/con", "/index.html", "/%2e%2e%2fescape", "/sp%20ace",
                     "/long/" + "n" * 300, "/deep/er/page", "/quo'te%22s", "/semi;colon"]
    }  # fmt: skip
    return some | {
        "/": home,
        "/robots.txt": missing,
        "/based": reply(
            "<base href=/deep/er/><a href=page#part>x</a><a href='#here'>y</a>"
            "<img src=../pic.png>"
        ),
        "/deep/pic.png": reply(PNG, mime="image/png"),
        "/old": redirect("/deep/er/page"),
        "/gone": missing,
        "/pic.php?id=1": reply(PNG, mime="image/png"),
        "/latin": reply("<meta charset=iso-8859-1><p>caf\xe9<a href=/a>x</a>".encode("latin-1"),
                        mime="text/html"),
        "/style.php": reply(
            "@import 'more.css'; @font-face{src:url(\"/f/x.woff2\")} b{background:url(bg.png)}",
            mime="text/css",
        ),
        "/jis.css": reply(
            '@charset "shift_jis"; a{background:url("日.png")}'.encode("shift_jis"), mime="text/css"
        ),
        "/%E6%97%A5.png": reply(PNG, mime="image/png"),
        "/more.css": reply("/* leaf */ u{background:url(bg.png)}", mime="text/css"),
        "/bg.png": reply(PNG, mime="image/png"),
        "/bg.png?inline": reply(PNG, mime="image/png"),
        "/f/x.woff2": reply(b"wOF2", mime="font/woff2"),
        "/s.js": reply("'use strict'", mime="text/javascript"),
    }  # fmt: skip


def local_links(path: Path) -> Iterator[str]:
    """Every link of a page or style sheet on disk, as a browser or a CSS parser reads it."""
    if path.suffix == ".css":
        yield from urls_of_tinycss2(path.read_text("utf-8-sig"))
        return
    tree = LexborHTMLParser(path.read_text("utf-8-sig"))
    for node in tree.css("[href],[src]"):
        for name in ("href", "src"):
            if value := node.attributes.get(name):
                yield value
    for node in tree.css("[srcset]"):
        yield from parse_srcset(node.attributes["srcset"] or "")
    for node in tree.css("[style],style"):
        yield from urls_of_tinycss2(node.attributes.get("style") or node.text())


def check_links(folder: Path) -> set[str]:
    """Every relative link leads to a file; the absolute ones are returned."""
    away = set()
    for path in [*folder.rglob("*.html"), *folder.rglob("*.css")]:
        for link in local_links(path):
            if urlsplit(link).scheme:
                away.add(link)
                continue
            target = urlsplit(urljoin(path.as_uri(), link)).path
            assert Path(unquote(target)).is_file(), f"{path}: {link}"
            assert Path(unquote(target)).resolve().is_relative_to(folder.resolve())
    return away
