"""Random small webs, and what a crawl of each must visit: told by a plain search.

The search (`expected`) shares no code with the crawler: it is the meaning of "crawl this" in a few
lines. Where the answer depends on moments (a host that is down, a trap) it says only what must and
what may be visited.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

SITES = ("a.one.test", "b.one.test", "two.test", "three.test", "four.test")
FAILURES = ("status:500", "status:503", "status:429", "down", "timeout", "truncated")
HOPS = 30  # redirects that are followed, one after the other: more than any finite chain here has


@dataclass
class Node:
    """What lies at a URL. `kind`: page, moved, sitemap, error; `fails`: answers before that."""

    kind: str = "page"
    links: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    status: int = 200
    trap: bool = False


@dataclass
class Robots:
    """An origin's robots.txt: what each request gets, the last one for ever.

    An answer is `file`, `status:N`, an error's name or `moved:URL`. `sure`: links are judged by
    `closed` (none may go) and `forbidden` (paths); else nobody can tell.
    """

    answers: tuple[str, ...] = ("status:404",)
    forbidden: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()
    age: int | None = None
    closed: bool = False
    sure: bool = True


@dataclass
class Web:
    seeds: tuple[str, ...]
    nodes: dict[str, Node]
    robots: dict[str, Robots]  # by origin
    depth: int | None = None
    in_scope: frozenset[str] = frozenset(SITES)

    def node(self, url: str) -> Node:
        """Also of the two webs without an end."""
        if node := self.nodes.get(url):
            return node
        head, _, number = url.rpartition("/")
        if head.endswith("/hop"):
            return Node("moved", (f"{head}/{int(number) + 1}",))
        if head.endswith("/cal"):
            return Node(links=tuple(f"{head}/{2 * int(number) + n}" for n in (1, 2, 3)), trap=True)
        return Node("error", status=404)


def origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def host_of(url: str) -> str:
    return url.split("/", 3)[2]


def expected(web: Web, *, certain: bool) -> dict[str, tuple[str, int]]:
    """URL → outcome and depth of what is visited: for sure, or (not `certain`) perhaps.

    Breadth first, by depth where that is limited; without a limit all depths are 0.
    """
    seen: dict[str, tuple[str, int]] = {}
    nearest = dict.fromkeys(web.seeds, 0)
    levels = {0: deque((url, 0) for url in web.seeds)}
    met: set[str] = set()

    def find(url: str, depth: int, hops: int) -> None:
        depth = 0 if web.depth is None else depth
        if host_of(url) not in web.in_scope or (web.depth is not None and depth > web.depth):
            return
        if depth < nearest.get(url, depth + 1):
            nearest[url] = depth
            levels.setdefault(depth, deque()).append((url, hops))

    while any(levels.values()):
        depth = min(level for level, some in levels.items() if some)
        url, hops = levels[depth].popleft()
        robots = web.robots[origin_of(url)]
        if url in seen or (certain and not robots.sure):
            continue
        if origin_of(url) not in met:
            met.add(origin_of(url))
            for place in robots.sitemaps:
                find(place, 1, 0)
        outcome, links = visited(web, url, hops)
        if web.node(url).trap and (certain or web.depth is None):
            links = ()  # some of them may be parked; `model.judge` knows what is like it
            if certain:
                continue
        seen[url] = outcome, depth
        moved = outcome == "moved"
        for link in links:
            find(link, depth + (web.node(url).kind == "page"), hops + 1 if moved else 0)
    return seen


def visited(web: Web, url: str, hops: int) -> tuple[str, tuple[str, ...]]:
    """How a visit ends, and where it leads."""
    node, home = web.node(url), origin_of(url)
    robots = web.robots[home]
    if robots.closed and robots.answers[-1] == "down":
        return "failed", ()  # as the page itself would have
    if robots.closed or url[len(home) :].startswith(robots.forbidden or ("nowhere",)):
        return "refused", ()
    if node.kind == "error" or (node.kind == "moved" and (hops >= HOPS or node.links[0] == url)):
        return "failed", ()
    return ("moved" if node.kind == "moved" else "done"), node.links


# ── made by lot ──────────────────────────────────────────────────────────────────────────────────


def a_web(rng: Random) -> Web:
    """A web of two dozen URLs on up to five hosts."""
    hosts = SITES[: rng.choice((1, 1, 2, 3, 5))]
    origins = [f"{scheme}://{host}" for host in hosts for scheme in _schemes(rng)]
    urls = [f"{rng.choice(origins)}/{n}" for n in range(rng.choice((2, 5, 10, 25)))]
    web = Web((), {}, {})
    web.depth = rng.choice((None, None, 0, 1, 2, 2, 3, 5))
    if rng.random() < 0.2:
        web.in_scope = frozenset(hosts[:2])
    moving = rng.choice((0.0, 0.1, 0.5))
    flaky = rng.choice((0.0, 0.1, 0.5))
    for url in urls:
        web.nodes[url] = _node(rng, url, urls, origins, moving, flaky)
    seeds = [urls[0], *(url for url in urls[1:] if rng.random() < 0.1)]
    web.seeds = tuple(url for url in seeds if host_of(url) in web.in_scope) or (urls[0],)
    web.in_scope |= {host_of(web.seeds[0])}
    if rng.random() < 0.1:  # all of a wide page redirects, each to one of its own depth
        wide = [f"{origins[0]}/d{n}" for n in range(12)]
        web.nodes[urls[0]] = Node(links=tuple(wide))
        for one in wide:
            web.nodes[one] = Node("moved", (f"{one}/",))
            web.nodes[f"{one}/"] = Node(links=(rng.choice(urls), f"{one}/leaf"))
    every = {f"{scheme}://{host}" for host in SITES for scheme in ("http", "https")}
    for home in sorted(every):
        web.robots[home] = _robots(rng, home, origins, web)
    return web


def _schemes(rng: Random) -> tuple[str, ...]:
    return rng.choice((("http",), ("http",), ("https",), ("http", "https")))


def _node(
    rng: Random, url: str, urls: list[str], origins: list[str], moving: float, flaky: float
) -> Node:
    fails = tuple(rng.choices(FAILURES, k=rng.randint(1, 3))) if rng.random() < flaky else ()
    if not fails and rng.random() < flaky:
        fails = (rng.choice(("cookie", "dns")),)
    if rng.random() < moving:
        target = url if rng.random() < 0.05 else rng.choice(urls)
        return Node("moved", (target,), fails)
    dice = rng.random()
    if dice < 0.08:
        return Node("error", (), fails, rng.choice((404, 410, 403, 500, 503)))
    if dice < 0.1:
        return Node("error", (), fails, 0)  # no answer, ever
    links = rng.sample(urls, min(len(urls), rng.choice((0, 1, 2, 4, 9))))
    if rng.random() < 0.03:
        links.append(f"{rng.choice(origins)}/hop/0")
    if rng.random() < 0.03:
        links.append(f"{rng.choice(origins)}/cal/0")
    if rng.random() < 0.1:
        links.append(f"http://{rng.choice(SITES)}/elsewhere")
    return Node(links=tuple(dict.fromkeys(links)), fails=fails)


def _robots(rng: Random, home: str, origins: list[str], web: Web) -> Robots:
    """Most are simple. Lists lead to what nothing else leads to, so that their depth is sure."""
    dice = rng.random()
    if dice < 0.3:
        return Robots()
    made = Robots(("file",), age=rng.choice((None, 60, 90)))
    if rng.random() < 0.3:
        made.forbidden = (f"/{rng.randrange(9)}",)
    if rng.random() < 0.4:
        made.sitemaps = (_sitemap(rng, home, web),)
    if dice < 0.6:
        return made
    bad = tuple(rng.choices(("status:503", "status:429", "timeout", "down"), k=rng.randint(1, 3)))
    if dice < 0.75:
        made.answers = (*bad, "file")
    elif dice < 0.85:
        made.answers, made.age = ("file", *bad, "file"), 60
    elif dice < 0.9:
        elsewhere = f"{rng.choice(origins)}/rules"
        web.nodes[elsewhere] = Node("rules")
        made.answers = (f"moved:{elsewhere}",)
        made.forbidden = made.sitemaps = ()
    elif dice < 0.92:
        made.answers = (f"moved:{home}/hop/0",)  # more than five: as if there were none
        made.forbidden = made.sitemaps = ()
    else:
        made.answers, made.closed = bad[:1], True
        made.forbidden = made.sitemaps = ()
    return made


def _sitemap(rng: Random, home: str, web: Web) -> str:
    places = [f"{home}/s/{n}" for n in range(rng.choice((0, 1, 3, 20)))]
    for place in places:
        web.nodes[place] = Node(links=(f"{place}/more",))
        web.nodes[f"{place}/more"] = Node()
    name = f"{home}/sitemap.xml"
    web.nodes[name] = Node("sitemap", tuple(places))
    if rng.random() < 0.3:
        web.nodes[f"{home}/index.xml"] = Node("sitemap", (name,))
        return f"{home}/index.xml"
    return name
