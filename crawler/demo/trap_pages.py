"""Crawler traps: infinite URL spaces, each page computed from its own address. Pure."""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import parse_qsl, urlencode

FACETS = {
    "color": ("red", "green", "blue", "black", "white"),
    "size": ("s", "m", "l", "xl"),
    "sort": ("price", "name", "new"),
    "brand": tuple(f"brand{i}" for i in range(12)),
    "page": tuple(str(i) for i in range(1, 40)),
}
ENTRANCES = ("/calendar/2024/01", "/session/start/0", "/shop?page=1", "/mirror/")
"""Linked from the home page of a web that has traps."""

TARGET_MAX_LENGTH = 4096  # of an address that still gets an answer; a real server says 414 too


def trap(target: str) -> str | None:
    """The HTML behind an address inside a trap; None: there is no such trap."""
    path, _, query = target.partition("?")
    if len(target) > TARGET_MAX_LENGTH:
        return None
    if path.startswith("/calendar/"):
        return _calendar(path)
    if path.startswith("/session/"):
        return _session(path)
    if path == "/shop":
        return _shop(query)
    if path.startswith("/mirror/") and set(path.strip("/").split("/")) <= {"mirror", "copy"}:
        return _page(f"Mirror {path.count('/')}", ["mirror/", "copy/", "../"])
    return None


def _calendar(path: str) -> str | None:
    """Every month links to the month before and after, for ever."""
    parts = path.split("/")
    if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 7):
        return None
    if not (parts[3].isascii() and parts[3].isdigit() and len(parts[3]) == 2):
        return None
    month = int(parts[2]) * 12 + int(parts[3]) - 1
    if not 1 <= int(parts[3]) <= 12 or month == 0:
        return None
    around = [month - 1, month + 1, month + 12]
    return _page(path, [f"/calendar/{m // 12}/{m % 12 + 1:02d}" for m in around])


def _session(path: str) -> str | None:
    """The same ten pages, under an identifier that every page makes anew."""
    parts = path.split("/")
    if len(parts) != 4 or not (parts[3].isascii() and parts[3].isdigit() and len(parts[3]) < 3):
        return None
    identifier = blake2b(path.encode(), digest_size=8).hexdigest()
    return _page(f"Room {parts[3]}", [f"/session/{identifier}/{i}" for i in range(10)])


def _shop(query: str) -> str:
    """Faceted search: a few filters make thousands of addresses of the same goods."""
    chosen = {k: v for k, v in parse_qsl(query) if v in FACETS.get(k, ())}
    links = [
        "/shop?" + urlencode({**chosen, name: value})
        for name, values in FACETS.items()
        for value in values[:5]
    ]
    return _page("Shop " + " ".join(chosen.values()), links)


def _page(title: str, links: list[str]) -> str:
    anchors = "\n".join(f'<a href="{link.replace("&", "&amp;")}">more</a>' for link in links)
    return f"<!doctype html>\n<html lang=en><title>{title}</title>\n<h1>{title}</h1>\n{anchors}\n"
