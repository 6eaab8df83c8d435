"""Resources of a web beside its pages: robots.txt, sitemaps, images, redirects, errors. Pure."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from html import escape
from zlib import crc32

from crawler.demo.trap_pages import trap
from crawler.demo.web import DemoReply, Web

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c6360f8cf000000030101006dbb3d0f0000000049454e44ae426082"
)
ASSETS = {
    "/static/site.css": ("text/css", b"body{font:16px/1.5 serif;background:url(/static/0.png)}\n"),
    "/static/site.js": ("text/javascript", b"document.documentElement.dataset.ready='1';\n"),
    **{f"/static/{i}.png": ("image/png", PIXEL) for i in range(16)},
}
ERROR_STATUSES = (404, 404, 410, 500)
LOOP_LENGTH = 3  # redirects in the loop
SITEMAPS = "http://www.sitemaps.org/schemas/sitemap/0.9"


def reply(web: Web, host: int, target: str) -> DemoReply:
    """The answer to a target that is not a page."""
    path = target.partition("?")[0]
    for prefix, handler in ROUTES.items():
        if path.startswith(prefix):
            return handler(web, host, path)
    caught = trap(target) if web.traps else None
    return _nothing() if caught is None else DemoReply(200, caught.encode())


def _nothing() -> DemoReply:
    return DemoReply(404, b"<!doctype html><title>Not found</title><p>No such page.\n")


def _asset(web: Web, host: int, path: str) -> DemoReply:  # noqa: ARG001  (the same on every web)
    if path not in ASSETS:
        return _nothing()
    mime, body = ASSETS[path]
    return DemoReply(200, body, mime, (("ETag", f'"{crc32(body):08x}"'),))


def _gone(web: Web, host: int, path: str) -> DemoReply:  # noqa: ARG001  (the same on every web)
    return DemoReply(
        ERROR_STATUSES[crc32(path.encode()) % 4], b"<!doctype html><title>Gone</title>\n"
    )


def _robots(web: Web, host: int, path: str) -> DemoReply:
    if path != "/robots.txt":
        return _nothing()
    text = _rules(web, host) if web.robots is None else web.robots
    return DemoReply(web.robots_status, text.encode(), "text/plain; charset=utf-8")


def _rules(web: Web, host: int) -> str:
    lines = ["User-agent: *", "Allow: /"]
    if web.crawl_delay is not None:
        lines.append(f"Crawl-delay: {web.crawl_delay:g}")
    if web.sitemap != "off":
        lines += ["", f"Sitemap: {web.origin(host)}{sitemap_path(web)}"]
    return "\n".join(lines) + "\n"


def _redirect(web: Web, host: int, path: str) -> DemoReply:  # noqa: ARG001
    """`/go/PAGE/HOPS` arrives at the page after so many redirects; `/loop/…` never arrives."""
    parts = path.split("/")[2:]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        return _nothing()
    numbers = [int(part) for part in parts]
    status = (301, 302, 307, 308)[sum(numbers) % 4]
    if path.startswith("/loop/") and len(numbers) == 1:
        return DemoReply(status, headers=(("Location", f"/loop/{numbers[0] % LOOP_LENGTH + 1}"),))
    if path.startswith("/go/") and len(numbers) == 2 and numbers[0] < web.pages:
        number, hops = numbers
        there = web.url(number) if hops <= 1 else f"/go/{number}/{min(hops, web.hops) - 1}"
        return DemoReply(status, headers=(("Location", there),))
    return _nothing()


def sitemap_path(web: Web) -> str:
    """Where the sitemap (or the index of sitemaps) lies on every host."""
    return "/sitemap.xml.gz" if web.sitemap == "gz" else "/sitemap.xml"


def _sitemap(web: Web, host: int, path: str) -> DemoReply:
    """One list, or an index of lists when there are more addresses than fit in one."""
    ending = sitemap_path(web).removeprefix("/sitemap")
    if web.sitemap == "off" or not path.endswith(ending):
        return _nothing()
    numbers = range(host, web.pages, web.hosts)
    files = -(-len(numbers) // web.sitemap_size)
    wanted = path.removeprefix("/sitemap").removesuffix(ending)
    if not wanted and files > 1:
        entries = [f"{web.origin(host)}/sitemap-{i + 1}{ending}" for i in range(files)]
        text = _xml("sitemapindex", "sitemap", entries)
    elif not wanted:
        text = _xml("urlset", "url", [web.url(n) for n in numbers])
    elif wanted[1:].isdigit() and wanted.isascii() and 1 <= int(wanted[1:8]) <= files > 1:
        first = (int(wanted[1:]) - 1) * web.sitemap_size
        text = _xml("urlset", "url", [web.url(n) for n in numbers[first:][: web.sitemap_size]])
    else:
        return _nothing()
    if web.sitemap == "gz":
        return DemoReply(200, gzip.compress(text, 6, mtime=0), "application/gzip")
    return DemoReply(200, text, "application/xml")


def _xml(root: str, tag: str, urls: list[str]) -> bytes:
    entries = "".join(f"<{tag}><loc>{escape(url)}</loc></{tag}>\n" for url in urls)
    top = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{top}<{root} xmlns="{SITEMAPS}">\n{entries}</{root}>\n'.encode()


ROUTES: Mapping[str, Callable[[Web, int, str], DemoReply]] = {
    "/robots.txt": _robots,
    "/sitemap": _sitemap,
    "/static/": _asset,
    "/go/": _redirect,
    "/loop/": _redirect,
    "/gone/": _gone,
}
