"""The crawlers compared, and the command of each for the same work: all links, no robots.txt.

Everything else is left at its default, but for what would make it wait on purpose.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from crawler.bench.measured_run import PROJECT_ROOT

PLACE: Final = Path(PROJECT_ROOT) / ".peers"
"""Where `make peers` puts environments; a folder for each."""

SCRIPTS: Final = Path(__file__).parent


class PeerTask(msgspec.Struct, frozen=True):
    """What is asked: everything on a site."""

    url: str
    concurrency: int
    folder: Path  # to write to
    urls: Path  # everything on it, for those who follow no links


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """`command` is what does an errand. `needs`: its program, found or not."""

    name: str
    needs: Callable[[], str | None]
    command: Callable[[str, PeerTask], list[str]]
    version: tuple[str, ...]  # arguments that print it
    install: str  # how to install it
    serial: bool = False  # one request at a time, whatever is asked
    fixed: bool = False  # runs for a time, not for a number of pages
    is_limit: bool = False


def environment(name: str) -> Callable[[], str | None]:
    """The Python of an environment that `make peers` has made."""

    def find() -> str | None:
        python = PLACE / name / "bin" / "python"
        return str(python) if python.exists() else None

    return find


def here(*modules: str) -> Callable[[], str | None]:
    """Our own Python, when it has these modules."""
    return lambda: sys.executable if all(map(importlib.util.find_spec, modules)) else None


def program(name: str) -> Callable[[], str | None]:
    """A program on the path."""
    return lambda: shutil.which(name)


def version(peer: Peer, found: str) -> str:
    """The first thing it prints that looks like a version; empty when there is none."""
    done = subprocess.run(  # noqa: S603 - a program that is about to be raced
        [found, *peer.version], capture_output=True, text=True, check=False
    )
    match = re.search(r"\d+(?:\.\d+)+(?:-\d+)?", done.stdout + done.stderr)
    return match[0] if match else ""


def _crawler(*flags: str) -> Callable[[str, PeerTask], list[str]]:
    def command(python: str, errand: PeerTask) -> list[str]:
        return [
            python, "-m", "crawler", "crawl", errand.url, "--fast", *flags, "--silent",
            "-c", str(errand.concurrency), "-O", str(errand.folder / "crawl"),
        ]  # fmt: skip

    return command


def _limit(python: str, errand: PeerTask) -> list[str]:
    job = {
        "variant": "limit", "seed": errand.url, "out": str(errand.folder),
        "concurrency": errand.concurrency, "urls": str(errand.urls),
    }  # fmt: skip
    (errand.folder / "job.json").write_bytes(msgspec.json.encode(job))
    return [python, "-m", "crawler.bench.variant_worker", str(errand.folder / "job.json")]


def _script(name: str, *more: str) -> Callable[[str, PeerTask], list[str]]:
    def command(python: str, errand: PeerTask) -> list[str]:
        out = str(errand.folder / ("storage" if "crawlee" in name else "pages.jsonl"))
        return [python, str(SCRIPTS / name), errand.url, str(errand.concurrency), out, *more]

    return command


def _wget(wget: str, errand: PeerTask) -> list[str]:
    return [wget, "-q", "-r", "-l", "inf", "-e", "robots=off", "-P", str(errand.folder), errand.url]


def _wget2(wget2: str, errand: PeerTask) -> list[str]:
    return [
        wget2, "-q", "-r", "-l", "inf", "--robots=off", f"--max-threads={errand.concurrency}",
        "-P", str(errand.folder), errand.url,
    ]  # fmt: skip


def _httrack(httrack: str, errand: PeerTask) -> list[str]:
    # Its security limits are delays and a ceiling of connections: politeness, so off.
    return [
        httrack, errand.url, "-O", str(errand.folder), "-q", "-s0", "--disable-security-limits",
        f"-c{errand.concurrency}", "-%c0", "-A1000000000", "-#L1000000",
    ]  # fmt: skip


def _wrk(wrk: str, errand: PeerTask) -> list[str]:
    script = errand.folder / "paths.lua"
    paths = (line.split("/", 3)[3] for line in errand.urls.read_text("utf-8").split())
    quoted = ",".join(f'"/{path}"' for path in paths)
    script.write_text(
        f"local paths={{{quoted}}}\nlocal at=0\n"
        "request=function() at=at%#paths+1 return wrk.format('GET',paths[at]) end\n",
        "utf-8",
    )
    return [wrk, "-t1", f"-c{errand.concurrency}", "-d3s", "-s", str(script), errand.url]


PEERS: Final = (
    Peer(name="crawler", needs=lambda: sys.executable, command=_crawler("--no-robots"),
         version=("-m", "crawler", "--version"), install=""),
    Peer(name="crawler, robots on", needs=lambda: sys.executable, command=_crawler("--robots"),
         version=("-m", "crawler", "--version"), install=""),
    Peer(name="Scrapy", needs=environment("scrapy"), command=_script("scrapy_spider.py"),
         version=("-m", "scrapy", "version"), install="make peers"),
    Peer(name="Crawlee Parsel", needs=environment("crawlee"),
         command=_script("crawlee_crawl.py", "parsel"),
         version=("-c", "import crawlee; print(crawlee.__version__)"), install="make peers"),
    Peer(name="Crawlee BeautifulSoup", needs=environment("crawlee"),
         command=_script("crawlee_crawl.py", "soup"),
         version=("-c", "import crawlee; print(crawlee.__version__)"), install="make peers"),
    Peer(name="wget", needs=program("wget"), command=_wget, version=("--version",),
         install="apt install wget", serial=True),
    Peer(name="wget2", needs=program("wget2"), command=_wget2, version=("--version",),
         install="apt install wget2"),
    Peer(name="HTTrack", needs=program("httrack"), command=_httrack, version=("--version",),
         install="apt install httrack"),
    Peer(name="threads, requests + lxml", needs=here("requests", "lxml"),
         command=_script("threads_crawl.py"),
         version=("-c", "import requests; print(requests.__version__)"),
         install="pip install requests lxml"),
    Peer(name="bare: aiohttp + lexbor", needs=here("selectolax", "uvloop"),
         command=_script("bare_crawl.py"),
         version=("-c", "import aiohttp; print(aiohttp.__version__)"),
         install="pip install selectolax uvloop"),
    Peer(name="limit: aiohttp alone", needs=lambda: sys.executable, command=_limit,
         version=("-c", "import aiohttp; print(aiohttp.__version__)"), install="", is_limit=True),
    Peer(name="limit: wrk, in C", needs=program("wrk"), command=_wrk, version=("--version",),
         install="apt install wrk", is_limit=True, fixed=True),
)  # fmt: skip
