"""Real documentation behind nginx: served, counted, and gone afterwards."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from helpers.places import ROOT

from benchmarks import latency
from crawler.bench import sites
from crawler.bench.sites import ECHO_MODULE, Nginx, documentation, unavailable_reason
from crawler.errors import ConfigError

PROJECT_ROOT = ROOT
needs_nginx = pytest.mark.skipif(
    unavailable_reason() is not None, reason=unavailable_reason() or ""
)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


@needs_nginx
def test_serves_a_folder_and_counts(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>home")
    (tmp_path / "a b.html").write_text("<p>a")
    with Nginx(tmp_path) as site:
        assert get(site.url) == b"<p>home"
        assert get(site.url + "a%20b.html?x=1") == b"<p>a"
        assert get(site.url + "a%20b.html?x=1") == b"<p>a"
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(site.url + "missing")
        caught.value.close()
        assert caught.value.code == 404
        assert site.requests() == {"/": 1, "/a%20b.html?x=1": 2, "/missing": 1}
        pid, folder = site.pid, site._folder
        assert folder is not None
    assert not Path(folder.name).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_nginx
def test_two_at_once_without_logs(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>home")
    with Nginx(tmp_path, log=False) as one, Nginx(tmp_path, log=False, workers=2) as two:
        assert get(one.url) == get(two.url)
        assert one.url != two.url
        with pytest.raises(RuntimeError, match="no access log"):
            one.requests()


@needs_nginx
@pytest.mark.skipif(not ECHO_MODULE.exists(), reason="nginx has no echo module")
def test_a_far_site_is_used_as_far_as_its_latency_lets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark's own arithmetic: nobody can use more than all of the time."""
    root = tmp_path / "site"
    root.mkdir()
    links = "".join(f"<a href='{number}.html'>{number}</a>" for number in range(40))
    for name in ("index.html", *(f"{number}.html" for number in range(40))):
        (root / name).write_text(links)
    monkeypatch.setattr(latency, "documentation", lambda: {"made": root})
    monkeypatch.setattr(latency, "unavailable_reason", lambda *_: None)
    wide = ["--connections", "2", "8", "--each", "5", "--rounds", "1"]
    assert latency.main(["--docs", "made", "--delay", "0.05", *wide]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.count("|") == 7
    for row, connections in zip(rows, (2, 8), strict=True):
        _, width, requests, used, _, whole, _, _ = (cell.strip() for cell in row.split("|"))
        assert (int(width), int(requests)) == (connections, 5 * connections)
        # The log begins with the first answer's end: one wait less than there are requests.
        assert 0 < float(whole) < float(used) <= 5 / (5 - 1)


@pytest.mark.parametrize("name", sites.DOCUMENTATION)
def test_documentation(name: str) -> None:
    reason = unavailable_reason(name)
    if reason:
        pytest.skip(reason)
    with Nginx(documentation()[name]) as site:
        assert b"<a " in get(site.url) or name == "openjdk"


@needs_nginx
def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"), Nginx(tmp_path / "none"):
        pass


@needs_nginx
def test_a_complaint_of_nginx_is_told(tmp_path: Path) -> None:
    root = tmp_path / 'a"b'
    root.mkdir()
    with pytest.raises(ConfigError, match="nginx: "), Nginx(root):
        pass


def test_the_reason_for_a_skip_has_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = unavailable_reason("nothing")
    assert reason is not None
    assert "not installed" in reason


@needs_nginx
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom crawler.bench.sites import Nginx\n"
        f"with Nginx(Path({str(tmp_path)!r})) as site:\n"
        "    print(site.pid, flush=True)\n    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        watch = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert select.select([watch], [], [], 10)[0], "nginx is still there"
        os.close(watch)
