"""The archive and the mirror before other people's programs: `make test-archive`.

pywb replays what was archived, py-wacz validates the package, replayweb.page opens it in a
browser, Chromium opens the mirror of a real
site from disk, and wget and HTTrack mirror the awkward site beside us. pywb and py-wacz live in a
virtual environment of their own (`REPLAY_BIN`), because their dependencies are many and old.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from helpers.crawling import by_path, crawl, settings
from helpers.mirror_checks import PNG, awkward, check_links, local_links
from helpers.website import Website, packed, page, reply
from PIL import Image, ImageChops, ImageStat
from selectolax.lexbor import LexborHTMLParser

from crawler.bench.sites import Nginx, documentation, unavailable_reason
from crawler.cli.main import _run as crawler_command
from crawler.export.cdxj import cdxj_lines
from crawler.export.warc_reader import WarcReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPLAY = os.environ.get("REPLAY_BIN", "")
needs_replay = pytest.mark.skipif(not REPLAY, reason="REPLAY_BIN is not set: run make test-archive")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")

CSS = b"@import 'more.css'; body { background: url(pic.png) }\n"


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl's folder, and the address of the site, which is gone by now."""
    folder = tmp_path_factory.mktemp("archived") / "crawl"
    site = {
        "/": page("Home", ["/packed", "/same"], head="<link rel=stylesheet href=/s.css>"),
        "/packed": packed(b"<p>packed"),
        "/same": page("Home", ["/packed", "/same"], head="<link rel=stylesheet href=/s.css>"),
        "/s.css": reply(CSS, mime="text/css"),
        "/more.css": reply("", mime="text/css"),
        "/pic.png": reply(PNG, mime="image/png"),
    }

    async def make() -> str:
        async with Website(site) as online:
            await crawl(settings(online.url, warc=True, requisites=True), folder)
            return online.url

    return folder, asyncio.run(make())


@contextlib.contextmanager
def pywb(home: Path) -> Iterator[str]:
    """pywb serving the collections below `home`; its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [f"{REPLAY}/wayback", "--bind", "127.0.0.1", "--port", str(port), "-d", str(home)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, (home / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@needs_replay
def test_pywb_replays_page_sheet_and_image_byte_for_byte(
    archived: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = archived
    collection = tmp_path / "collections" / "test"
    (collection / "indexes").mkdir(parents=True)
    shutil.copytree(folder / "warc", collection / "archive")
    with WarcReader(folder) as archive:
        lines = list(cdxj_lines(archive))
    (collection / "indexes" / "index.cdxj").write_text("".join(f"{line}\n" for line in lines))
    stamp = lines[0].split(" ")[1]
    with WarcReader(folder) as archive:
        expected = {one.url: archive.payload(one).decoded() for one in archive.captures.every()}
    assert expected[f"{url}s.css"] == CSS
    assert expected[f"{url}pic.png"] == PNG
    with pywb(tmp_path) as replay:
        for path in ("", "s.css", "pic.png", "same", "packed"):
            with urllib.request.urlopen(f"{replay}/test/{stamp}id_/{url}{path}") as answer:
                body = answer.read()
                if answer.headers.get("Content-Encoding") == "gzip":
                    import gzip  # noqa: PLC0415

                    body = gzip.decompress(body)
                assert body == expected[url + path], path
        with urllib.request.urlopen(f"{replay}/test/{stamp}/{url}") as answer:
            assert b"Home" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{replay}/test/{stamp}id_/{url}never")
        caught.value.close()
        assert caught.value.code == 404


@needs_replay
def test_py_wacz_validates_the_package(archived: tuple[Path, str]) -> None:
    folder, _ = archived
    assert crawler_command(["export", "wacz", str(folder)]) == 0
    told = subprocess.run(
        [f"{REPLAY}/wacz", "validate", "-f", folder / "crawl.wacz"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout
    assert "the passed WACZ is valid" in told.stdout


VIEWER = Path(os.environ.get("REPLAY_VIEWER", ""))  # npm's package replaywebpage, unpacked


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and parts of files: a viewer reads a package at its offsets."""

    def log_message(self, *_: object) -> None: ...

    def send_head(self) -> Any:
        path, span = Path(self.translate_path(self.path)), self.headers.get("Range", "")
        if not path.is_file() or not span:
            return super().send_head()
        size = path.stat().st_size
        first, _, last = span.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        self.send_response(206)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        return io.BytesIO(path.read_bytes()[start : end + 1])


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on localhost, where browsers allow service workers."""
    handler = functools.partial(_Ranges, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@needs_chromium
@pytest.mark.skipif(not VIEWER.name, reason="REPLAY_VIEWER is not set: run make test-archive")
def test_replayweb_page_opens_the_package_in_a_browser(
    archived: tuple[Path, str], tmp_path: Path
) -> None:
    """The home page, a page that was compressed and one that was stored as a revisit."""
    from playwright import sync_api as playwright_api  # noqa: PLC0415 - an extra

    folder, url = archived
    assert crawler_command(["export", "wacz", str(folder), "-o", str(tmp_path / "it.wacz")]) == 0
    shutil.copy(VIEWER / "ui.js", tmp_path)
    (tmp_path / "replay").mkdir()
    shutil.copy(VIEWER / "sw.js", tmp_path / "replay")
    pages = {"": "Home", "packed": "packed", "same": "Home"}
    for path in pages:
        (tmp_path / f"show-{path}.html").write_text(
            "<!doctype html><script src=/ui.js></script><replay-web-page replayBase=/replay/ "
            f"source=/it.wacz url={url}{path} style='display:block;height:600px'>"
            "</replay-web-page>"
        )
    with served(tmp_path) as home, playwright_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for path, said in pages.items():
            page = browser.new_context().new_page()
            page.goto(f"{home}/show-{path}.html")
            text, deadline = "", time.monotonic() + 60
            while said not in text:
                assert time.monotonic() < deadline, f"{path!r} is not shown, but {text!r}"
                page.wait_for_timeout(100)
                for frame in page.frames:
                    if "/w/" in frame.url:  # what is replayed, in frames of the viewer's own
                        with contextlib.suppress(playwright_api.Error):
                            text = f"{frame.title()} {frame.inner_text('body', timeout=1000)}"
        browser.close()


# ── a real site ──────────────────────────────────────────────────────────────────────────────


class Shot(NamedTuple):
    image: Path
    asked: set[str]  # hosts that the browser asked for, its own errands included


def shoot(url: str, folder: Path, name: str) -> Shot:
    """A screenshot of what Chromium makes of a URL, with a log of what it wanted from the net."""
    image, log = folder / f"{name}.png", folder / f"{name}.json"
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--window-size=1200,3000", f"--user-data-dir={folder / 'profile'}",
        "--disable-background-networking", "--disable-component-update", "--no-first-run",
        f"--log-net-log={log}", f"--screenshot={image}", url,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    asked = {
        urlsplit(found).netloc for found in re.findall(r'"url":"(https?:[^"]+)"', log.read_text())
    }
    return Shot(image, asked)


@pytest.fixture(scope="module")
def python_docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A mirror of Python's documentation, and the address of the original."""
    if reason := unavailable_reason("python"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("docs") / "crawl"
    with Nginx(documentation()["python"], log=False) as site:
        assert crawler_command(["crawl", site.url, "-O", str(folder), "--fast", "-m", "-q"]) == 0
        yield folder, site.url


def test_every_internal_link_of_python_s_documentation_resolves(
    python_docs: tuple[Path, str],
) -> None:
    folder, url = python_docs
    away = {link.partition("#")[0] for link in check_links(folder / "mirror")}
    missing = {
        f"{url}{path[1:]}" for path, line in by_path(folder).items() if line["status"] == 404
    }
    assert {link for link in away if link.startswith(url)} <= missing
    assert len(list((folder / "mirror").rglob("*.html"))) > 500


@needs_chromium
def test_three_deep_pages_look_the_same_from_disk(
    python_docs: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = python_docs
    host = next(path for path in (folder / "mirror").iterdir() if path.is_dir())
    nothing = shoot("about:blank", tmp_path, "nothing").asked
    for number, path in enumerate(
        ("library/asyncio-task.html", "reference/datamodel.html", "c-api/init_config.html")
    ):
        served = shoot(url + path, tmp_path, f"served{number}")
        disk = shoot((host / path).as_uri(), tmp_path, f"disk{number}")
        assert urlsplit(url).netloc in served.asked, "the log does not show what is asked"
        assert disk.asked <= nothing, "a request left the disk"
        with Image.open(served.image) as one, Image.open(disk.image) as two:
            assert one.size == two.size == (1200, 3000)
            assert ImageStat.Stat(one.convert("L")).stddev[0] > 10, "a blank page"
            off = ImageChops.difference(one.convert("RGB"), two.convert("RGB"))
            differing = sum(off.convert("L").point(lambda value: value > 16).histogram()[1:])
            assert differing <= one.size[0] * one.size[1] * 0.0005


@needs_chromium
def test_the_awkward_site_works_from_disk(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"

    async def make() -> None:
        async with Website(awkward(), {"/cdn.png": reply(PNG, mime="image/png")}) as online:
            other = f"{online.origins[1]}/cdn.png"
            await crawl(settings(online.url, other, mirror=True), folder)

    asyncio.run(make())
    assert crawler_command(["export", "mirror", str(folder)]) == 0
    nothing = shoot("about:blank", tmp_path, "nothing").asked
    door = (folder / "mirror" / "index.html").read_text()
    start = folder / "mirror" / re.findall(r'href="([^"]+)"', door)[0]
    shot = shoot(start.as_uri(), tmp_path, "disk")
    assert shot.asked <= nothing


# ── beside the others ────────────────────────────────────────────────────────────────────────


def judged(root: Path, origin: str) -> dict[str, int]:
    """What is wrong with a mirror of the awkward site, counted over its pages and style sheets."""
    faults = {"files": 0, "links": 0, "broken": 0, "absolute": 0, "lost_pages": 0}
    titles = set()
    for path in sorted(root.rglob("*")):
        if not path.is_file() or "hts-" in str(path):
            continue
        faults["files"] += 1
        if path.suffix not in {".html", ".htm", ".css"} and not path.name.startswith("x"):
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        titles |= set(re.findall(r"<title>(At [^<]*)</title>", text))
        for link in local_links(path) if path.suffix == ".css" else _links(text):
            faults["links"] += 1
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                faults["absolute"] += link.startswith(origin) and not link.endswith("/gone")
                continue
            target = unquote(urlsplit(urljoin(path.as_uri(), link)).path)
            faults["broken"] += not Path(target).is_file()
    expected = {path for path, _ in awkward().items() if path.startswith("/")}
    pages = {f"At {path}" for path in expected} & {f"At {path}" for path in PAGES}
    faults["lost_pages"] = len(pages - {_plain(title) for title in titles})
    return faults


PAGES = (
    "/A", "/a", "/a/", "/a.html", "/a.html/b", "/caf%C3%A9", "/x?y=1&z=2", "/x?y=2", "/con",
    "/index.html", "/%2e%2e%2fescape", "/sp%20ace", "/deep/er/page", "/semi;colon",
)  # fmt: skip


def _plain(title: str) -> str:
    return title.replace("&amp;", "&")


def _links(text: str) -> Iterator[str]:
    tree = LexborHTMLParser(text)
    for node in tree.css("[href],[src]"):
        for name in ("href", "src"):
            if value := node.attributes.get(name):
                yield value


def test_beside_wget_and_httrack(tmp_path: Path) -> None:
    """The same site, three mirrors; the counts go into docs/guide/mirror.md."""
    results = {}

    async def run() -> None:
        async with Website(awkward(), {"/cdn.png": reply(PNG, mime="image/png")}) as online:
            origin, other = online.origins
            await crawl(settings(online.url, f"{other}/cdn.png", mirror=True), tmp_path / "ours")
            crawler_command(["export", "mirror", str(tmp_path / "ours")])
            results["crawler"] = judged(tmp_path / "ours" / "mirror", origin)
            commands = {
                "wget": ["wget", "-q", "-p", "-k", "-m", "-E", "-e", "robots=off", "-P",
                         str(tmp_path / "wget"), online.url],
                "httrack": ["httrack", online.url, "-O", str(tmp_path / "httrack"), "-q",
                            "--sockets=4", "-%v0", "--robots=0", "--near"],
            }  # fmt: skip
            for name, command in commands.items():
                if shutil.which(name) is None:
                    continue
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                async with asyncio.timeout(120):
                    await process.wait()
                results[name] = judged(tmp_path / name, origin)

    asyncio.run(run())
    print(json.dumps(results, indent=1))  # noqa: T201 - the table for the guide
    ours = results["crawler"]
    assert (ours["broken"], ours["lost_pages"]) == (0, 0)
    assert ours["absolute"] <= 1  # one link with a <base> and a fragment leads to what is not there
