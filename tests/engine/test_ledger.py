"""Group commit: files and frontier agree to the byte, whatever fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from crawler.engine.committer import Committer
from crawler.errors import SinkError
from crawler.output.body_files import BodyFiles, path_for
from crawler.output.jsonl import JsonLines
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Page, ParsedPage, Timings


class FakeFrontier:
    """Remembers what was settled."""

    def __init__(self) -> None:
        self.groups: list[list[CrawlResult]] = []
        self.marks: dict[str, int] = {}
        self.fails = False

    async def recognise(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        return visits

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise SinkError("frontier: no space left")
        self.groups.append(list(visits))
        self.marks.update(marks)


def visit(number: int, outcome: Outcome = Outcome.DONE, kind: Kind = Kind.PAGE) -> CrawlResult:
    link = CrawlUrl(f"https://a.test/{number}", "a.test", kind=kind, id=number)
    page = Page(link, 200, (("ETag", '"x"'),), b"", 1.0, Timings(1.0), 3)
    return CrawlResult(link, outcome, page, ParsedPage(title=f"№ {number}\u2028\x00"))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


async def test_those_who_enter_together_are_committed_together(tmp_path: Path) -> None:
    frontier = FakeFrontier()
    path = tmp_path / "pages.jsonl"
    async with (
        JsonLines(path) as sink,
        Committer(frontier, [sink]) as ledger,  # type: ignore[arg-type]
        asyncio.TaskGroup() as crew,
    ):
        for number in range(100):
            crew.create_task(ledger.enter(visit(number)))
    assert sum(map(len, frontier.groups)) == 100
    assert len(frontier.groups) < 5
    assert frontier.marks == {"pages.jsonl": path.stat().st_size}
    assert [line["url"] for line in lines(path)] == [f"https://a.test/{n}" for n in range(100)]


async def test_a_retry_and_a_robots_txt_are_settled_but_not_written(tmp_path: Path) -> None:
    frontier = FakeFrontier()
    path = tmp_path / "pages.jsonl"
    async with JsonLines(path) as sink, Committer(frontier, [sink]) as ledger:  # type: ignore[arg-type]
        await ledger.enter(visit(1, Outcome.RETRY))
        await ledger.enter(visit(2, kind=Kind.ROBOTS))
    assert sum(map(len, frontier.groups)) == 2
    assert path.read_bytes() == b""


async def test_bytes_behind_the_mark_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    async with JsonLines(path) as sink:
        mark = await sink.append([visit(1)])
        await sink.append([visit(2)])
    with path.open("ab") as file:
        file.write(b'{"torn')
    async with JsonLines(path) as sink:
        await sink.cut(mark)
        await sink.append([visit(3)])
    assert [line["url"] for line in lines(path)] == ["https://a.test/1", "https://a.test/3"]


async def test_a_file_shorter_than_its_mark_is_refused(tmp_path: Path) -> None:
    async with JsonLines(tmp_path / "pages.jsonl") as sink:
        with pytest.raises(SinkError, match="it was changed"):
            await sink.cut(10)


async def test_a_failed_commit_is_raised_in_everyone_who_waits_and_who_comes_later() -> None:
    frontier = FakeFrontier()
    frontier.fails = True
    async with Committer(frontier, []) as ledger:  # type: ignore[arg-type]
        results = await asyncio.gather(
            *(ledger.enter(visit(number)) for number in range(3)), return_exceptions=True
        )
        assert [str(result) for result in results] == ["frontier: no space left"] * 3
        with pytest.raises(SinkError):
            await ledger.enter(visit(9))


async def test_who_is_cancelled_while_waiting_is_still_entered() -> None:
    frontier = FakeFrontier()
    async with Committer(frontier, []) as ledger:  # type: ignore[arg-type]
        task = asyncio.create_task(ledger.enter(visit(1)))
        await asyncio.sleep(0)
        task.cancel()
    assert [one.link.id for group in frontier.groups for one in group] == [1]


async def test_an_unwritable_output_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="No such file"):
        async with JsonLines(tmp_path / "missing" / "pages.jsonl"):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "https://a.test/../../etc/passwd",
        "https://a.test/%2e%2e/%2e%2e/x",
        "https://a.test/..%2f..%2fx",
        "https://a.test/a\\..\\..\\b",
        "https://a.test/con",
        "https://a.test/nul.txt/aux/",
        "https://a.test/" + "x" * 3000,
        "https://a.test/" + "d/" * 500,
        "https://a.test/\x00",
        "https://a.test/trailing./dots.../",
        "https://[::1]:8080/",
        "https://a.test",
        "https://a.test//",
    ],
)
def test_no_url_leaves_the_folder(url: str, tmp_path: Path) -> None:
    relative = path_for(url, "text/html")
    assert (tmp_path / relative).resolve().is_relative_to(tmp_path)
    assert len(relative) < 2000
    parts = relative.split("/")
    assert all(part and not part.startswith(".") and len(part) < 200 for part in parts)
    assert (
        not {part.partition(".")[0] for part in parts} & {"con", "nul", "aux"} or "." in parts[-1]
    )


def test_urls_that_a_file_system_would_mix_up_keep_files_of_their_own() -> None:
    alike = ["/A", "/a", "/a/", "/a.html", "/a?x", "/a?X", "/ä", "/%C3%A4", "//a"]
    paths = {path_for(f"https://a.test{path}", "text/html").casefold() for path in alike}
    assert len(paths) == len(alike)


async def test_bodies_are_saved_whole_under_their_own_names(tmp_path: Path) -> None:
    link = CrawlUrl("https://a.test/x?y", "a.test", id=1)
    html = CrawlResult(link, Outcome.DONE, None, ParsedPage(mime="text/html", body=b"<p>"))
    image = CrawlResult(
        CrawlUrl("https://a.test/i.png", "a.test", id=2),
        Outcome.DONE,
        None,
        ParsedPage(mime="image/png", body=b"png"),
    )
    async with BodyFiles(tmp_path, every=False) as sink:
        assert await sink.append([html, image]) == 0
        assert await sink.append([html]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"<p>"]
    async with BodyFiles(tmp_path, every=True) as sink:
        await sink.append([image])
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [
        ".html",
        ".png",
    ]
