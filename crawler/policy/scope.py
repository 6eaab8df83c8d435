"""Which links belong to a crawl. Pure and picklable: links are judged where they are found.

`judge` answers with nothing (admitted) or one of these reasons, named as browsertrix names them:

    kind             a kind of link this crawl does not follow (an image, a form …)
    tooLong          longer than `max_url` characters
    tooDeep          more than `max_depth` clicks from a seed
    outOfScope       not on the seeds' page, path, host or domain
    notIncluded      matches none of `include`
    excluded         matches one of `exclude`
    trap:segments    more than `max_segments` path segments
    trap:repeats     one path segment more than `max_repeats` times in the path, or the same
                     segments three times in a row

`tooLong` and `trap:…` are brakes: the frontier parks such a link instead of refusing it, and
`crawler release` sends it on its way. Traps that only many pages show: `policy/trap_rules.py`.

With `requisites`, what pages are shown with (kind asset) is followed wherever it lies: only its
length, `exclude` and the traps can refuse it.

A seed is what a person asked for: no rule but `kind` refuses it. `adopt` adds seeds later: what a
seed redirects to (decision 0113).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from crawler.config.model import ScopeConfig
from crawler.policy.patterns import compile_pattern
from crawler.policy.trap_rules import shape_trap
from crawler.policy.urls import host_key, registered_domain
from crawler.records import Kind

ASSET = Kind.ASSET.value

PROBED = frozenset({"outOfScope", "kind", "notIncluded"})
"""Why a link is not followed though it may be asked for; a trap or an exclusion stays one."""

ADOPTED = frozenset({"outOfScope", "notIncluded"})
"""Why a link is not followed unless a seed redirects to it; what is excluded stays so."""


class Scope:
    """The rules of one crawl and its seeds, compiled. Only `adopt` changes it afterwards."""

    def __init__(
        self, rules: ScopeConfig, seeds: Sequence[str], adopted: Sequence[str] = ()
    ) -> None:
        """`adopted` are redirect targets of seeds, as an earlier run of the crawl met them."""
        self._rules = rules
        self._given = tuple(seeds)
        self._seeds = set(seeds)
        self._widened: list[str] = []  # what `adopt` made the scope wider for
        self._include = [compile_pattern("scope.include", pattern) for pattern in rules.include]
        self._exclude = [compile_pattern("scope.exclude", pattern) for pattern in rules.exclude]
        self._requisites = rules.requisites
        # Who adds a sitemap wants it.
        self._follow = frozenset({*rules.follow, "sitemap", *([ASSET] if rules.requisites else [])})
        self._pages = {_without_scheme(seed) for seed in seeds}
        self._prefixes = tuple({_without_scheme(seed).rpartition("/")[0] + "/" for seed in seeds})
        self._hosts = {host_key(seed) for seed in seeds}
        self._domains = {registered_domain(host) for host in self._hosts}
        self._depth = float("inf") if rules.max_depth is None else rules.max_depth
        insides: dict[str, Callable[[str, str], bool]] = {
            "page": lambda url, _: _without_scheme(url) in self._pages,
            "prefix": lambda url, _: _without_scheme(url).startswith(self._prefixes),
            "host": lambda _, host: host in self._hosts,
            "domain": lambda _, host: registered_domain(host) in self._domains,
            "any": lambda _url, _host: True,
        }
        self._inside = insides[rules.scope]
        for url in adopted:
            self.adopt(url)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scope, (self._rules, self._given, tuple(self._widened))

    def leads(self, url: str) -> bool:
        """Whether the target of this URL's redirect is a seed: the URL is one itself."""
        return self._rules.seed_redirects and url in self._seeds

    def refuses_target(self, url: str, host: str, kind: str) -> str:
        """Nothing when what a seed redirects to may be a seed, else the reason why not."""
        reason = self.judge(url, host, 0, kind)
        return self._excluded(url) or self._trap(url) if reason in ADOPTED else reason

    def ask(self, url: str) -> None:
        """Let a URL be a seed in so far as its redirects are followed; it rules no scope."""
        self._seeds.add(url)

    def adopt(self, url: str) -> bool:
        """Make a seed of a redirect's target. True: the scope is wider than before."""
        self._seeds.add(url)
        host = host_key(url)
        if self._inside(url, host):
            return False
        page = _without_scheme(url)
        self._pages.add(page)
        self._prefixes += (page.rpartition("/")[0] + "/",)
        self._hosts.add(host)
        self._domains.add(registered_domain(host))
        self._widened.append(url)
        return True

    def admit(self, url: str, host: str, depth: int, kind: str) -> tuple[str, str]:
        """The kind to enter a link with, and `judge`'s reason; see `ScopeConfig.probe`."""
        reason = self.judge(url, host, depth, kind)
        if reason in PROBED and self._rules.probe:
            return Kind.PROBE.value, ""
        return kind, reason

    def alike(self, depth: int) -> int:
        """A depth that is judged as this one is: there are two of them, so verdicts keep well."""
        return 0 if depth <= self._depth else depth

    def judge(self, url: str, host: str, depth: int, kind: str) -> str:
        """Nothing when the link is admitted, else the reason why not."""
        reason = self._judge(url, host, depth, kind)
        if reason and depth == 0 and reason != "kind" and url in self._seeds:
            return ""
        return reason

    def _judge(self, url: str, host: str, depth: int, kind: str) -> str:
        rules = self._rules
        if kind not in self._follow:
            return "kind"
        if len(url) > rules.max_url:
            return "tooLong"
        if kind == ASSET and self._requisites:
            return self._excluded(url) or self._trap(url)
        # A list of addresses may lie anywhere: it is what it lists that is judged.
        anywhere = kind == "sitemap" and rules.scope != "page"
        if not anywhere and not self._inside(url, host):
            return "outOfScope"
        if depth > self._depth:
            return "tooDeep"
        if (
            self._include
            and kind != "sitemap"
            and not any(pattern.search(url) for pattern in self._include)
        ):
            return "notIncluded"
        return self._excluded(url) or self._trap(url)

    def explain(self, url: str, host: str, depth: int, kind: str) -> str:
        """The verdict in a sentence, with the rule that gave it."""
        reason = self.judge(url, host, depth, kind)
        say = partial(str.format, url=url, host=host, depth=depth, kind=kind, rules=self._rules)
        if not reason and depth == 0 and self._judge(url, host, depth, kind):
            return "a seed: it is visited whatever the other rules say"
        if reason == "excluded":
            pattern = next(p for p in self._exclude if p.search(url))
            return f"excluded by the pattern {pattern.pattern!r}"
        if not reason and self._include and kind != ASSET:
            pattern = next(p for p in self._include if p.search(url))
            return f"admitted by scope {self._rules.scope!r} and the pattern {pattern.pattern!r}"
        return say(_SENTENCES[reason])

    def _excluded(self, url: str) -> str:
        if self._exclude and any(pattern.search(url) for pattern in self._exclude):
            return "excluded"
        return ""

    def _trap(self, url: str) -> str:
        rules = self._rules
        if rules.trap != "brake":
            return ""
        return shape_trap(url, max_segments=rules.max_segments, max_repeats=rules.max_repeats)


_SENTENCES = {
    "": "admitted by scope {rules.scope!r}",
    "kind": "links of kind {kind!r} are not followed (scope.follow = {rules.follow})",
    "tooLong": "longer than scope.max_url = {rules.max_url} characters",
    "outOfScope": "{host} is outside scope {rules.scope!r} of the seeds",
    "tooDeep": "depth {depth} is beyond scope.max_depth = {rules.max_depth}",
    "notIncluded": "matches none of scope.include = {rules.include}",
    "trap:segments": "more than scope.max_segments = {rules.max_segments} path segments",
    "trap:repeats": "a path segment stands there more than scope.max_repeats = {rules.max_repeats} "
    "times, or the same segments stand there three times in a row",
}


def _without_scheme(url: str) -> str:
    return url.split("://", 1)[1]
