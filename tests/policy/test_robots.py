"""robots.txt: RFC 9309's own examples, the algebra of its rules, and what is explained."""

from __future__ import annotations

import pytest
from helpers.robots_cases import CASES, LENIENT, Case
from hypothesis import given
from hypothesis import strategies as st

from crawler.policy.robots_lines import MAX_BYTES, MAX_LINE
from crawler.policy.robots_txt import RobotsTxt, read_robots

HOST = "http://h.test"
AGENT = "crawler"


@pytest.mark.parametrize("case", [*CASES, *LENIENT], ids=lambda case: f"{case.section} {case.rule}")
def test_a_rule_of_the_rfc(case: Case) -> None:
    robots = RobotsTxt(case.file(AGENT), AGENT)
    for path in case.allowed:
        assert robots.allows(HOST + path), f"{path} is allowed"
    for path in case.forbidden:
        assert not robots.allows(HOST + path), f"{path} is forbidden"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.rule}")
def test_what_is_explained_is_what_is_decided(case: Case) -> None:
    robots = RobotsTxt(case.file(AGENT), AGENT)
    lines = case.file(AGENT).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for path in case.allowed + case.forbidden:
        told = robots.explain(HOST + path)
        assert told.allowed is robots.allows(HOST + path)
        if told.rule is not None:
            word = b"allow" if told.rule.allow else b"disallow"
            assert word in lines[told.rule.line - 1].lower(), "the line number is the file's"
            assert told.rule.pattern.split("?")[0].encode()[:4] in lines[told.rule.line - 1]
        for number in told.group_lines:
            assert b"user-agent" in lines[number - 1].lower()


@pytest.mark.parametrize(
    ("status", "may"),
    [(200, False), (206, False), (301, True), (400, True), (401, True), (403, True), (404, True),
     (410, True), (451, True), (429, False), (500, False), (503, False), (599, False),
     (None, False)],
)  # fmt: skip
def test_a_status_is_a_verdict(status: int | None, may: bool) -> None:
    robots = read_robots(status, b"User-agent: *\nDisallow: /a", AGENT)
    assert robots.allows(f"{HOST}/a") is may
    assert robots.unreachable is (status is None or status == 429 or status >= 500)
    assert robots.allows(f"{HOST}/robots.txt")


def test_a_file_is_cut_at_the_last_whole_line() -> None:
    rule = b"Disallow: /abc\n"
    head = b"User-agent: *\nDisallow: /b\n"
    padding = b"#" * (MAX_BYTES - len(head) - len(rule) + 2 - 1) + b"\n"
    robots = RobotsTxt(head + padding + rule, AGENT)  # its last two bytes are beyond the limit
    assert robots.allows(f"{HOST}/abc"), "a rule cut in half would forbid /ab too"
    assert robots.allows(f"{HOST}/ab")
    assert not robots.allows(f"{HOST}/b")


def test_delay_and_sitemaps() -> None:
    robots = RobotsTxt(
        b"Sitemap: http://h.test/1.xml\nUser-agent: slow\nCrawl-delay: 9\nUser-agent: *\n"
        b"Crawl-delay: 2.5\nDisallow: /x\nSITEMAP: http://h.test/2.xml # second\n"
        b"User-agent: *\nCrawl-delay: nan\nCrawl-delay: -1\nCrawl-delay: soon\n"
        b"Sitemap: http://h.test/1.xml\n",
        AGENT,
    )
    assert robots.delay == 2.5
    assert robots.sitemaps == ("http://h.test/1.xml", "http://h.test/2.xml")
    assert RobotsTxt(b"User-agent: *\nDisallow: /x\nCrawl-delay: 3", AGENT).delay == 3.0
    assert RobotsTxt(b"User-agent: other\nCrawl-delay: 3", AGENT).delay is None


@pytest.mark.parametrize(
    ("line", "sitemaps"),
    [("Site-map: /s.xml", ("/s.xml",)), ("Sitemaps: /s.xml", ("/s.xml",)),
     ("Sitemap https://h.test:8/s.xml", ("https://h.test:8/s.xml",)),
     ("site map: /s.xml<br>", ("/s.xml",)),
     ("http://h.test/s.xml", ("http://h.test/s.xml",)),
     ("https://h.test/s.XML.gz", ("https://h.test/s.XML.gz",)),
     ("http://www.robotstxt.org/", ()), ("see http://h.test/s.xml", ()),
     ("Sitemap is at https://h.test/s.xml", ()), ("Sitemap", ()), ("Sitemap:", ())],
)  # fmt: skip
def test_a_sitemap_line_is_read_kindly(line: str, sitemaps: tuple[str, ...]) -> None:
    assert RobotsTxt(line.encode(), AGENT).sitemaps == sitemaps


@pytest.mark.parametrize(
    "line", ["Crawl delay: 3", "crawl-delay 3", "Crawldelay:3<br>", "Craw-delay: 3"]
)
def test_a_crawl_delay_is_read_kindly(line: str) -> None:
    assert RobotsTxt(f"User-agent: *\n{line}".encode(), AGENT).delay == 3.0


def test_a_rule_without_a_colon_is_explained_by_its_line() -> None:
    robots = RobotsTxt(b"User-agent *\n\nDissalow /a\n", AGENT)
    assert str(robots.explain(f"{HOST}/a")) == "forbidden by line 3, Disallow: /a"


def test_a_crawl_delay_speaks_to_the_names_before_it() -> None:
    body = (
        b"User-agent: crawler\nCrawl-delay: 1\n\nUser-agent: other\nUser-agent: slow\n"
        b"Crawl-delay: 20\n\nUser-agent: hasty\nDisallow: /x\n"
    )
    delays = {name: RobotsTxt(body, name).delay for name in ("crawler", "other", "slow", "hasty")}
    assert delays == {"crawler": 1.0, "other": 20.0, "slow": 20.0, "hasty": None}
    assert not RobotsTxt(body, AGENT).allows(f"{HOST}/x"), "it ends no group"
    again = b"User-agent: crawler\nCrawl-delay: 5\nUser-agent: crawler\nCrawl-delay: 2\n"
    assert RobotsTxt(again, AGENT).delay == 5.0, "the largest counts"


def test_a_name_of_two_words_is_addressed_by_no_file() -> None:
    body = b"User-agent: *\nDisallow: /x\nUser-agent: foo bar\nDisallow: /y\n"
    assert not RobotsTxt(body, "foo").allows(f"{HOST}/y")
    assert not RobotsTxt(body, "foo/1.0 (bar)").allows(f"{HOST}/y")
    assert RobotsTxt(body, "foo bar").allows(f"{HOST}/y")
    assert not RobotsTxt(body, "foo bar").allows(f"{HOST}/x")


@pytest.mark.parametrize(
    ("agent", "allowed"),
    [("MJ12bot", "/b"), ("mj12BOT/1.4", "/b"), ("MJ", "/a"), ("MJ13", "/c"), ("360Spider", "/d")],
)
def test_a_name_with_digits_is_addressed_whole(agent: str, allowed: str) -> None:
    body = (
        "User-agent: mj12bot/1.4\nDisallow: /\nAllow: /b\n"
        "User-agent: 360spider\nDisallow: /\nAllow: /d\n"
        "User-agent: MJ\nDisallow: /\nAllow: /a\nUser-agent: *\nDisallow: /\nAllow: /c\n"
    )
    robots = read_robots(200, body.encode(), agent)
    paths = {path for path in ("/a", "/b", "/c", "/d") if robots.allows(f"http://h.test{path}")}
    # A name without digits has a token's letters only: of `mj12bot` they are `mj`.
    assert paths == ({allowed, "/b"} if agent == "MJ" else {allowed})


def test_a_line_is_read_as_far_as_a_pattern_may_cost() -> None:
    path = "/" + "x" * (MAX_LINE - len("Disallow: /"))
    robots = RobotsTxt(f"User-agent: *\nDisallow: {path}yyy\nDisallow: /z\n".encode(), AGENT)
    assert not robots.allows(HOST + path)
    assert robots.allows(HOST + path[:-1])
    assert not robots.allows(f"{HOST}/z")


def test_an_explanation_reads_well() -> None:
    robots = RobotsTxt(b"# ours\nUser-agent: crawler\nDisallow: /a\nAllow: /a/b\n", AGENT)
    assert str(robots.explain(f"{HOST}/a/x")) == "forbidden by line 3, Disallow: /a"
    assert str(robots.explain(f"{HOST}/a/b")) == "allowed by line 4, Allow: /a/b"
    assert str(robots.explain(f"{HOST}/c")) == "allowed: no rule of group 'crawler' matches"
    assert "no group" in str(RobotsTxt(b"", AGENT).explain(f"{HOST}/c"))
    assert "could not be had" in str(read_robots(None, b"", AGENT).explain(f"{HOST}/c"))
    assert robots.explain(f"{HOST}/c").group_lines == (2,)


# ── the algebra ──────────────────────────────────────────────────────────────────────────────────

unreserved = st.text("abcXYZ019-._~", min_size=1, max_size=6)
paths = st.lists(unreserved, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
patterns = st.text("ab/*$", max_size=8).map(lambda text: f"/{text}")


def spelled(path: str, encode: list[bool], *, upper: bool) -> str:
    """The path with some of its unreserved octets percent-encoded."""
    form = "%%%02X" if upper else "%%%02x"
    return "".join(
        form % ord(char) if char != "/" and encode[at % len(encode)] else char
        for at, char in enumerate(path)
    )


@given(paths, st.lists(st.booleans(), min_size=1), st.lists(st.booleans(), min_size=1))
def test_every_spelling_of_a_path_is_the_same_path(
    path: str, rule: list[bool], url: list[bool]
) -> None:
    robots = RobotsTxt(
        f"User-agent: *\nDisallow: {spelled(path, rule, upper=True)}".encode(), AGENT
    )
    assert not robots.allows(HOST + spelled(path, url, upper=False))


@given(st.text(min_size=1, max_size=5).filter(lambda text: not text.isascii()))
def test_utf_8_and_its_percent_encoding_are_the_same(text: str) -> None:
    word = "".join(char for char in text if ord(char) > 127 and not 0xD800 <= ord(char) < 0xE000)
    encoded = "".join(f"%{byte:02x}" for byte in word.encode())
    assert (
        not RobotsTxt(f"User-agent: *\nDisallow: /{word}".encode(), AGENT).allows(
            f"{HOST}/{encoded}"
        )
        or not word
    )
    assert (
        not RobotsTxt(f"User-agent: *\nDisallow: /{encoded}".encode(), AGENT).allows(
            f"{HOST}/{word}"
        )
        or not word
    )


@given(st.lists(st.tuples(st.booleans(), patterns), max_size=8), st.text("ab/", max_size=6))
def test_the_order_of_rules_does_not_matter_and_the_longest_decides(
    rules: list[tuple[bool, str]], path: str
) -> None:
    def read(some: list[tuple[bool, str]]) -> RobotsTxt:
        lines = [f"{'Allow' if allow else 'Disallow'}: {pattern}" for allow, pattern in some]
        return RobotsTxt("\n".join(["User-agent: *", *lines]).encode(), AGENT)

    verdict = read(rules).allows(f"{HOST}/{path}")
    assert read(rules[::-1]).allows(f"{HOST}/{path}") is verdict
    matching = [
        (len(pattern), allow)
        for allow, pattern in rules
        if read([(False, pattern)]).allows(f"{HOST}/{path}") is False
    ]
    assert verdict is (max(matching)[1] if matching else True)


@given(patterns, st.text("ab/", max_size=8))
def test_wildcards_mean_what_a_regular_expression_says(pattern: str, path: str) -> None:
    import re  # noqa: PLC0415 - the oracle

    end = pattern.endswith("$")
    parts = (pattern[:-1] if end else pattern).split("*")
    oracle = re.compile(".*".join(map(re.escape, parts)) + ("$" if end else ""))
    robots = RobotsTxt(f"User-agent: *\nDisallow: {pattern}".encode(), AGENT)
    assert robots.allows(f"{HOST}/{path}") is (oracle.match(f"/{path}") is None)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    robots = RobotsTxt(b"User-agent: *\nDisallow: /x\n" + body, AGENT)
    for path in ("/", "/x", "/%", "/%zz?%2F"):
        robots.allows(HOST + path)
        str(robots.explain(HOST + path))


def test_many_wildcards_cost_no_backtracking() -> None:
    robots = RobotsTxt(b"User-agent: *\nDisallow: /" + b"a*" * 2000 + b"b$\n", AGENT)
    assert robots.allows(f"{HOST}/{'a' * 2000}")  # exponential, or quartic, would never end


@pytest.mark.parametrize(
    ("pattern", "path", "may"),
    [("/*a%2Fb", "/x/a%2Fb", False), ("/*a%2Fb", "/x/a/b", True),
     ("/*u=%2Fb", "/r?u=%2Fb", False), ("/*u=%2Fb", "/r?u=/b", False),
     ("/*u=%2Fb$", "/r?u=/b", False), ("/*u=%2Fb$", "/r?u=/bc", True),
     ("/r*x*%3Fy", "/r?x=1%3Fy", False), ("/r*x*%3Fy", "/rx/?y", True)],
)  # fmt: skip
def test_a_delimiter_after_a_star_is_read_for_both_parts(
    pattern: str, path: str, may: bool
) -> None:
    assert (
        RobotsTxt(f"User-agent: *\nDisallow: {pattern}".encode(), AGENT).allows(HOST + path) is may
    )


@given(st.text("!'()*,;:@[]$&=+/?ab", min_size=1, max_size=8), st.integers(0, 7))
def test_encoding_a_character_that_delimits_nothing_changes_nothing(path: str, at: int) -> None:
    """RFC 9309 §2.2.2: reserved octets compare as if percent-encoded; in their role they do not."""
    at %= len(path)
    in_query = "?" in path[:at]
    encoded = f"{path[:at]}%{ord(path[at]):02X}{path[at + 1 :]}"
    delimits = path[at] in ("&=+" if in_query else "/?")
    rule = "".join(f"%{ord(char):02X}" if char in "*$" else char for char in path)
    robots = RobotsTxt(f"User-agent: *\nDisallow: /{rule}".encode(), AGENT)
    assert not robots.allows(f"{HOST}/{path}")
    if not delimits:
        assert not robots.allows(f"{HOST}/{encoded}")
    elif path[at] != "?":
        assert robots.allows(f"{HOST}/{encoded}")
