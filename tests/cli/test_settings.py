"""Settings: merging, origins, units, messages; the files in config/ and the model agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from helpers.places import ROOT
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.explain import default_toml, explain
from crawler.cli.flags import FLAGS, HELP
from crawler.config.loader import PRESETS, Settings, dump_toml, fields, variable, with_settings
from crawler.config.model import (
    Config,
    FetchConfig,
    LimitsConfig,
    OutputConfig,
    ScopeConfig,
    UrlsConfig,
)
from crawler.errors import ConfigError
from crawler.utils import units

PRESET_FILES = sorted((ROOT / "config").glob("*.toml"))


def read(text: str, name: str = "my.toml") -> Settings:
    settings = Settings()
    settings.toml(text, name)
    return settings


def complaint(settings: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.config()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ── merging ──────────────────────────────────────────────────────────────────────────────────


def test_nothing_said_is_the_default() -> None:
    assert Settings().config() == Config()


def test_later_sources_win_and_are_remembered() -> None:
    settings = Settings()
    settings.toml("[pace]\ndelay = 1\n[limits]\nmax_pages = 1\nconcurrency = 1\ngrace=1", "a.toml")
    settings.toml("[limits]\nmax_pages = 2\nconcurrency = 2\ngrace = 2", "b.toml")
    settings.environment({"CRAWLER_LIMITS_MAX_PAGES": "3", "CRAWLER_LIMITS_GRACE": "3", "HOME": ""})
    settings.set("limits.max_pages", "4", "--max-pages")
    config = settings.config()
    assert config.limits == LimitsConfig(max_pages=4, concurrency=2, grace=3.0)
    assert settings.origins == {
        "pace.delay": "a.toml:2",
        "limits.max_pages": "--max-pages",
        "limits.concurrency": "b.toml:3",
        "limits.grace": "CRAWLER_LIMITS_GRACE",
    }


def test_a_flag_takes_a_limit_away() -> None:
    settings = read("[limits]\nmax_pages = 5")
    settings.assignment("limits.max_pages=")
    assert settings.config().limits.max_pages is None


def test_presets_give_way_to_what_is_said_after_them() -> None:
    settings = Settings()
    settings.preset("polite", "--polite")
    settings.set("pace.delay", "2s", "--delay")
    assert settings.config().pace.per_host == 1
    assert settings.config().pace.delay == 2.0
    assert settings.origins["pace.per_host"] == "--polite"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    settings = Settings()
    settings.preset(name, "preset")
    settings.config()


def test_every_variable_names_one_key() -> None:
    assert len({variable(key) for key in fields()}) == len(fields())


# ── values from text ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("limits.time_limit=1h30m", LimitsConfig(time_limit=5400.0)),
        ("limits.size_limit=1.5GB", LimitsConfig(size_limit=1_500_000_000)),
        ("limits.concurrency = 7", LimitsConfig(concurrency=7)),
        ("scope.mime=text/html, text/plain", ScopeConfig(mime=("text/html", "text/plain"))),
        ("scope.include=['a{1,3}', 'b']", ScopeConfig(include=("a{1,3}", "b"))),
        ("scope.forms=yes", ScopeConfig(forms=True)),
        ("urls.strip_query=", UrlsConfig(strip_query=())),
        ('fetch.headers={Accept = "*/*", X-A = "b=c"}',
         FetchConfig(headers={"Accept": "*/*", "X-A": "b=c"})),
        ("fetch.user_agent=a=b", FetchConfig(user_agent="a=b")),
        ("output.save=all", OutputConfig(save="all")),
    ],
)  # fmt: skip
def test_assignments(assignment: str, expected: object) -> None:
    settings = Settings()
    settings.assignment(assignment)
    section = assignment.partition(".")[0]
    assert getattr(settings.config(), section) == expected


def test_units_in_files() -> None:
    settings = read('[fetch]\nmax_body = "10MiB"\ntimeout = "500ms"\nidle_timeout = 3')
    config = settings.config()
    assert config.fetch == FetchConfig(max_body=10 * 2**20, timeout=0.5, idle_timeout=3.0)


# ── messages ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\n\nconcurrency = 0",
         "my.toml:3: limits.concurrency = 0: expected `int` >= 1"),
        ("limits.concurrency = 'many'",
         "my.toml:1: limits.concurrency = 'many': expected `int`, got `str`"),
        ("[scope]\nscope = 'planet'", "my.toml:2: scope.scope = 'planet': invalid enum value"),
        ("[retry]\non_status = [500, 'x']", "my.toml:2: retry.on_status = [500, 'x']: expected"),
        ("[fetch.headers]\nA = 1", "my.toml:1: fetch.headers = {'A': 1}: expected `str`"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit(text: str, message: str) -> None:
    assert complaint(read(text)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nmax_page = 1",
         "my.toml:2: limits.max_page: no such setting; did you mean limits.max_pages?"),
        ("max_pages = 1",
         "my.toml:1: max_pages: no such setting; did you mean limits.max_pages?"),
        ("[fetch]\nretries = 1", "my.toml:2: fetch.retries: no such setting; did you mean retry.r"),
        ("[limit]\nmax_pages = 1", "my.toml:1: limit: no such setting; did you mean limits"),
        ("[zzzz]\nq = 1", "my.toml:1: zzzz: no such setting"),
        ("limits = 5", "my.toml:1: limits is a section, not a value"),
        ("[pace]\ndelay = 'soon'", "my.toml:2: pace.delay: 'soon' is not a duration such as 90"),
        ("[pace]\ndelay = nan", "my.toml:2: pace.delay: expected a finite number, got nan"),
        ("[pace]\ndelay = inf", "my.toml:2: pace.delay: expected a finite number, got inf"),
        ("[pace]\ndelay = true", "my.toml:2: pace.delay: expected a number, got true"),
        ("[limits]\nsize_limit = '5 bananas'", "my.toml:2: limits.size_limit: '5 bananas' is not"),
        ("[limits\n", "my.toml: not valid TOML: "),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_other_sources_say_who_they_are() -> None:
    settings = Settings()
    with pytest.raises(ConfigError, match=r"^CRAWLER_LIMITS_MAX_PAGE: .*CRAWLER_LIMITS_MAX_PAGES"):
        settings.environment({"CRAWLER_LIMITS_MAX_PAGE": "1"})
    with pytest.raises(ConfigError, match=r"^-s nonsense: expected section.key=value"):
        settings.assignment("nonsense")
    with pytest.raises(ConfigError, match=r"^-s: scope.forms: expected true or false, got 'maybe'"):
        settings.assignment("scope.forms=maybe")
    with pytest.raises(ConfigError, match=r"^-s: fetch.headers: expected TOML"):
        settings.assignment("fetch.headers=Accept")
    settings.set("limits.max_pages", "-1", "--max-pages")
    assert complaint(settings) == "--max-pages: limits.max_pages = '-1': expected `int` >= 1"


# ── writing ──────────────────────────────────────────────────────────────────────────────────


STRANGE = with_settings(
    None,
    seeds=("https://example.com/", "https://example.org/ä\"'"),
    include=("a\\d{1,3}", "b'\"#"),
    headers={"X y": 'quote " and = and #', "Accept": "*/*"},
    user_agent="line\none \x1b[31m",
    max_pages=3,
    time_limit=1.5,
    save="all",
)


@pytest.mark.parametrize("config", [Config(), STRANGE], ids=["default", "strange"])
def test_what_is_written_reads_back(config: Config) -> None:
    assert read(dump_toml(config)).config() == config
    assert read(explain(config, {})).config() == config
    assert read(explain(config, None)).config() == config


def test_explain_names_the_origin_of_each_value() -> None:
    settings = read("[pace]\ndelay = '2s'")
    text = explain(settings.config(), settings.origins)
    assert "delay = 2.0  # my.toml:2\n" in text
    assert "per_host = 2  # default\n" in text
    assert "# max_pages =  # default\n" in text


def test_an_origin_cannot_break_out_of_its_comment() -> None:
    text = explain(Config(), {"pace.delay": "a\nfetch.insecure = true\x1b"})
    tomllib.loads(text)
    assert "\x1b" not in text
    assert read(text).config() == Config()


def test_the_default_file_is_the_model() -> None:
    path = next(path for path in PRESET_FILES if path.name == "default.toml")
    assert path.read_text("utf-8") == default_toml(), "python -m crawler.cli.explain > it"
    for key in fields():
        assert f"# {HELP[key]}.\n" in path.read_text("utf-8")


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: path.name)
def test_the_files_in_config_are_valid(path: Path) -> None:
    config = read(path.read_text("utf-8"), path.name).config()
    assert (config == Config()) == (path.name == "default.toml")


def test_with_settings_finds_keys_by_their_last_name() -> None:
    config = with_settings(None, max_pages=3, scope="any", timeout=2, dir="x", fast=None)
    assert config.limits.max_pages == 3
    assert config.scope.scope == "any"
    assert config.fetch.timeout == 2.0
    assert config.output.dir == "x"
    assert with_settings(config, max_pages=4).scope.scope == "any"
    with pytest.raises(ConfigError, match=r"max_page: no such setting; did you mean limits.max_p"):
        with_settings(None, max_page=3)


def test_every_setting_is_in_the_table_of_flags_once() -> None:
    assert [flag.key for flag in FLAGS] == list(fields())


# ── units ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90), ("0", 0), ("1.5", 1.5), ("500ms", 0.5), ("1h30m", 5400), ("1 h 30 m", 5400),
        ("2D", 172_800), ("1m500ms", 60.5), (" 3s ", 3), ("1.5h", 5400),
    ],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    assert units.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "1x", "1h30", "1s1s", "1e3", "nan", "inf", "1h,2m", "٣s", "9" * 400]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|longer than can be counted"):
        units.seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("500k", 500_000), ("10MiB", 10 * 2**20), ("1.5GB", 1_500_000_000),
        ("1 kib", 1024), ("1.1k", 1100), ("0.5", 0), ("12B", 12), ("2T", 2 * 10**12),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert units.size(text) == expected


@pytest.mark.parametrize("text", ["", "k", "-1", "1KiBit", "1e3", "1.k", "1,5k", "٣k"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        units.size(text)


@given(st.integers(0, 10**18), st.sampled_from(sorted(units.SIZES)))
def test_whole_sizes_are_exact(number: int, unit: str) -> None:
    assert units.size(f"{number}{unit}") == number * units.SIZES[unit]
    assert units.size(f"{number} {unit.upper()}") == number * units.SIZES[unit]


@given(st.tuples(*[st.integers(0, 10**6)] * 5))
def test_durations_are_the_sum_of_their_parts(parts: tuple[int, ...]) -> None:
    text = "".join(f"{n}{unit}" for n, unit in zip(parts, ("d", "h", "m", "s", "ms"), strict=True))
    total = sum(n * f for n, f in zip(parts, (86400, 3600, 60, 1, 0.001), strict=True))
    assert units.seconds(text) == pytest.approx(total)


@given(st.floats(0, 1e9, allow_nan=False))
def test_seconds_read_back_what_python_prints(number: float) -> None:
    if "e" not in repr(number):
        assert units.seconds(repr(number)) == number
