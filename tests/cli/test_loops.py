"""Several loops on one machine, as a person starts them: one queue, one pages.jsonl, any death."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.manners import Exchange, Owed, complaints
from helpers.processes import tree
from helpers.redis_server import a_server, servers

from crawler.cli.loops import AGAIN
from crawler.cli.loops_folder import own_settings
from crawler.config.loader import with_settings
from crawler.config.model import Config, FrontierConfig
from crawler.demo.connection import CLIENT_GONE
from crawler.demo.process import DemoWeb
from crawler.export.warc_reader import WarcReader
from crawler.frontier.redis.local_server import LocalServer, program
from crawler.utils.parent_death import tethered

PAGES = 300
DELAY = 0.2
SETTINGS = (
    "--scope", "any", "--delay", "0.04", "--per-host", "1", "--contact", "test@example.com",
    "-s", "fetch.allow_networks=127.0.0.0/8", "--processes", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def web() -> Iterator[DemoWeb]:
    with DemoWeb(pages=PAGES, hosts=20, broken=0.0) as web:
        yield web


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that tests use, where a crawl looks for one."""
    found = servers()
    if not found:
        pytest.skip("no Redis or Valkey on this machine")
    places = {str(Path(one).parent) for one in found.values()}
    monkeypatch.setenv("PATH", os.pathsep.join([*places, os.environ["PATH"]]))


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test that fails half-way leaves no crawl behind."""
    yield
    for child in STARTED:
        with child:
            child.kill()
    STARTED.clear()


def start(*words: str) -> subprocess.Popen[str]:
    """As a terminal does: in a process group of its own, that Ctrl-C goes to."""
    child = subprocess.Popen(
        [sys.executable, "-m", "crawler", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, process_group=0,
    )  # fmt: skip
    STARTED.append(child)
    return child


def crawler(*words: str) -> tuple[int, str, str]:
    child = start(*words)
    said, errors = child.communicate(timeout=60)
    return child.returncode, said, errors


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pages.jsonl").read_text().splitlines()]


def shared(folder: Path, name: str) -> int:
    """Records of one loop by now."""
    share = folder / "loops" / name / "pages.jsonl"
    return share.read_bytes().count(b"\n") if share.exists() else 0


def written(folder: Path) -> int:
    """Records of all shares by now."""
    return sum(one.read_bytes().count(b"\n") for one in folder.glob("loops/*/pages.jsonl"))


def wait_for(true: Callable[[], object], child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def whole(folder: Path, web: DemoWeb) -> None:
    """Each page of the web once, and nothing twice."""
    lines = records(folder)
    assert len({one["url"] for one in lines}) == len(lines)
    done = {one["url"] for one in lines if one["kind"] == "page" and one["outcome"] == "done"}
    assert done == {web.web.url(number) for number in range(PAGES)}


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def loops_of(child: subprocess.Popen[str]) -> list[int]:
    """The loops' own processes, in the order of their start."""
    found = []
    for pid in tree(child.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"crawler.cli.loop_process" in words:
            found.append(pid)
    return found


def share_of(pid: int, out: Path) -> str:
    """The name of the share that a loop writes."""
    shares = (out / "loops").resolve()
    opened = [one.readlink() for one in Path(f"/proc/{pid}/fd").iterdir()]
    (name,) = {one.parent.name for one in opened if one.name == "pages.jsonl"}
    assert (shares / name).is_dir()
    return name


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(120)
def test_two_loops_write_one_crawl(web: DemoWeb, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin = ("crawl", web.url, *SETTINGS, "--loops", "2", "--warc", "--text", "-O", str(out))
    code, said, errors = crawler(*begin, "--json")
    assert code == 0, errors
    whole(out, web)
    with WarcReader(out) as archive:
        captured = {one.url for one in archive.captures.every()}
    assert captured >= {one["url"] for one in records(out) if one["outcome"] == "done"}
    assert len(list((out / "text").rglob("*.md"))) == PAGES
    told = json.loads(said)
    assert (told["finish_reason"], told["loops"], told["loops_died"]) == ("finished", 2, 0)
    assert told["pages"] == PAGES
    assert told["records"] == len(records(out))
    assert sum(len(records(out / "loops" / name)) for name in "12") == told["records"]
    config = (out / "crawl.toml").read_text()
    assert "unix:" not in config, "the crawl's settings are those that were said"
    again = crawler(*begin)
    assert again[0] == 3
    assert "already holds a crawl" in again[2]
    assert "holds a crawl of several loops" in crawler("status", str(out))[2]


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(150)
def test_interrupted_and_killed_it_ends_with_the_same_records(web: DemoWeb, tmp_path: Path) -> None:
    """Ctrl-C; kill -9 of everything; of the first process alone, which the rest follows. A lease
    is a minute, and nobody waits for one: who comes back knows that no loop is left.
    """
    out = tmp_path / "out"
    slow = ("--delay", "0.5")  # seconds for whichever loop comes late: both do some of it
    child = start("crawl", web.url, *SETTINGS, *slow, "--loops", "2", "-O", str(out))
    wait_for(lambda: all(shared(out, name) for name in "12"), child)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 11, errors
    assert f"crawler resume {out}" in errors
    assert "died" not in errors
    got = records(out)
    assert len({one["url"] for one in got}) == len(got) < PAGES
    assert {one["outcome"] for one in got} == {"done"}, "they were finished, not dropped"

    quick = ("--delay", "0.04")
    child = start("resume", str(out), "--loops", "3", *quick)
    wait_for(lambda: written(out) > len(got) + 40, child)
    assert len(loops_of(child)) == 3
    for pid in tree(child.pid):
        os.kill(pid, signal.SIGKILL)
    child.communicate()
    before = written(out)
    assert before < PAGES

    child = start("resume", str(out), *quick)
    wait_for(lambda: written(out) > before + 40, child)
    family = tree(child.pid)
    child.kill()
    child.communicate()  # ends when nobody has its stderr any more
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in family):
        assert time.monotonic() < deadline, "something was left behind"
        time.sleep(0.02)
    assert len(records(out)) == len(got), "it was not merged since"

    code, _, errors = crawler("resume", str(out), *quick)
    assert code == 0, errors
    assert "loops  3" in errors, "as many as last time"
    whole(out, web)


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(150)
def test_a_loop_and_the_server_die_and_the_crawl_goes_on(web: DemoWeb, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lease = ("-s", "frontier.lease=3600")  # nobody waits for one: its links come back at once
    slow = ("--delay", "0.3")  # or it is at its end before the loop is back, on a busy machine
    child = start("crawl", web.url, *SETTINGS, *slow, *lease, "--loops", "2", "-O", str(out))
    wait_for(lambda: all(shared(out, name) > 10 for name in "12"), child)
    first, second = loops_of(child)
    os.kill(first, signal.SIGKILL)
    before = written(out)
    wait_for(lambda: written(out) > before + 20, child)
    wait_for(lambda: len(loops_of(child)) == 2, child)
    assert second in loops_of(child)
    (server,) = [pid for pid in tree(child.pid) if "-server" in name_of(pid)]
    os.kill(server, signal.SIGKILL)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert re.search(
        r"loop \d died \(SIGKILL\); \d+ links? of its own queued again; it is started again", errors
    )
    assert "it is started again" in errors
    whole(out, web)


def exchange(line: dict[str, Any], kills: Sequence[float]) -> Exchange:
    """One line of the web's log. A request that a dead loop left behind ended with that loop: the
    web would have answered later, and may have read it later still, but nobody was there.
    """
    if line["status"] != CLIENT_GONE and not line["left"]:
        return Exchange(line["host"], line["came"], line["time"])
    died = max(kill for kill in kills if kill <= line["time"])
    return Exchange(line["host"], min(line["came"], died), died)


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(150)
def test_a_loop_that_dies_again_and_again_is_left_out(tmp_path: Path) -> None:
    """… and the other does its work: what it held comes back each time, and no host is hurried."""
    out, log = tmp_path / "out", tmp_path / "web.log"
    slow = ("--delay", str(DELAY), "-s", "frontier.lease=3600")
    with DemoWeb(pages=PAGES, hosts=20, broken=0.0, latency=0.1, log=log) as web:
        child = start("crawl", web.url, *SETTINGS, *slow, "--loops", "2", "-O", str(out))
        wait_for(lambda: all(shared(out, name) for name in "12"), child)
        first, other = loops_of(child)
        name = share_of(first, out)
        kills: list[float] = []
        os.kill(other, signal.SIGSTOP)  # or it is done with all before the first is back, once
        for left in range(AGAIN, -1, -1):
            done = shared(out, name)
            kills.append(time.time())
            os.kill(first, signal.SIGKILL)
            if left:
                old = {first, other}
                wait_for(lambda old=old: {*loops_of(child)} - old, child)  # type: ignore[misc]
                (first,) = {*loops_of(child)} - old
                # Its own first answer: by then the web knows of all connections that are gone.
                wait_for(lambda done=done: shared(out, name) > done, child)  # type: ignore[misc]
        os.kill(other, signal.SIGCONT)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        whole(out, web)
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    exchanges = [exchange(one, kills) for one in asked]
    owed = {one.host: Owed(1, DELAY - 0.001) for one in exchanges}  # Redis' clock: milliseconds
    assert not list(complaints(exchanges, owed)), "what the dead had asked is paused for, too"
    died = [line for line in errors.splitlines() if "died (SIGKILL)" in line]
    assert len(died) == AGAIN + 1
    assert all("it is started again" in line for line in died[:-1])
    assert died[-1].endswith("it is left out; the other 1 go on")


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(120)
def test_what_is_at_work_is_left_alone_and_a_limit_is_the_crawls(
    web: DemoWeb, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begin = ("crawl", web.url, *SETTINGS, "--loops", "2", "-H", "X-Key: s3cret", "-O", str(out))
    child = start(*begin, "--max-pages", "100")
    wait_for(lambda: written(out) > 10, child)
    child.send_signal(signal.SIGSTOP)  # its lock is held, whatever comes of it
    try:
        code, _, errors = crawler(*begin, "--fresh")
    finally:
        child.send_signal(signal.SIGCONT)
    assert code == 3
    assert "is in use by another run" in errors
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    pages = [one for one in records(out) if one["kind"] == "page"]
    assert len({one["url"] for one in pages}) == len(pages) == 100
    files = [one for one in out.rglob("*") if one.is_file()]
    assert not [one for one in files if b"s3cret" in one.read_bytes()]
    assert crawler(*begin, "--fresh", "--max-pages", "5", "-q")[0] == 0
    assert sum(one["kind"] == "page" for one in records(out)) == 5


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def test_without_a_server_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ("crawl", "http://127.0.0.1:9/", "--loops", "2", "-O", str(tmp_path / "out"))
    code, _, errors = crawler(*words)
    assert code == 2
    (line,) = errors.splitlines()
    assert "valkey-server" in line
    assert "redis-server" in line
    assert "apt install redis-server" in line
    assert not (tmp_path / "out").exists(), "--fresh would have removed a crawl for nothing"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--report-skipped",), "--report-skipped needs a crawl of one loop"),
        (("--mirror",), "--mirror needs a crawl of one loop"),
        (("--host-group", "ip"), "pace.group = 'ip' needs"),
        (("--plugin", "nowhere:nothing"), "nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    out = tmp_path / "out"
    code, _, errors = crawler(
        "crawl", "http://127.0.0.1:9/", "--loops", "2", *words, "-O", str(out)
    )
    assert code == 2
    assert why in errors
    assert len(errors.splitlines()) == 1
    assert not out.exists()


def test_a_crawl_of_one_loop_stays_one(tmp_path: Path) -> None:
    (tmp_path / "frontier.db").write_bytes(b"")
    code, _, errors = crawler("resume", str(tmp_path), "--loops", "2")
    assert code == 2
    assert "one loop" in errors


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", ['a "b\\ c?#%', "x" * 120])
def test_the_server_lies_in_any_folder(tmp_path: Path, name: str) -> None:
    import redis  # noqa: PLC0415 - an extra

    with LocalServer(tmp_path / name) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.set("a", "1")
        os.kill(server.pid, signal.SIGKILL)
        while not server.ended():
            time.sleep(0.01)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("a") == b"1"
            assert int(client.info()["aof_enabled"]) == 1


@pytest.mark.usefixtures("path")
@pytest.mark.skipif(sys.platform != "linux", reason="the guard is Linux's")
def test_a_tethered_program_ends_with_its_parent(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    words = tethered([program(), "--port", "0", "--unixsocket", str(tmp_path / "s")])
    words[words.index(str(os.getpid()))] = "PARENT"
    code = (
        "import os, subprocess, pathlib, time\n"
        f"words = [str(os.getpid()) if w == 'PARENT' else w for w in {words!r}]\n"
        "child = subprocess.Popen(words, stdout=subprocess.DEVNULL)\n"
        f"while not os.path.exists({str(tmp_path / 's')!r}): time.sleep(0.01)\n"
        f"pathlib.Path({str(told)!r}).write_text(str(child.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path, timeout=20)
    pid = int(told.read_text())
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.timeout(150)
def test_several_workers_of_one_command(web: DemoWeb, tmp_path: Path) -> None:
    """`crawler worker --count 2`: a folder each; Ctrl-C is one signal to each of them. The crawl is
    begun by loops on the same server, which they use and leave alone.
    """
    with a_server() as server:
        where = ("--frontier", server.url, "--job", "count")
        begin = ("crawl", web.url, *SETTINGS, *where, "--max-pages", "5", "-q")
        first = tmp_path / "first"
        assert crawler(*begin, "--loops", "2", "-O", str(first))[0] == 0
        assert sum(one["kind"] == "page" for one in records(first)) == 5
        assert sorted(one.name for one in (first / "loops").iterdir()) == ["1", "2", "lock"]
        other = tmp_path / "other"
        assert "already has a job" in crawler(*begin, "--loops", "2", "-O", str(other))[2]
        assert "no crawl to resume" in crawler("resume", str(other))[2], "nobody joins by mistake"
        work = ("worker", *where, "--count", "2", "-O", str(tmp_path / "w"))
        more = ("-s", "limits.max_pages=100000")
        child = start(*work, *more)

        def so_far() -> int:
            files = (tmp_path / "w").glob("worker-*/pages.jsonl")
            return sum(one.read_bytes().count(b"\n") for one in files)

        wait_for(lambda: so_far() > 40, child)
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 11, errors
        assert "stopping at once" not in errors, "they were signalled twice"
        code, _, errors = crawler(*work, *more)
        assert code == 0, errors
        folders = [str(one) for one in sorted((tmp_path / "w").iterdir())]
        assert len(folders) == 2
        out = tmp_path / "out"
        said = crawler("merge", str(out), str(tmp_path / "first"), str(tmp_path / "w"))
    assert said[0] == 0, said
    whole(out, web)


def test_what_is_said_of_the_whole_crawl_is_divided() -> None:
    config = with_settings(None, size_limit=1000, limit_rate=100, upload="s3://b/c/", processes=3)
    where = FrontierConfig(url="unix:///s")
    own = own_settings(config, where, Path("out/loops/2"), 4)
    assert (own.limits.size_limit, own.pace.limit_rate) == (250, 25)
    assert (own.output.dir, own.output.upload) == ("out/loops/2", "s3://b/c/2")
    assert own.frontier is where
    assert own.parse.processes == 3, "what is said of a loop is not"
    assert own_settings(Config(), where, Path("1"), 1000).parse.processes == 1
