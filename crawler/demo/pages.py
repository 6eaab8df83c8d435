"""Renders the pages of the demo web. Pure."""

from __future__ import annotations

from bisect import bisect_left
from email.utils import formatdate
from functools import lru_cache
from html import escape

from crawler.demo import extra_resources
from crawler.demo.prose import STEPS, Prose, prose, sizes
from crawler.demo.trap_pages import ENTRANCES
from crawler.demo.web import TRACKING, DemoReply, Web, address, slug

IMAGES = 16
NAVIGATION = 10
EPOCH = 1_700_000_000  # Last-Modified counts from here: 14 November 2023
YEAR = 31_536_000
LANGUAGES = ("en", "de", "fr", "en")
FORMS = (  # spellings of one address: the canonical path, then the title
    '<li><a href="%s">%s</a>',
    '<li><a class=ref href="%s#part-2">%s, part 2</a>',
    '<li><a href="%s">%s again</a>',
    '<li><a href="{origin}%s">%s</a>',
    "<li><a href='..%s'>%s</a>",
    '<li><A HREF=" %s\n">%s</A>',
    '<li><a href="/x/./..%s" rel=bookmark>%s</a>',
    '<li><a href="{origin}%s#top">%s</a>',
)
ABSOLUTE = 3


def reply(web: Web, host: int, target: str) -> DemoReply:
    """What a host (counted from 0) answers to a request target (path and query, as sent)."""
    number = web.number(host, target)
    if number is None:
        return extra_resources.reply(web, host, target)
    changed = formatdate(EPOCH + number % YEAR, usegmt=True)
    marks = (("ETag", f'"{web.draw(number, b"etag"):016x}"'), ("Last-Modified", changed))
    return DemoReply(200, html(web, number), headers=marks, number=number)


def refusal(web: Web, number: int) -> DemoReply:
    """The error response of a busy page."""
    status = 503 if number % 2 else 500
    wait = web.retry_after if status == 503 else None
    headers = () if wait is None else (("Retry-After", str(wait)),)
    return DemoReply(status, b"busy\n", "text/plain", headers, number)


def html(web: Web, number: int) -> bytes:
    """The page itself: head, navigation, prose, links, navigation again."""
    text, mine = prose(web.seed), slug(number)
    title = f"{text.titles[mine]} {number}"
    navigation = _navigation(web, number % web.hosts)
    top = (
        f'<!doctype html>\n<html lang="{LANGUAGES[number % 4]}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n"
        f'<meta name="description" content="About {text.slugs[mine]}, page {number}.">\n'
        f'<link rel="canonical" href="{escape(web.url(number))}">\n'
        f'<link rel="stylesheet" href="/static/site.css">\n'
        f'<script src="/static/site.js" defer></script>\n</head>\n<body>\n'
        f"{navigation}<main>\n<h1>{title}</h1>\n"
        f'<img src="/static/{number % IMAGES}.png" alt="" width="1" height="1">\n'
    ).encode()
    links = "\n".join(_anchors(web, text, number) + _broken_links(web, number))
    tail = (
        f"<ul>\n{links}\n</ul>\n</main>\n<footer>\n{navigation}</footer>\n</body></html>\n".encode()
    )
    return top + _paragraphs(web, text, number, len(top) + len(tail)) + tail


def _anchors(web: Web, text: Prose, number: int) -> list[str]:
    hosts, slugs, titles, tracking = web.hosts, text.slugs, text.titles, web.tracking
    forms = [_forms(web.origin(host)) for host in range(hosts)]
    host = number % hosts
    out = []
    for i, target in enumerate((*web.children(number), *web.related(number))):
        path = address(target, hosts, slugs)
        if "?" in path:
            path = path.replace("&", "&amp;")
        if tracking and i % 8 == 6:
            path += ("&amp;" if "?" in path else "?") + TRACKING
        there = target % hosts
        form = forms[there][(number + i) % 8 if there == host else ABSOLUTE]
        out.append(form % (path, titles[slug(target)]))
    return out


@lru_cache(maxsize=256)
def _forms(origin: str) -> tuple[str, ...]:
    return tuple(form.replace("{origin}", origin) for form in FORMS)


def _broken_links(web: Web, number: int) -> list[str]:
    """Links to error pages, redirects and traps."""
    out = []
    if web.broken or web.redirects:
        for at in range(number * web.links, (number + 1) * web.links):
            if web.chance(at, b"broken", web.broken):
                out.append(f'<li><a href="/gone/{at % (web.pages + 7)}">lost</a>')
            if web.chance(at, b"redirects", web.redirects):
                there = web.draw(at, b"there") % web.pages
                out.append(f'<li><a href="/go/{there}/{at % web.hops + 1}">round about</a>')
    if number < web.hosts and web.redirects:
        out.append('<li><a href="/loop/1">round and round</a>')
    if number < web.hosts and web.traps:
        out += [f'<li><a href="{entrance}">more</a>' for entrance in ENTRANCES]
    return out


@lru_cache(maxsize=256)
def _navigation(web: Web, host: int) -> str:
    numbers = range(host, web.pages, web.hosts)[: NAVIGATION + 1]
    links = "\n".join(
        f'<a href="{escape(web.path(n))}">{prose(web.seed).titles[slug(n)]}</a>' for n in numbers
    )
    return f"<nav>\n{links}\n</nav>\n"


def _paragraphs(web: Web, text: Prose, number: int, taken: int) -> bytes:
    """As many whole paragraphs as bring the page near its size."""
    draw = web.draw(number, b"prose")
    space = int((web.size - taken) * sizes(web.spread)[draw % STEPS])
    if space <= 0:
        return b""
    half = len(text.text) // 2
    rounds, rest = divmod(space, half)
    first = text.starts[(draw >> 16) % len(text.starts)]
    end = first + rest
    stop = text.starts[bisect_left(text.starts, end % half) - 1] + end // half * half
    return text.text[:half] * rounds + text.text[first : max(first, stop)]
