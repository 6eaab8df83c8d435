"""The same answers for curl, for Chromium and for this program, and what each makes of them.

`python tests/http_oracles.py --record` asks all three for every case, writes what they say to
tests/http_answers.json, and the table of it in docs/http.md.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from http_answers import CASES, PAGE, RECORD, WHY, recorded

from crawler.config.model import FetchConfig
from crawler.errors import FetchError, ParseError
from crawler.fetch.fetcher import HttpFetcher
from crawler.parse.decode import decompress
from crawler.parse.reader import _codings, _values
from crawler.policy.urls import host_key
from crawler.records import CrawlUrl, Page

DOCUMENT = Path(__file__).parent.parent / "docs" / "http.md"
BEGIN, END = "<!-- begin: tests/http_oracles.py -->", "<!-- end -->"
AT_ONCE = 8

PROBE = """<!doctype html><script>
async function one(number) {
  let answer, text = "", broken = "";
  const signal = AbortSignal.timeout(4000);
  try { answer = await fetch("/" + number, {cache: "no-store", signal}); }
  catch (error) { return null; }
  try {
    const reader = answer.body && answer.body.getReader(), decoder = new TextDecoder();
    for (let piece; reader && !(piece = await reader.read()).done;)
      text += decoder.decode(piece.value, {stream: true});
  } catch (error) { broken = error.name; }
  const url = new URL(answer.url);
  return [answer.status, answer.redirected ? url.href.slice(url.origin.length) : "", text, broken];
}
(async () => {
  const found = [];
  for (let number = 0; number < NUMBER; number++) found.push(await one(number));
  await fetch("/report", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Verdict(NamedTuple):
    """What somebody made of an answer. `status` 0: nothing."""

    status: int
    location: str = ""
    body: bytes = b""
    whole: bool = True


def told(verdict: Verdict) -> str:
    """A verdict in words; of a redirect only where it leads counts."""
    if not verdict.status:
        return "no answer"
    if verdict.location:
        return f"to {re.sub('%..', lambda match: match[0].upper(), verdict.location)}"
    body = "page" if verdict.body == PAGE else f"{len(verdict.body)} bytes" if verdict.body else ""
    broken = "" if verdict.whole else "broken off"
    return ", ".join(filter(None, (str(verdict.status), body, broken)))


class Server:
    """Answers `/0`, `/1` … with what they stand for, byte for byte, then ends the connection.

    `cuts`: places in an answer after which the next bytes are sent in a packet of their own.
    """

    def __init__(self, answers: Sequence[bytes], cuts: Sequence[int] = ()) -> None:
        self.answers = answers
        self.cuts = cuts
        self.report: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()
        self.home = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 22)
        self.home = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split()[1].decode()
            if target == "/report":
                length = re.search(rb"(?i)content-length: ([0-9]+)", head)
                assert length is not None
                self.report.set_result(json.loads(await reader.readexactly(int(length[1]))))
            if target[1:].isdigit():
                raw = self.answers[int(target[1:])]
            else:
                page = PROBE.replace("NUMBER", str(len(self.answers))) if target == "/" else ""
                raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page.encode()
            places = [0, *(cut for cut in self.cuts if cut < len(raw)), len(raw)]
            for start, stop in pairwise(places):
                writer.write(raw[start:stop])
                await writer.drain()
                if stop < len(raw):
                    await asyncio.sleep(0.002)  # most of the time another packet; never relied on
            writer.write_eof()
            await asyncio.wait_for(reader.read(1), 2)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _path(url: str, home: str) -> str:
    return url.removeprefix(home)


async def by_curl(server: Server, number: int) -> Verdict:
    """What `curl --compressed` makes of an answer."""
    with TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-sS", "--compressed", "--max-time", "30", "--noproxy", "*", "-o", str(body)),
            *("-w", "%{http_code} %{redirect_url}", f"{server.home}/{number}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        said, _ = await curl.communicate()
        status, _, to = said.decode("utf-8", "replace").partition(" ")
        content = body.read_bytes() if body.exists() else b""
    if status == "000" or (curl.returncode in {8, 43, 61} and not content):
        return Verdict(0)
    return Verdict(int(status), _path(to, server.home), content, curl.returncode == 0)


async def by_chromium(server: Server) -> list[Verdict]:
    """What `fetch` makes of all answers, in one page."""
    with TemporaryDirectory() as folder:
        browser = await asyncio.create_subprocess_exec(
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--no-proxy-server", f"--user-data-dir={folder}"),
            f"{server.home}/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            found = await asyncio.wait_for(asyncio.shield(server.report), 300)
        finally:
            browser.terminate()
            await browser.wait()
    return [_of_chromium(one) for one in found]


def _of_chromium(one: object) -> Verdict:
    if not isinstance(one, list):
        return Verdict(0)
    status, location, text, broken = one
    return Verdict(status, location, text.encode(), not broken)


async def by_us(fetcher: HttpFetcher, server: Server, number: int) -> Verdict:
    """What this program makes of it; what breaks off, after its last try."""
    url = f"{server.home}/{number}"
    whole = True
    try:
        page: Page | None = await fetcher.fetch(CrawlUrl(url, host_key(url)))
    except FetchError as error:
        page, whole = error.take_page(), False
    if page is None:
        return Verdict(0)
    assert isinstance(page.body, bytes)
    try:
        body, _ = decompress(page.body, _codings(_values(page.headers)), limit=10**7, ratio=1000)
    except ParseError:
        body = b""
    return Verdict(page.status, _path(page.location or "", server.home), body, whole)


@asynccontextmanager
async def fetching(folder: Path, *, cookies: bool = False) -> AsyncIterator[HttpFetcher]:
    rules = FetchConfig(timeout=20, idle_timeout=5, cookies=cookies)
    async with HttpFetcher(rules, slots=AT_ONCE, user_agent="test", spool=folder) as fetcher:
        yield fetcher


async def all_by_us(folder: Path, server: Server, *, cookies: bool = False) -> list[Verdict]:
    """What this program makes of every answer, several at a time."""
    async with fetching(folder, cookies=cookies) as fetcher:
        numbers = range(len(server.answers))
        return list(await asyncio.gather(*(by_us(fetcher, server, one) for one in numbers)))


async def all_by_curl(server: Server) -> list[Verdict]:
    busy = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Verdict:
        async with busy:
            return await by_curl(server, number)

    return list(await asyncio.gather(*map(one, range(len(server.answers)))))


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The rows in which not all say the same."""
    lines = ["| answer | curl | Chromium | here | |", "|---|---|---|---|---|"]
    same = 0
    for name, by in found.items():
        if len(set(by.values())) == 1:
            same += 1
            continue
        why = WHY.get(name) or next(
            f"as {who}" for who in ("Chromium", "curl") if by[who] == by["here"]
        )
        lines.append(f"| {name} | {by['curl']} | {by['Chromium']} | {by['here']} | {why} |")
    return f"{same} of {len(found)} answers are read alike. The others:\n\n" + "\n".join(lines)


async def record() -> None:
    """Ask all three for every case."""
    found: dict[str, dict[str, str]] = {}
    async with Server(list(CASES.values())).open() as server:
        with TemporaryDirectory() as folder:
            ours = await all_by_us(Path(folder), server)
        curl = await all_by_curl(server)
        chromium = await by_chromium(server)
    for name, *verdicts in zip(CASES, curl, chromium, ours, strict=True):
        found[name] = dict(zip(("curl", "Chromium", "here"), map(told, verdicts), strict=True))
    RECORD.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write() -> None:
    """Bring the document's table up to date."""
    before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table(recorded())}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    if "--record" in sys.argv:
        if missing := [name for name in ("curl", "chromium") if not shutil.which(name)]:
            sys.exit(f"not on PATH: {', '.join(missing)}")
        asyncio.run(record())
    write()
