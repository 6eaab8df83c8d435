"""The demo web on the wire: as its own process, in every manner, and gone when it should be."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from helpers.places import ROOT

from crawler.demo.pages import html
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError

PROJECT_ROOT = ROOT
NOTHING: Mapping[str, str] = {}


def ask(
    web: DemoWeb,
    target: str,
    headers: Mapping[str, str] = NOTHING,
    method: str = "GET",
    host: int = 0,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    line = http.client.HTTPConnection(f"127.0.0.{host + 1}", web.web.port, timeout=10)
    with closing(line):
        line.request(method, target, headers=dict(headers))
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()


def talk(web: DemoWeb, text: bytes, *, end: bool = False) -> bytes:
    """Send bytes, and read until the web closes the connection."""
    with socket.create_connection(("127.0.0.1", web.web.port), timeout=10) as line:
        line.sendall(text)
        if end:
            line.shutdown(socket.SHUT_WR)
        said = b""
        while piece := line.recv(65536):
            said += piece
        return said


def test_pages_come_as_computed() -> None:
    with DemoWeb(pages=30, size=6000) as web:
        for number in (0, 5, 29):
            path = web.web.path(number)
            status, headers, body = ask(web, path)
            assert (status, body) == (200, html(web.web, number))
            assert headers["Content-Type"] == "text/html; charset=utf-8"
            assert headers["Date"].endswith(" GMT")
            status, head, body = ask(web, path, method="HEAD")
            assert (status, body) == (200, b"")
            assert head["Content-Length"] == headers["Content-Length"]
            assert head["ETag"] == headers["ETag"]
        assert ask(web, "/no-such")[0] == 404
        assert str(web.options.web.pages) in repr(web)


def test_what_has_not_changed_is_not_sent_again() -> None:
    with DemoWeb(pages=30) as web:
        _, headers, _ = ask(web, "/")
        fresh = {
            "same tag": {"If-None-Match": headers["ETag"]},
            "weak, among others": {"If-None-Match": f'"x", W/{headers["ETag"]}'},
            "any": {"If-None-Match": "*"},
            "date": {"If-Modified-Since": headers["Last-Modified"]},
        }
        for name, asked in fresh.items():
            status, said, body = ask(web, "/", asked)
            assert (status, said["ETag"], body) == (304, headers["ETag"], b""), name
        stale = {
            "other tag": {"If-None-Match": '"x"', "If-Modified-Since": headers["Last-Modified"]},
            "early": {"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
            "nonsense": {"If-Modified-Since": "yesterday"},
        }
        for name, asked in stale.items():
            assert ask(web, "/", asked)[0] == 200, name


def test_gzip_only_for_those_who_accept_it() -> None:
    with DemoWeb(pages=30, gzip=True) as web:
        _, plain, body = ask(web, "/")
        _, compressed, small = ask(web, "/", {"Accept-Encoding": "deflate, GZip"})
        assert (plain["Content-Encoding"], plain["Vary"]) == (None, "Accept-Encoding")
        assert (compressed["Content-Encoding"], compressed["Vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(small) == body
        assert ask(web, "/", {"Accept-Encoding": "gzip"})[2] == small
        assert ask(web, "/static/0.png", {"Accept-Encoding": "gzip"})[1]["Vary"] is None


@pytest.mark.parametrize("latency", [0, 0.01])
def test_requests_in_a_row_are_answered_in_order(latency: float) -> None:
    with DemoWeb(pages=30, size=0, links=0, latency=latency, jitter=latency) as web:
        paths = [web.web.path(n) for n in range(12)]
        asked = b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
        said = talk(web, asked + b"GET /robots.txt HTTP/1.0\r\n\r\n")
        at = [said.find(html(web.web, n)) for n in range(12)]
        assert at == sorted(at)
        assert min(at) > 0
        assert said.count(b"HTTP/1.1 200 OK") == 13
        assert said.count(b"Connection: close") == 1
        assert talk(web, asked, end=True).count(b"HTTP/1.1 200 OK") == 12


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 17_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"\r\nGET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_requests_that_end_a_connection(bare: DemoWeb, asked: bytes, status: int) -> None:
    said = talk(bare, asked)
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close\r\n" in said


@pytest.fixture(scope="module")
def bare() -> Iterator[DemoWeb]:
    with DemoWeb(pages=5, size=0, links=0) as web:
        yield web


@pytest.mark.parametrize("processes", [1, 2])
def test_busy_pages_refuse_exactly_so_often(processes: int) -> None:
    flags = {"busy": 0.5, "busy_times": 3, "retry_after": 7, "processes": processes}
    with DemoWeb(pages=20, size=0, **flags) as web:
        waits = set()
        for number in range(20):
            path = web.web.path(number)
            said = [ask(web, path) for _ in range(5)]
            refusals = web.web.refusals(number)
            assert [s for s, _, _ in said] == [said[0][0]] * refusals + [200] * (5 - refusals)
            assert said[0][0] in {200, 500, 503}
            waits |= {(s, headers["Retry-After"]) for s, headers, _ in said}
        assert waits == {(200, None), (500, None), (503, "7")}


def test_slow_bodies_come_whole() -> None:
    with DemoWeb(pages=5, slow=1, slow_for=0.1) as web:
        assert ask(web, web.web.path(3))[2] == html(web.web, 3)
        asked = f"GET {web.web.path(3)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert talk(web, asked * 2, end=True).count(html(web.web, 3)) == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_hosts_have_pages_of_their_own(processes: int) -> None:
    with DemoWeb(pages=30, hosts=3, processes=processes, size=0) as web:
        for number in range(30):
            path = web.web.path(number)
            assert ask(web, path, host=number % 3)[2] == html(web.web, number)
            if number >= 3:
                assert ask(web, path, host=(number + 1) % 3)[0] == 404


@pytest.mark.parametrize("processes", [1, 2])
def test_every_request_is_in_the_log(tmp_path: Path, processes: int) -> None:
    with DemoWeb(pages=30, hosts=2, log=tmp_path / "log", processes=processes) as web:
        for _ in range(10):
            ask(web, "/")
        ask(web, "/no?a=1", {"Host": "there"}, method="HEAD", host=1)
        port = web.web.port
    lines = list(web.requests())
    assert len(lines) == 11
    last = max(lines, key=lambda line: line["time"])
    assert last["came"] <= last["time"]
    assert last | {"time": 0, "came": 0, "connection": ""} == {
        "time": 0, "came": 0, "connection": "",
        "host": "there", "path": "/no?a=1", "status": 404, "bytes": 0,
        "left": False,
    }  # fmt: skip
    assert lines[0]["host"] == f"127.0.0.1:{port}"
    assert len({line["connection"] for line in lines}) == 11


def test_the_log_says_when_a_request_came_and_when_its_answer_was_written(tmp_path: Path) -> None:
    """Of an answer that waits, of a body that comes in drops, and of an asker who went away."""
    log = tmp_path / "log"
    with DemoWeb(pages=9, log=log, latency=0.2, slow=1.0, slow_for=0.4) as web:
        ask(web, web.web.path(1))
        ask(web, "/no")
        with socket.create_connection(("127.0.0.1", web.web.port)) as line:
            line.sendall(f"GET {web.web.path(2)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert line.recv(10), "its head is here, its body under way"
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
    slow, missing, gone = sorted(web.requests(), key=lambda one: one["came"])
    assert slow["time"] - slow["came"] > 0.5, "to the last drop"
    assert missing["time"] - missing["came"] > 0.19
    assert slow["time"] <= missing["came"]
    assert (gone["status"], gone["path"], gone["bytes"]) == (499, web.web.path(2), 0)


def test_the_log_says_who_closed_its_side_before_the_answer(tmp_path: Path) -> None:
    """As the kernel does for a client that is killed; what it is owed is sent all the same."""
    with DemoWeb(pages=9, log=tmp_path / "log", latency=0.1) as web:
        with socket.create_connection(("127.0.0.1", web.web.port)) as line:
            line.sendall(f"GET {web.web.path(2)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            line.shutdown(socket.SHUT_WR)
            assert line.recv(10)
        ask(web, web.web.path(1))
    gone, stayed = sorted(web.requests(), key=lambda one: one["came"])
    assert (gone["left"], gone["status"]) == (True, 200)
    assert (stayed["left"], stayed["status"]) == (False, 200)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_port_in_use_is_said_in_one_line(processes: int) -> None:
    with DemoWeb(pages=5, processes=processes) as web:
        command = [sys.executable, "-m", "crawler.demo.demo_server", f"--processes={processes}"]
        run = subprocess.run(
            [*command, f"--port={web.web.port}"],
            cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == f"demo web: port {web.web.port}: Address already in use\n"
        with pytest.raises(ConfigError, match="in use"):
            DemoWeb(port=web.web.port).start()


def test_it_comes_back_on_the_same_port() -> None:
    with DemoWeb(pages=5) as web:
        ask(web, "/")
        port = web.web.port
    with DemoWeb(pages=5, port=port) as web:
        assert web.url == f"http://127.0.0.1:{port}/"
        assert ask(web, "/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_signal_ends_it_with_nothing_to_complain_of(number: int, processes: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "crawler.demo.demo_server", f"--processes={processes}", "--pages=5"],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    port = int(line.rstrip("/\n").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as idle:
        child.send_signal(number)
        _, errors = child.communicate(timeout=10)
        assert (child.returncode, errors) == (0, "")
        assert idle.recv(1) == b""


@pytest.mark.parametrize("processes", [1, 3])
def test_it_dies_with_its_parent(processes: int) -> None:
    code = (
        "import json, sys\nfrom crawler.demo.process import DemoWeb\n"
        f"with DemoWeb(pages=5, processes={processes}) as web:\n"
        "    print(json.dumps([web.pid, web.web.port]), flush=True)\n    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
    )  # fmt: skip
    with parent:
        assert parent.stdout is not None
        pid, port = json.loads(parent.stdout.readline())
        watch = os.pidfd_open(pid)
        parent.kill()
        assert select.select([watch], [], [], 10)[0], "the web is still there"
        os.close(watch)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_process_that_dies_ends_the_web() -> None:
    with DemoWeb(pages=5, processes=2) as web:
        child = int(Path(f"/proc/{web.pid}/task/{web.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        assert web._child is not None
        assert web._child.wait(timeout=10) == 1


def test_help_names_every_flag() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "crawler.demo.demo_server", "--help"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "--retry-after" in run.stdout
