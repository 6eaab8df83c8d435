"""When a web looks endless: by a URL's shape, and by what the pages of its template bring."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.config.model import ScopeConfig
from crawler.policy.trap_rules import (
    POOLED,
    TrapJudge,
    UrlTemplate,
    shape,
    shape_trap,
    template_names,
    without_session,
)

RULES = ScopeConfig(trap_patience=20, trap_combinations=12)
HOST = "https://a.test"
TEXTS = [0x9E3779B97F4A7C15 * (n + 1) & (1 << 64) - 1 for n in range(500)]


class Kept:
    """A frontier's memory."""

    def __init__(self) -> None:
        self.templates: dict[str, UrlTemplate] = {}

    def brake(self, rules: ScopeConfig = RULES) -> TrapJudge:
        return TrapJudge(rules, self.templates.get)

    def save(self, brake: TrapJudge) -> None:
        self.templates.update(brake.changed)
        brake.changed.clear()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/a/b/c", ""),
        ("/" + "x/" * 4, "trap:repeats"),
        ("/x/x/x", ""),
        ("/a/b/a/b/a/b", "trap:repeats"),
        ("/a/b/a/b", ""),
        ("/a/b/c/a/b/c/a/b/c/d", "trap:repeats"),
        ("/" + "/".join(map(str, range(30))), "trap:segments"),
        ("/java.base/java/util/java/x/java", ""),
        ("/a/?x=/b/b/b/b/b/b", ""),
    ],
)
def test_the_shape_of_a_path(url: str, reason: str) -> None:
    assert shape_trap(HOST + url, max_segments=25, max_repeats=3) == reason


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_every_walk_in_a_mirror_maze_ends(parts: list[str]) -> None:
    """With three names and at most three repeats a path of ten segments is always a trap."""
    url = f"{HOST}/{'/'.join(parts)}"
    if len(parts) > 9:
        assert shape_trap(url, max_segments=25, max_repeats=3)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("/x;jsessionid=ABCDEF0123456789", "/x"),
        ("/x;jsessionid=ABCDEF0123456789?a=1", "/x?a=1"),
        ("/x?PHPSESSID=0123456789abcdef0&b=2", "/x?b=2"),
        ("/x?a=1&sid=0123456789abcdef0", "/x?a=1"),
        ("/x?a=1&sid=0123456789abcdef0&b=2", "/x?a=1&b=2"),
        ("/(S(abcdefghij0123456789abcd))/x.aspx", "/x.aspx"),
        ("/x?sid=12", None),
        ("/x?sid=a-story-about-something", None),
        ("/x?consid=0123456789abcdef0", None),
        ("/x?s=how-to-use-python-3-well", None),
    ],
)
def test_session_identifiers(url: str, bare: str | None) -> None:
    assert without_session(HOST + url) == (None if bare is None else HOST + bare)


@pytest.mark.parametrize(
    ("url", "name", "varies"),
    [
        ("/calendar/2024/01", "a.test/calendar/#/#", True),
        ("/news/2024-01-02.html", "a.test/news/#-~.html", True),
        ("/news/123-some-slug.html", "a.test/news/#-~.html", True),
        ("/news/how-to-cook-rice", "a.test/news/~", True),
        ("/session/0123456789abcdef/3", "a.test/session/%x/#", True),
        ("/o/123e4567-e89b-12d3-a456-426614174000", "a.test/o/%x", True),
        ("/sql-select.html", "a.test/sql-select.html", False),
        ("/java.base/java/util/Map.Entry.html", "a.test/java.base/java/util/Map.Entry.html", False),
        ("/view?id=7&lang=en", "a.test/view?id&lang", True),
        ("/x;v=1", "a.test/x", True),
        ("/", "a.test/", False),
    ],
)
def test_templates(url: str, name: str, varies: bool) -> None:
    assert template_names(HOST + url)[0] == name
    assert shape(HOST + url).varies == varies


@given(
    st.lists(st.text(string.ascii_letters + string.digits + "-_.%;", max_size=20), max_size=6),
    st.text(string.ascii_letters + string.digits + "=&?/", max_size=30),
)
def test_numbers_and_values_do_not_make_a_template(parts: list[str], query: str) -> None:
    path = "/".join(parts)
    counted = path.translate(str.maketrans("012345689", "7" * 9))
    values = "&".join(part.partition("=")[0] + "=v" for part in query.split("&")) if query else ""
    assert shape(f"{HOST}/{path}?{query}").path == shape(f"{HOST}/{counted}?{values}").path
    assert shape(f"{HOST}/{path}?{query}").keys == shape(f"{HOST}/{counted}?{values}").keys


def walk(
    brake: TrapJudge, pages: int, *, text: int | None = 7, fruitful: bool = False
) -> int | None:
    """A calendar's months, one found on the other; how many were visited before the brake."""
    for month in range(1, pages):
        url, via = f"{HOST}/calendar/{2000 + month}/1", f"{HOST}/calendar/{1999 + month}/1"
        if brake.judge(url, via):
            return month
        brake.learn(url, via, TEXTS[month] if text is None else text, copied=False,
                    fruitful=fruitful)  # fmt: skip
    return None


def test_a_walk_without_news_is_braked_by_its_own_patience() -> None:
    brake = Kept().brake()
    assert walk(brake, 200) == 20  # the first page is news; nine tenths of twenty must not be
    assert brake.judge(f"{HOST}/calendar/1066/10", f"{HOST}/calendar/1066/9") == "trap:calendar"
    assert not brake.judge(f"{HOST}/calendar/1066/10", f"{HOST}/history.html")
    assert not brake.judge(f"{HOST}/calendar/1066/10", None)
    assert not brake.judge(f"{HOST}/other/1066/10", f"{HOST}/calendar/1066/9")


@pytest.mark.parametrize(("text", "fruitful"), [(None, False), (7, True)])
def test_news_of_either_kind_keeps_a_walk_going(text: int | None, fruitful: bool) -> None:
    assert walk(Kept().brake(), 500, text=text, fruitful=fruitful) is None


def test_pages_that_are_found_elsewhere_are_no_walk() -> None:
    """Ten thousand empty profiles, each linked from a discussion of its own, are not endless."""
    brake = Kept().brake()
    for number in range(500):
        via = f"{HOST}/topic/{number}"
        brake.learn(via, f"{HOST}/", TEXTS[number], copied=False, fruitful=True)
        assert not brake.judge(f"{HOST}/user/{number}", via)
        brake.learn(f"{HOST}/user/{number}", via, 7, copied=False, fruitful=False)


def test_two_templates_that_feed_each_other_are_braked() -> None:
    brake = Kept().brake()
    braked = set()
    for number in range(1, 200):
        day, month = f"{HOST}/day/{number}", f"{HOST}/month/{number}"
        for url, via in ((month, f"{HOST}/day/{number - 1}"), (day, month)):
            if brake.judge(url, via):
                braked.add(url.split("/")[3])
                continue
            # A link to the other promises something until it is known to be barren.
            promising = brake.promises(day if url == month else month, url)
            brake.learn(url, via, 7, copied=False, fruitful=promising)
    assert braked


def test_combinations_of_parameters_on_one_path() -> None:
    brake = Kept().brake()
    home = f"{HOST}/shop?a=1&b=2"
    names = string.ascii_lowercase
    links = [f"{HOST}/shop?{one}=1&{other}=2" for one in names[:6] for other in names[6:12]]
    assert [brake.found(link) for link in links].count(True) == 1
    assert brake.judge(f"{HOST}/shop?x=1&y=2", home) == "trap:query"
    assert not brake.judge(f"{HOST}/shop?x=1", home), "one parameter is no combination"
    assert not brake.judge(f"{HOST}/shop?x=1&y=2", f"{HOST}/"), "found on another page"
    assert not brake.judge(f"{HOST}/list?x=1&y=2", f"{HOST}/list?a=1&b=2"), "another path"


def test_a_path_with_many_combinations_is_one_template() -> None:
    brake = Kept().brake()
    names = string.ascii_lowercase
    for number in range(POOLED + 1):
        brake.found(f"{HOST}/shop?a=1&{names[number + 1]}=1")
    for number in range(40):
        key = names[number % 20 + 1]
        brake.learn(f"{HOST}/shop?a={number}&{key}=1", f"{HOST}/shop?a=1&b=1", 7,
                    copied=False, fruitful=False)  # fmt: skip
    assert brake.judge(f"{HOST}/shop?q=1&z=1", f"{HOST}/shop?a=1&b=1") == "trap:query"


def test_what_was_learned_survives_a_new_memory() -> None:
    kept = Kept()
    for month in range(1, 200):
        brake = kept.brake()
        brake.engaged = any(one.reason for one in kept.templates.values())
        url, via = f"{HOST}/calendar/{2000 + month}/1", f"{HOST}/calendar/{1999 + month}/1"
        if brake.judge(url, via):
            break
        brake.learn(url, via, 7, copied=False, fruitful=False)
        kept.save(brake)
    assert month == 20


def test_what_was_rolled_back_is_forgotten() -> None:
    brake = Kept().brake()
    walk(brake, 15)
    brake.forget()
    assert walk(brake, 200) == 20


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawler.policy.trap_rules.REMEMBERED", 10)
    kept = Kept()
    brake = kept.brake()
    for number in range(100):
        brake.learn(f"{HOST}/{'x' * number}/1", f"{HOST}/", 1, copied=False, fruitful=False)
        kept.save(brake)
    assert len(brake._known) <= 12
    assert len(kept.templates) == 100
