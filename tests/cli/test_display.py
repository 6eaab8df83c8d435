"""What is shown: frames, lines, the summary; strangers' text is harmless, a lost terminal too."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import pty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group

from crawler.cli.display import Display, Forecast, line, panel
from crawler.cli.formatting import amount, counted, duration, harmless, plain, size
from crawler.cli.screen import Screen
from crawler.cli.summary import CrawlEnding, summary, summary_json
from crawler.cli.terminal import Terminal
from crawler.config.model import Config, LimitsConfig
from crawler.engine.stats import Gauges, HostStats, StatsCollector, StatsSnapshot
from crawler.records import Counts

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\u2066\u200b\r\nnext\x00\x9b31m\u2028"


def shot_of(gauges: dict[str, Any] | None = None, **values: Any) -> StatsSnapshot:
    shot = StatsCollector().snapshot()
    return msgspec.structs.replace(shot, gauges=Gauges(**(gauges or {})), **values)


BUSY = shot_of(
    {"queued": 5678, "in_flight": 60, "slots": 64, "parsing": 3, "lag_ms": 2.0, "lag_max_ms": 31.0,
     "loop_cpu": 50.0, "child_cpu": 100.0, "processes": 2},
    elapsed=100.0, visits=1300, pages=1234, retries=5, bytes_wire=34_200_000,
    recent_per_second=152.3, pages_per_second=12.34, statuses={200: 1234, 404: 66},
    reasons={"status": 66, EVIL: 1}, outcomes={"done": 1234, "failed": 66},
    slowest=(HostStats(EVIL, 1, 1, 0, 0, 900.0, 900.0), HostStats("b.test", 1, 1, 0, 0, 9.0, 9.0)),
)  # fmt: skip


def drawn(shot: StatsSnapshot, width: int = 100) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Group(panel(shot, 75.0)))  # as Live does: a bare Text would be joined, and wrap
    return console.export_text()


# ── frames ───────────────────────────────────────────────────────────────────────────────────


def test_the_panel_says_it_all_in_six_rows() -> None:
    rows = drawn(BUSY).splitlines()
    assert len(rows) == 6
    assert "152.3/s   34.2 MB   1m40s   about 1m15s left" in rows[0]
    assert "60/64 in flight   3 to parse   5 retries" in rows[1]
    assert "200: 1" in rows[2]
    assert "status: 66" in rows[3]
    assert "nobody for long" in rows[4]
    assert "lag 2 ms (max 31)   CPU 50%   parsing 50% of 2" in rows[5]


@pytest.mark.parametrize("width", [10, 40, 200])
def test_the_panel_keeps_to_its_rows_however_narrow(width: int) -> None:
    rows = drawn(BUSY, width).splitlines()
    assert len(rows) == 6
    assert all(len(row) <= width for row in rows)


def test_many_statuses_do_not_overflow() -> None:
    shot = msgspec.structs.replace(BUSY, statuses=dict.fromkeys(range(200, 600), 1))
    assert len(drawn(shot, 500).splitlines()[2]) < 150


def test_a_line_for_logs() -> None:
    text = line(BUSY, 75.0)
    assert text.startswith("[1m40s] 1")
    assert "(152.3/s)" in text
    assert text.endswith("66 failed, 5 retries, lag 2 ms, 1m15s left")
    assert "left" not in line(BUSY)


# ── how long yet ─────────────────────────────────────────────────────────────────────────────


def forecasts(
    queue: Callable[[int], int], *, max_pages: int | None = None, before: int = 0
) -> float | None:
    """The forecast after a minute at ten pages a second."""
    forecast = Forecast(max_pages, before)
    left = None
    for second in range(61):
        shot = shot_of(
            {"queued": queue(second)},
            elapsed=float(second), pages=second * 10, recent_per_second=10.0,
        )  # fmt: skip
        left = forecast.left(shot)
    return left


def test_a_growing_queue_has_no_end_that_is_known() -> None:
    assert forecasts(lambda second: 100 + second) is None
    assert forecasts(lambda _: 100) is None


def test_a_shrinking_queue_has_one() -> None:
    assert forecasts(lambda second: 1000 - 5 * second) == pytest.approx(140, rel=0.05)


def test_max_pages_is_one() -> None:
    assert forecasts(lambda second: 100 + second, max_pages=1000) == pytest.approx(40)
    assert forecasts(lambda second: 100 + second, max_pages=1000, before=300) == pytest.approx(10)
    assert forecasts(lambda second: 100 + second, max_pages=100) == 0


def test_the_first_seconds_foretell_nothing() -> None:
    assert Forecast(100).left(shot_of(elapsed=1.0, recent_per_second=5.0)) is None
    assert Forecast(100).left(shot_of(elapsed=9.0, recent_per_second=0.0)) is None


# ── strangers' text ──────────────────────────────────────────────────────────────────────────


@given(st.text())
def test_no_text_of_a_stranger_can_act_on_a_terminal(text: str) -> None:
    for shown in (harmless(text), plain(text)):
        assert all(char.isprintable() for char in shown), shown
        assert not any("\u202a" <= char <= "\u202e" for char in shown)


def test_good_text_is_left_alone() -> None:
    for text in ("Grüße, Welt – 你好 مرحبا 🙂", "  two  spaces", ""):
        assert harmless(text) == text
    assert plain("x" * 300, 10) == "x" * 9 + "…"
    assert plain(EVIL) == "]0;owned [2J next 31m"


@pytest.mark.parametrize("text", ["panel", "summary", "line", "say", "log"])
def test_evil_names_stay_on_their_line(text: str) -> None:
    stream = io.StringIO()
    screen = Screen(stream=stream)
    if text == "log":
        screen.listen()
        logging.getLogger("crawler.test").warning("seen %s", EVIL.replace("\n", ""))
    elif text == "say":
        screen.say(EVIL)
    elif text == "line":
        screen.say(line(BUSY))
    elif text == "summary":
        for row in summary(ENDING):
            screen.say(row)
    else:
        screen.console.print(panel(BUSY))
    said = stream.getvalue().replace("\u202f", "")  # our own, between thousands
    assert all(char.isprintable() or char == "\n" for char in said)
    assert not any("\u202a" <= char <= "\u202e" for char in said)


def test_markup_and_emoji_codes_are_just_text() -> None:
    stream = io.StringIO()
    Screen(stream=stream).say("[bold]x[/bold] :smile: [link=http://evil]y[/link]")
    assert stream.getvalue() == "[bold]x[/bold] :smile: [link=http://evil]y[/link]\n"


# ── the summary ──────────────────────────────────────────────────────────────────────────────

ENDING = CrawlEnding(
    "interrupted",
    Path("my crawl"),
    BUSY,
    Counts(queued=7, done=1234, hosts=2),
    (("http://a.test/", "redirectToExcluded:outOfScope", "http://www.a.test/"),
     ("http://b.test/" + EVIL, "robotsTxt", "")),
)  # fmt: skip


def rows_of(ending: CrawlEnding) -> dict[str, str]:
    rows = (row.strip().partition("  ") for row in summary(ending))
    return {name: text.strip() for name, _, text in rows}


def test_the_summary_says_what_happened_and_what_next() -> None:
    rows = rows_of(ENDING)
    assert rows["ended"] == "interrupted; 7 links are still queued"
    assert rows["next"] == "crawler resume 'my crawl'"
    assert rows["output"] == "my crawl"
    assert rows["held up by"]
    assert "66 status" in rows["reasons"]
    assert "b.test 9 ms" in rows["slowest"]
    seeds = [row for row in summary(ENDING) if row.strip().startswith("seed ")]
    assert "it leads to http://www.a.test/: start there, or widen --scope" in seeds[0]
    assert "robots.txt forbids it" in seeds[1]


def test_what_became_of_urls_is_said_once() -> None:
    """Three visits saw redirects; that these lead in a circle was known at the last of them."""
    shot = shot_of(visits=907, outcomes={"done": 2, "moved": 3, "failed": 902}, retries=1)
    said = summary(CrawlEnding("finished", Path("d"), shot, Counts(done=2, failed=905, hosts=1)))
    rows = dict(row.strip().split("  ", 1) for row in said)
    assert rows["visits"] == "907, 1 retry"
    assert rows["urls"] == "907 seen on 1 host: 2 done, 905 failed, 0 still queued"
    assert "902" not in "".join(said)


def test_what_is_braked_and_what_was_not_sent() -> None:
    shot = shot_of(unsent=("--auth for a.test",))
    ending = CrawlEnding("finished", Path("d"), shot, Counts(braked=2, left={"tooLong": 2}))
    assert rows_of(ending)["login"] == "--auth for a.test was not sent: no request went there"
    assert "crawler release d tooLong" in rows_of(ending)["braked"]
    ending = CrawlEnding(
        "finished", Path("d"), shot, Counts(braked=2, left={"tooLong": 1, "trap": 1})
    )
    assert "or too long (1), parked" in rows_of(ending)["braked"]
    assert "crawler release d 'trap:*'" in rows_of(ending)["braked"]


@pytest.mark.parametrize(
    ("reason", "counts", "command"),
    [
        ("finished", Counts(done=5), "crawler status d"),
        ("finished", Counts(done=5, resting=1), "crawler resume d"),
        ("max-pages", Counts(done=6, queued=1, pages=5), "crawler resume d --max-pages 10"),
        ("time-limit", Counts(done=5, queued=1), "crawler resume d"),
    ],
)
def test_the_next_command_fits(reason: str, counts: Counts, command: str) -> None:
    assert rows_of(CrawlEnding(reason, Path("d"), BUSY, counts))["next"] == command


def test_the_summary_as_json_reads_back() -> None:
    tree = msgspec.json.decode(summary_json(ENDING))
    assert tree["pages"] == 1234
    assert tree["statuses"] == {"200": 1234, "404": 66}
    assert tree["seeds_failed"][0]["leads_to"] == "http://www.a.test/"
    assert tree["counts"]["queued"] == 7
    assert tree["gauges"]["lag_max_ms"] == 31.0


# ── while it runs ────────────────────────────────────────────────────────────────────────────


class Ear(io.StringIO):
    """A stream that tells when something was said."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    def write(self, text: str) -> int:
        self.heard.set()
        return super().write(text)


async def test_lines_where_there_is_no_terminal() -> None:
    ear = Ear()
    async with Display(StatsCollector(), Config(), Screen(stream=ear), line=0.01):
        await asyncio.wait_for(ear.heard.wait(), 5)
    assert ear.getvalue().startswith("[0.0s] 0 pages (0.0/s), 0 queued")
    assert "\x1b" not in ear.getvalue()


async def test_silence() -> None:
    ear = Ear()
    async with Display(StatsCollector(), Config(), Screen(stream=ear, silent=True), line=0.0):
        for _ in range(10):
            await asyncio.sleep(0)
    assert ear.getvalue() == ""


async def test_the_panel_on_a_terminal_leaves_lines_said_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ear = Ear()
    screen = Screen(stream=ear)
    screen.console = Terminal(file=ear, force_terminal=True, width=80, markup=False)
    config = Config(limits=LimitsConfig(max_pages=10))
    async with Display(StatsCollector(), config, screen, frame=0.01):
        await asyncio.wait_for(ear.heard.wait(), 5)
        screen.say("stopping")
    text = ear.getvalue()
    assert "stopping" in text
    assert "to visit" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


async def test_a_terminal_that_goes_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: ASYNC230, PTH123 - a descriptor
        screen = Screen(stream=stream)
        assert screen.console.is_terminal
        display = Display(StatsCollector(), Config(), screen, frame=0.001)
        async with display:
            await asyncio.sleep(0)
            os.close(ours)  # from now on writing raises EIO
            for _ in range(5):
                await asyncio.sleep(0.001)
            screen.say("nobody hears this")
            assert display._task is not None
            assert not display._task.done() or display._task.exception() is None
        with contextlib.suppress(OSError):  # what lies in its buffer
            stream.close()


async def test_a_pipe_that_closes_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8", buffering=1) as stream:  # noqa: ASYNC230, PTH123
        screen = Screen(stream=stream)
        screen.say("nobody hears this")
        async with Display(StatsCollector(), Config(), screen, line=0.0):
            for _ in range(10):
                await asyncio.sleep(0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that closing it can flush


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Screen(no_color=True).console.no_color
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen().console.no_color


# ── words ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (9.96, "10.0s"), (59, "59s"), (61, "1m01s"), (3725.2, "1h02m05s")],
)
def test_durations_as_people_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")]
)
def test_sizes_as_people_read_them(number: float, text: str) -> None:
    assert size(number) == text


def test_what_is_counted_is_said_in_the_number_it_has() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(n, "retry", "retries") for n in (1, 3)] == ["1 retry", "3 retries"]
    assert counted(12345, "link") == f"{amount(12345)} links"


def test_amounts_are_grouped() -> None:
    assert amount(1234567).split("\u202f") == ["1", "234", "567"]
