"""The door without a network: flags, help, exit codes, signals; a crawl here is a small fake."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from crawler.cli import main as door
from crawler.cli.config_sources import with_scheme
from crawler.cli.exits import Exit, SeedOutcome, error_code, exit_code, fate
from crawler.cli.flags import FLAGS
from crawler.cli.run_crawl import run
from crawler.cli.screen import Screen
from crawler.cli.seed_results import SHOWN, SeedResults
from crawler.config.loader import Settings, fields
from crawler.config.model import Config, LimitsConfig
from crawler.engine.stats import StatsCollector
from crawler.errors import (
    ConfigError,
    FolderLocked,
    FrontierError,
    Insecure,
    SinkError,
    Unreachable,
    Unresolved,
)
from crawler.policy.autothrottle import HostPace
from crawler.policy.waits import Wait
from crawler.records import Counts, CrawlResult, CrawlUrl, Outcome


def crawler(*args: str, stdin: str = "") -> Result:
    return CliRunner().invoke(door.crawler, args, input=stdin)


def printed(*args: str, stdin: str = "") -> Config:
    """The configuration that a command line amounts to."""
    result = crawler("crawl", "--print-config", *args, stdin=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    settings = Settings()
    settings.toml(result.output, "printed")
    return settings.config()


def refused(*args: str) -> str:
    result = crawler("crawl", *args)
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the place it was started in, or reads its environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CRAWLER_")]:
        monkeypatch.delenv(name)


# ── help ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", door.COMMANDS)
def test_every_command_and_flag_has_help(name: str) -> None:
    command = door.crawler.get_command(click.Context(door.crawler), name)
    assert command is not None
    assert command.short_help == door.COMMANDS[name][1]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    assert crawler(name, "--help").exit_code == 0


def test_help_names_every_exit_code() -> None:
    text = crawler("--help").output
    for code in Exit:
        assert f"\n  {int(code)} " in text


def test_every_flag_of_the_table_is_a_flag_of_crawl() -> None:
    text = crawler("crawl", "--help").output
    for flag in FLAGS:
        for name in flag.names:
            assert name.partition("/")[0] in text


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["status", "--help"], ["crawl", "-h"]])
def test_asking_for_help_loads_nothing_heavy(args: list[str]) -> None:
    script = (
        "import sys\nfrom crawler.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print({'aiohttp', 'rich', 'bs4', 'selectolax', 'uvloop'} & set(sys.modules))"
    )
    root = str(Path(door.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_wrong_command_suggests_the_right_one() -> None:
    assert "Did you mean 'resume'?" in crawler("resum").output
    assert "crawler crawl example.com" in crawler("example.com").output
    assert crawler("xyzzy").exit_code == 2


# ── flags ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["--limit", "5"], "limits.max_pages", 5),
        (["-l", "2"], "scope.max_depth", 2),
        (["--time-limit", "1h30m"], "limits.time_limit", 5400.0),
        (["--size-limit", "10MiB"], "limits.size_limit", 10 * 2**20),
        (["-w", "500ms"], "pace.delay", 0.5),
        (["-A", r"\d{1,3}", "-A", "b"], "scope.include", (r"\d{1,3}", "b")),
        (["-R", "a,b"], "scope.exclude", ("a,b",)),
        (["--retry-on-http-status", "429,503"], "retry.on_status", (429, 503)),
        (["--strip-query", "sid", "--strip-query", "a,b"], "urls.strip_query", ("sid", "a", "b")),
        (["-H", "DNT: 1", "-H", "From:b: c"], "fetch.headers", {"DNT": "1", "From": "b: c"}),
        (["--no-robots"], "robots.obey", False),
        (["--robots"], "robots.obey", True),
        (["--insecure"], "fetch.insecure", True),
        (["--forms"], "scope.forms", True),
        (["--save", "html"], "output.save", "html"),
        (["-O", "x y"], "output.dir", "x y"),
        (["--polite"], "pace.delay", 1.0),
        (["--polite", "--delay", "2"], "pace.delay", 2.0),
        (["--fast"], "pace.fast", True),
        (["--max-pages", "5", "-s", "limits.max_pages=6"], "limits.max_pages", 6),
        (["-s", "limits.max_pages="], "limits.max_pages", None),
    ],
)  # fmt: skip
def test_a_flag_sets_its_key(args: list[str], key: str, value: Any) -> None:
    section, name = key.split(".")
    assert getattr(getattr(printed(*args), section), name) == value


def test_every_setting_can_be_set_by_s() -> None:
    default = msgspec.to_builtins(Config())
    for key, field in fields().items():
        value = default
        for part in key.split("."):
            value = value[part]
        text = {"list": "[]", "table": "{}"}.get(field.kind, str(value).lower())
        if value is None:
            text = ""
        elif field.kind == "str":
            text = value
        printed("-s", f"{key}={text}")


def test_sources_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text("[limits]\nmax_pages = 1\nworkers = 1\nconcurrency = 1\n")
    (tmp_path / "b.toml").write_text("\ufeff[limits]\nmax_pages = 2\nworkers = 2\n")
    monkeypatch.setenv("CRAWLER_LIMITS_MAX_PAGES", "3")
    both = ("--config", "a.toml", "--config", "b.toml")
    assert printed(*both).limits == LimitsConfig(max_pages=3, workers=2, concurrency=1)
    assert printed(*both, "--max-pages", "4").limits.max_pages == 4
    text = crawler("crawl", "--print-config", *both).output
    assert "max_pages = 3  # CRAWLER_LIMITS_MAX_PAGES" in text
    assert "workers = 2  # b.toml:3" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no URL to start at: crawler crawl https://example.com/, or -i FILE"),
        (["--max-pages", "0", "x.test"], "--max-pages: limits.max_pages = '0': expected `int`"),
        (["--delay", "soon", "x.test"], "--delay: pace.delay: 'soon' is not a duration such as"),
        (["-s", "pace.dely=1", "x.test"], "-s: pace.dely: no such setting; did you mean"),
        (["-H", "nonsense", "x.test"], "--header: 'nonsense' is not `Name: value`"),
        (["-H", "A: b\r\nEvil: 1", "x.test"], "--header: 'A: b\\r\\nEvil: 1' is not"),
        (["--fast", "--delay", "1", "x.test"], "--fast and --delay: only one of them"),
        (["--fast", "--polite", "x.test"], "--fast and --polite: only one of them"),
        (["--fresh", "--resume", "x.test"], "--fresh, --resume and --update: only one of them"),
        (["--config", "none.toml", "x.test"], "none.toml: No such file or directory"),
        (["-i", "none.txt"], "none.txt: No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(args: list[str], message: str) -> None:
    assert refused(*args).startswith(message)


def test_a_list_given_as_a_url_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("a.test\n")
    assert refused("urls.txt") == "urls.txt: is a file; to start at the URLs in it: -i urls.txt"


def test_seeds_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("# mine\n\n a.test \nhttp://b.test/x#y\na.test\n")
    assert printed("-i", "urls.txt", "-u", "c.test", "d.test").seeds == (
        "https://d.test", "https://c.test", "https://a.test", "http://b.test/x#y",
    )  # fmt: skip
    assert printed("-i", "-", stdin="e.test\n").seeds == ("https://e.test",)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert refused("-i", "empty.txt") == "empty.txt: no URL in it"
    (tmp_path / "latin.txt").write_bytes(b"http://\xe4.test\n")
    assert refused("-i", "latin.txt") == "latin.txt: not UTF-8 (byte 7)"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("example.com", "https://example.com"),
        ("example.com:8443/x?a=b:c", "https://example.com:8443/x?a=b:c"),
        ("//example.com/x", "https://example.com/x"),
        ("user:pw@example.com/x", "user:pw@example.com/x"),
        ("localhost", "http://localhost"),
        ("LOCALHOST:80/x", "http://LOCALHOST:80/x"),
        ("a.localhost", "http://a.localhost"),
        ("127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("10.1.2.3?x", "http://10.1.2.3?x"),
        ("1.2.3.example", "https://1.2.3.example"),
        ("mailto:me@example.com", "mailto:me@example.com"),
        ("ftp://example.com", "ftp://example.com"),
        ("HTTP://example.com", "HTTP://example.com"),
    ],
)
def test_a_scheme_is_added_where_none_is(given: str, url: str) -> None:
    assert with_scheme(given) == url


# ── exit codes ───────────────────────────────────────────────────────────────────────────────


def seed(outcome: Outcome, reason: str = "") -> CrawlResult:
    return CrawlResult(CrawlUrl("http://a.test/", "a.test"), outcome, reason=reason)


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        (Outcome.DONE, "", SeedOutcome.READ),
        (Outcome.UNCHANGED, "", SeedOutcome.READ),
        (Outcome.MOVED, "", SeedOutcome.MOVED),
        (Outcome.MOVED, "redirectToExcluded:outOfScope", SeedOutcome.ERROR),
        (Outcome.FAILED, "redirect:too many", SeedOutcome.ERROR),
        (Outcome.FAILED, "status:404", SeedOutcome.ERROR),
        (Outcome.FAILED, "status:429", SeedOutcome.BUSY),
        (Outcome.FAILED, "dns:a.test", SeedOutcome.NETWORK),
        (Outcome.FAILED, "connection", SeedOutcome.NETWORK),
        (Outcome.FAILED, "timeout:connect", SeedOutcome.NETWORK),
        (Outcome.FAILED, "tls:expired", SeedOutcome.TLS),
        (Outcome.FAILED, "too-large", SeedOutcome.ERROR),
        (Outcome.FAILED, "parse:crash", SeedOutcome.ERROR),
        (Outcome.REFUSED, "robotsTxt", SeedOutcome.ERROR),
        (Outcome.REFUSED, "robotsUnreachable:status:503", SeedOutcome.UNASKED),
    ],
)
def test_the_fate_of_a_seed(outcome: Outcome, reason: str, expected: SeedOutcome) -> None:
    assert fate(seed(outcome, reason)) is expected


@pytest.mark.parametrize(
    ("reason", "pages", "fates", "robots", "code"),
    [
        ("finished", 5, [SeedOutcome.READ], [], Exit.OK),
        ("finished", 5, [SeedOutcome.READ, SeedOutcome.NETWORK], [], Exit.OK),
        ("max-pages", 5, [SeedOutcome.READ], [], Exit.OK),
        ("no-pages", 0, [], [], Exit.SERVER),  # no seed was admitted
        ("hosts-down", 0, [], [], Exit.NETWORK),
        ("hosts-down", 0, [SeedOutcome.MOVED], [], Exit.NETWORK),
        ("hosts-down", 0, [SeedOutcome.ERROR], [], Exit.SERVER),
        ("finished", 0, [SeedOutcome.READ], [], Exit.OK),  # a seed that is no page
        ("interrupted", 5, [SeedOutcome.READ], [], Exit.INTERRUPTED),
        ("interrupted", 0, [SeedOutcome.NETWORK], [], Exit.INTERRUPTED),
        ("aborted", 0, [], [], Exit.FORCED),
        ("size-limit", 5, [SeedOutcome.READ], [], Exit.SIZE_LIMIT),
        ("time-limit", 5, [SeedOutcome.READ], [], Exit.TIME_LIMIT),
        ("finished", 0, [SeedOutcome.NETWORK], [], Exit.NETWORK),
        ("finished", 0, [SeedOutcome.TLS], [], Exit.TLS),
        ("finished", 0, [SeedOutcome.TLS, SeedOutcome.NETWORK], [], Exit.NETWORK),
        ("finished", 0, [SeedOutcome.ERROR, SeedOutcome.NETWORK], [], Exit.SERVER),
        ("finished", 0, [SeedOutcome.MOVED], [], Exit.SERVER),  # in a circle
        ("finished", 0, [SeedOutcome.BUSY], [], Exit.RATE_LIMITED),
        ("finished", 0, [SeedOutcome.BUSY, SeedOutcome.ERROR], [], Exit.SERVER),
        ("finished", 0, [SeedOutcome.BUSY, SeedOutcome.NETWORK], [], Exit.RATE_LIMITED),
        ("finished", 0, [SeedOutcome.UNASKED], ["connection"], Exit.NETWORK),
        ("finished", 0, [SeedOutcome.UNASKED], ["tls"], Exit.TLS),
        ("finished", 0, [SeedOutcome.UNASKED], ["status:503"], Exit.SERVER),
        ("finished", 0, [SeedOutcome.UNASKED], ["status:429"], Exit.RATE_LIMITED),
        ("finished", 0, [SeedOutcome.UNASKED], [], Exit.NETWORK),
    ],
)
def test_exit_codes(
    reason: str, pages: int, fates: list[SeedOutcome], robots: list[str], code: Exit
) -> None:
    shot = msgspec.structs.replace(StatsCollector().snapshot(), pages=pages)
    assert exit_code(reason, shot, fates, dict.fromkeys(robots, 1)) is code


def test_a_resumed_crawl_that_had_nothing_left_is_well_if_it_has_a_page() -> None:
    shot = StatsCollector().snapshot()
    assert exit_code("finished", shot, [], ever=True) is Exit.OK
    assert exit_code("finished", shot, [SeedOutcome.ERROR], ever=True) is Exit.SERVER


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (SinkError("disk full"), Exit.HOUSE),
        (FolderLocked("x"), Exit.HOUSE),
        (Unresolved("x"), Exit.NETWORK),
        (Insecure("x"), Exit.TLS),
        (ValueError("x"), Exit.BUG),
    ],
)
def test_the_code_of_an_error(error: Exception, code: Exit) -> None:
    assert error_code(error) is code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("a: b"), 2, "crawler: error: a: b\n"),
        (Unreachable("refused"), 4, "crawler: error: connection: refused\n"),
        (ConfigError("\x1b[31m\u202ered\r\nx"), 2, "crawler: error: �[31m�red x\n"),
        (ExceptionGroup("g", [ValueError("v"), ExceptionGroup("h", [FrontierError("full")])]), 3,
         "crawler: error: full\n"),
        (KeyError("k"), 1, "crawler: bug: KeyError: 'k' (run it with -v to see where)\n"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door._report(error, in_full=False) == code
    assert capsys.readouterr().err == line


def test_a_bug_shows_where_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError) as caught:
        raise KeyError("k")
    assert door._report(caught.value, in_full=True) == 1
    assert "test_cli.py" in capsys.readouterr().err
    assert door._wants_more(["crawl", "-vv"])
    assert door._wants_more(["crawl", "--verbose"])
    assert not door._wants_more(["crawl", "--version", "-vx"])


async def test_seeds_are_noted_within_bounds() -> None:
    seeds = SeedResults()
    failed = seed(Outcome.FAILED, "dns")
    deeper = CrawlResult(
        CrawlUrl("http://a.test/x", "a.test", depth=1), Outcome.FAILED, reason="dns"
    )
    assert await seeds.append([failed] * 100 + [deeper]) == 0
    assert seeds.fates == {SeedOutcome.NETWORK: 100}
    assert len(seeds.troubles) == SHOWN


# ── a run ────────────────────────────────────────────────────────────────────────────────────


class FakeCrawl:
    """A crawl that does what it is told while it runs."""

    def __init__(self, work: Callable[[FakeCrawl], Awaitable[None]]) -> None:
        self.tally = StatsCollector()
        self.frontier = self
        self.finish_reason = ""
        self.stopped = asyncio.Event()
        self.aborted = asyncio.Event()
        self._work = work

    async def run(self) -> StatsCollector:
        await self._work(self)
        self.finish_reason = self.finish_reason or "finished"
        return self.tally

    def stop(self, reason: str = "interrupted") -> None:
        self.finish_reason = reason
        self.stopped.set()

    def abort(self) -> None:
        self.finish_reason = "aborted"
        self.aborted.set()

    async def counts(self) -> Counts:
        return Counts(queued=3, done=7, pages=7)

    def paces(self, most: int = 10) -> list[HostPace]:
        return [HostPace("slow.test", 1, 1, 0, 3, 60.0, crawl_delay=300.0)][:most]

    async def waits(self, most: int = 10) -> list[Wait]:
        return [Wait("slow.test", 30.0, "Crawl-delay of 5m00s", 3)][:most]


def tell(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def run_fake(
    work: Callable[[FakeCrawl], Awaitable[None]],
    *,
    opening: Callable[[], Awaitable[None]] | None = None,
    **look: Any,
) -> tuple[int, str]:
    """Exit code, and what was said."""

    @asynccontextmanager
    async def opener(config: Config, **_: Any) -> AsyncIterator[FakeCrawl]:
        assert config == Config()
        if opening is not None:
            await opening()
        yield FakeCrawl(work)

    said = io.StringIO()
    before = signal.getsignal(signal.SIGINT)
    try:
        code = run(Config(), Path("a b"), "new", Screen(stream=said, **look), opener=opener)
    finally:
        assert signal.getsignal(signal.SIGINT) is before
    return int(code), said.getvalue()


async def nothing(_: FakeCrawl) -> None:
    """It was over before it began."""


async def wait_for_stop(crawl: FakeCrawl) -> None:
    tell()
    await crawl.stopped.wait()


async def wait_for_abort(crawl: FakeCrawl) -> None:
    tell(signal.SIGINT)
    await crawl.stopped.wait()
    tell(signal.SIGTERM)
    await crawl.aborted.wait()


def test_a_run_ends_with_its_summary() -> None:
    code, said = run_fake(nothing)
    assert code == 0
    assert "     ended  finished; 3 links are still queued\n" in said
    assert "crawler resume 'a b'" in said


def test_silence_says_nothing() -> None:
    assert run_fake(wait_for_stop, silent=True)[1].count("\n") == 1  # only that it stops


def test_a_summary_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run_fake(nothing, as_json=True)
    tree = msgspec.json.decode(capsys.readouterr().out)
    assert (code, said) == (0, "")
    assert tree["finish_reason"] == "finished"
    assert tree["counts"]["queued"] == 3
    assert tree["dir"] == "a b"


def test_one_signal_stops_gently() -> None:
    code, said = run_fake(wait_for_stop)
    assert code == 11
    assert "stopping: what is in hand has 10 s to finish (again: at once)." in said
    assert "Go on later with: crawler resume 'a b'\n" in said


def test_two_signals_stop_at_once() -> None:
    code, said = run_fake(wait_for_abort)
    assert code == 13
    assert "stopping at once; what is in hand will be visited again" in said


def test_a_hangup_stops_gently_too() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who tests under nohup ignores it

    async def work(crawl: FakeCrawl) -> None:
        tell(signal.SIGHUP)
        await crawl.stopped.wait()

    try:
        assert run_fake(work)[0] == 11
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_the_parent_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work(crawl: FakeCrawl) -> None:
        tell(signal.SIGHUP)
        await asyncio.sleep(0)
        assert not crawl.stopped.is_set()

    try:
        assert run_fake(work)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("signals", "code"), [(1, 11), (2, 13)])
def test_signals_before_there_is_anything_to_stop(signals: int, code: int) -> None:
    async def opening() -> None:
        for _ in range(signals):
            tell(signal.SIGINT)
            await asyncio.sleep(0.05)  # two signals in one turn of the loop would be one

    async def work(crawl: FakeCrawl) -> None:
        assert crawl.stopped.is_set() or crawl.aborted.is_set()

    assert run_fake(work, opening=opening)[0] == code


def test_the_house_fails_and_the_person_hears_how_to_go_on() -> None:
    async def work(_: FakeCrawl) -> None:
        raise SinkError("pages.jsonl: No space left on device")

    said = io.StringIO()

    @asynccontextmanager
    async def opener(*_: Any, **__: Any) -> AsyncIterator[FakeCrawl]:
        yield FakeCrawl(work)

    with pytest.raises(SinkError):
        run(Config(), Path("d"), "new", Screen(stream=said), opener=opener)
    assert said.getvalue() == "nothing that was done is lost; go on with: crawler resume d\n"


def test_whoever_closes_the_pipe_gets_no_complaint() -> None:
    root = str(Path(door.__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-m", "crawler", "crawl", "--print-config"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 0
