"""RFC 9309 on the wire: the same site, crawled by this crawler and by others, judged by its log.

    make conformance        runs all of them and rewrites the tables of docs/conformance.md

Each case is a host of its own (127.0.0.1, 127.0.0.2 …) with a robots.txt; a crawler is given the
case's addresses and left alone. What it asked for is in the server's log: whether it obeyed is not
a matter of opinion. Peers are found in the virtualenvs of `make peers` (scrapy, crawlee) and on
PATH (wget); one that is not there has no column.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers.robots_cases import CASES, FORBID_X, Case, case
from helpers.website import Answer, Website, hangup, page, redirect, reply

from crawler.policy.robots_matcher import spell

DOC: Final = Path(__file__).parent.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- begin: tests/conformance.py -->", "<!-- end -->"
PATIENCE: Final = 300.0
TIMES: Final = 4

SCRAPY: Final = """
import sys, scrapy
from scrapy.crawler import CrawlerProcess
class Spider(scrapy.Spider):
    name = "conformance"
    custom_settings = {"ROBOTSTXT_OBEY": True, "USER_AGENT": "crawler/1.0", "LOG_LEVEL": "ERROR",
                       "RETRY_ENABLED": False, "HTTPERROR_ALLOW_ALL": True,
                       "REDIRECT_ENABLED": True, "DOWNLOAD_TIMEOUT": 20}
    async def start(self):
        for url in open(sys.argv[1]).read().split():
            yield scrapy.Request(url, dont_filter=True)
    def parse(self, response):
        pass
process = CrawlerProcess()
process.crawl(Spider)
process.start()
"""

CRAWLEE: Final = """
import asyncio, sys
from datetime import timedelta
from crawlee import ConcurrencySettings
from crawlee.crawlers import HttpCrawler
async def main():
    crawler = HttpCrawler(respect_robots_txt_file=True, max_request_retries=0,
                          ignore_http_error_status_codes=range(400, 600),
                          concurrency_settings=ConcurrencySettings(desired_concurrency=4,
                                                                   max_concurrency=4),
                          request_handler_timeout=timedelta(seconds=20))
    @crawler.router.default_handler
    async def handle(context):
        pass
    await crawler.run(open(sys.argv[1]).read().split())
asyncio.run(main())
"""

WIRE: Final = (
    case("2.3.1.2", "a redirect is followed", FORBID_X, allowed=("/y",), forbidden=("/x",)),
    case("2.3.1.2", "five redirects in a row are followed", FORBID_X,
         allowed=("/y",), forbidden=("/x",)),
    case("2.3.1.2", "a redirect to another host is followed", FORBID_X,
         allowed=("/y",), forbidden=("/x",)),
    case("2.3.1.3", "404: no rules, whatever the page says", FORBID_X, allowed=("/x", "/y")),
    case("2.3.1.3", "403: no rules", FORBID_X, allowed=("/x", "/y")),
    case("2.3.1.4", "500: all is forbidden", "", forbidden=("/x", "/y")),
    case("2.3.1.4", "503: all is forbidden", "", forbidden=("/x", "/y")),
    case("2.3.1.4", "a broken connection: all is forbidden", "", forbidden=("/x", "/y")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Peer:
    """A crawler under test: its product token and its command, in which `{…}` are filled in."""

    name: str
    token: str
    command: tuple[str, ...]


def peers(folder: Path | None) -> list[Peer]:
    """Those that are there. wget judges only the links that it finds, so it gets start pages."""
    found = [
        Peer("crawler", "crawler", (
            sys.executable, "-m", "crawler", "crawl", "-i", "{urls}", "-O", "{out}", "--fast",
            "--no-sitemap", "--depth", "0", "-q", "-s", "robots.patience=1", "-t", "1",
        )),
    ]  # fmt: skip
    if folder is not None:
        for name, script in (("Scrapy", SCRAPY), ("Crawlee", CRAWLEE)):
            python = folder.absolute() / name.lower() / "bin" / "python"
            if python.exists():
                found.append(Peer(name, "crawler", (str(python), "-c", script, "{urls}")))
    if wget := shutil.which("wget"):
        found.append(Peer("wget", "wget", (
            wget, "-q", "-r", "-l", "1", "-i", "{starts}", "-P", "{out}", "--delete-after",
            "--tries=1", "--timeout=20", "--no-config",
        )))  # fmt: skip
    return found


def answers(one: Case, token: str) -> dict[str, Answer]:
    """A case as a website; the start page leads to everything that is asked about."""
    file = reply(one.file(token), mime="text/plain")
    site: dict[str, Answer] = {
        "/robots.txt": file,
        "/start.html": page("Start", [*one.allowed, *one.forbidden]),
    }
    rule = one.rule
    if one.section == "2.3.1.2":
        site["/robots.txt"] = redirect("/r1" if "another host" not in rule else "{0}/other.txt")
        last = 5 if "five" in rule else 1
        site |= {f"/r{n}": redirect(f"/r{n + 1}") for n in range(1, last)}
        site[f"/r{last}"] = file
    elif rule[:3].isdigit():
        site["/robots.txt"] = reply(one.file(token), int(rule[:3]), "text/plain")
    elif "connection" in rule:
        site["/robots.txt"] = hangup()
    return site


async def judge(peer: Peer, cases: tuple[Case, ...]) -> list[list[str]]:
    """For each case what the peer did wrong; `-` before an address that it should have asked for,
    `+` before one that it should not have.
    """
    sites: list[Mapping[str, Answer]] = [answers(one, peer.token) for one in cases]
    sites[0] = {**sites[0], "/other.txt": reply(FORBID_X, mime="text/plain")}
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        async with Website(*sites) as site:
            urls = [
                site.at(path, number)
                for number, one in enumerate(cases)
                for path in (*one.allowed, *one.forbidden)
            ]
            (folder / "urls").write_text("\n".join(urls))
            starts = (site.at("/start.html", number) for number in range(len(cases)))
            (folder / "starts").write_text("\n".join(starts))
            fill = {"urls": str(folder / "urls"), "starts": str(folder / "starts"),
                    "out": str(folder / "out")}  # fmt: skip
            command = [
                fill.get(part[1:-1], part) if part[:1] == "{" else part for part in peer.command
            ]
            child = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(DOC.parent.parent)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(PATIENCE):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()
            asked = {(int(one.address.rpartition(".")[2]) - 1, spell(one.path)) for one in site.log}
    return [
        [f"-{path}" for path in one.allowed if not _was_asked(asked, number, path)]
        + [f"+{path}" for path in one.forbidden if _was_asked(asked, number, path)]
        for number, one in enumerate(cases)
    ]


def _was_asked(asked: set[tuple[int, str]], host: int, path: str) -> bool:
    return (host, spell(path)) in asked  # in any spelling: some crawlers change it


def table(cases: tuple[Case, ...], columns: Mapping[str, list[list[str]]]) -> str:
    """The cases as Markdown, one row each, and a row of sums."""
    lines = [
        "| RFC 9309 | rule | " + " | ".join(columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for number, one in enumerate(cases):
        cells = (_cell(column[number]) for column in columns.values())
        lines.append(f"| §{one.section} | {_plain(one.rule)} | " + " | ".join(cells) + " |")
    sums = (f"{sum(not wrong for wrong in column)} of {len(cases)}" for column in columns.values())
    lines.append("| | **obeyed** | " + " | ".join(sums) + " |")
    return "\n".join(lines)


def _cell(wrong: list[str]) -> str:
    said = {"+": "asked for", "-": "left out"}
    shown = [f"{said[one[0]]} `{_plain(one[1:])}`" for one in wrong[:2]]
    return "✓" if not wrong else "✗ " + ", ".join([*shown, *(["…"] if len(wrong) > 2 else [])])


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def wire_cases() -> tuple[Case, ...]:
    """All cases that can be seen in a log: a robots.txt itself is asked for in any case."""
    return tuple(
        Case(one.section, one.rule, one.body,
             tuple(path for path in one.allowed if path != "/robots.txt"), one.forbidden)
        for one in (*CASES, *WIRE)
    )  # fmt: skip


async def main() -> None:
    """Run every peer in turn and print the table, or write it into the document."""
    parser = argparse.ArgumentParser(description="RFC 9309 on the wire, for several crawlers.")
    parser.add_argument("--peers", type=Path, help="a folder of virtualenvs: scrapy, crawlee")
    parser.add_argument("--write", action="store_true", help="into docs/conformance.md")
    given = parser.parse_args()
    cases = wire_cases()
    columns = {}
    for peer in peers(given.peers):
        # Only what was wrong every time counts: a busy machine is nobody's fault, and a peer may
        # be right by luck (Scrapy asks in another order each time: 50 to 57 cases in two runs).
        runs = [await judge(peer, cases) for _ in range(TIMES)]
        columns[peer.name] = [
            [wrong for wrong in tries[0] if all(wrong in other for other in tries)]
            for tries in zip(*runs, strict=True)
        ]
        wrong = sum(map(bool, columns[peer.name]))
        print(f"{peer.name}: {len(cases) - wrong} of {len(cases)}", file=sys.stderr)  # noqa: T201
    text = table(cases, columns)
    if given.write:
        before, _, rest = DOC.read_text("utf-8").partition(BEGIN)
        DOC.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")
    else:
        print(text)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
