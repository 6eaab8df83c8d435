"""Real documentation: every page once, and the pages that an independent tool (wget) finds.

The small version compares with the files on disk that the small site links to; `make test-sites`
crawls what is installed of Debian's documentation packages behind nginx, beside `wget -r`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.bench.sites import DOCUMENTATION, Nginx, documentation, unavailable_reason

PAGES = {
    "postgresql": 1170, "python": 529, "apache": 243, "openjdk": 10197, "sqlite": 758, "git": 218,
}  # fmt: skip
"""Pages of Debian 12's packages that answer 200: a floor, since packages get updates."""

NOT_LINKS = {"/pgsql-docs@lists.postgresql.org", "/robots.txt", "/%5C"}
"""What wget asks for and no page links to: a mail address; SQLite's `href="\\"`, which is `/` to
browsers."""

ASSETS = (".css", ".js", ".png", ".svg", ".gif", ".jpg", ".ico", ".inv", ".txt", ".xml", ".json")


def crawled(url: str, folder: Path) -> dict[str, int]:
    """Path → status of every record of a crawl with everything on but the delays."""
    ran = subprocess.run(
        [sys.executable, "-m", "crawler", "crawl", url, "-O", str(folder), "--fast", "-q"],
        stderr=subprocess.PIPE,
        check=False,
        timeout=240,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    statuses: dict[str, int] = {}
    for line in (folder / "pages.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        path = "/" + record["url"].split("/", 3)[3]
        if record["kind"] == "page":
            assert path not in statuses, f"{path} is written twice"
            statuses[path] = record["status"]
    return statuses


@pytest.mark.skipif(unavailable_reason() is not None, reason=unavailable_reason() or "")
def test_a_small_site_behind_nginx_is_fetched_once_and_whole(tmp_path: Path) -> None:
    root = tmp_path / "site"
    (root / "a b").mkdir(parents=True)
    names = ["index.html", "one.html", "One.html", "a b/ü.html", "a b/index.html"]
    links = "".join(f'<a href="/{name}">x</a> <a href="/{name}#part">x</a>' for name in names)
    for name in names:
        (root / name).write_text(f"<title>{name}</title>{links}")
    with Nginx(root) as site:
        statuses = crawled(site.url, tmp_path / "crawl")
        asked = site.requests()
    del asked["/robots.txt"]
    wanted = {"/", "/index.html", "/one.html", "/One.html", "/a%20b/%C3%BC.html"}
    assert {path for path, status in statuses.items() if status == 200} == {
        *wanted,
        "/a%20b/index.html",
    }
    assert {path: asked[path] for path in statuses} == dict.fromkeys(statuses, 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DOCUMENTATION)
def test_the_same_pages_as_wget(name: str, tmp_path: Path) -> None:
    reason = unavailable_reason(name) or (None if shutil.which("wget") else "wget is not installed")
    if reason:
        pytest.skip(reason)
    with Nginx(documentation()[name]) as site:
        statuses = crawled(site.url, tmp_path / "crawl")
        ours = site.requests()
        subprocess.run(
            [
                "wget",
                "-q",
                "-r",
                "-l",
                "inf",
                "-e",
                "robots=off",
                "-P",
                tmp_path / "wget",
                site.url,
            ],
            check=False,  # 8 when any page is missing
            timeout=400,
        )
        every = site.requests()
    theirs = {path for path in every if every[path] > ours[path] and "--mark--" not in path}
    sys.stderr.write(
        f"\n{name}: {len(statuses)} of ours, {len(theirs)} of wget; "
        f"only ours {sorted(set(statuses) - theirs)[:10]}; "
        f"only wget {sorted(theirs - set(statuses))[:40]}\n"
    )
    assert all(number == 1 for path, number in ours.items() if "--mark--" not in path)
    assert sum(status == 200 for status in statuses.values()) >= PAGES.get(name, 1)
    assert set(statuses) - theirs == set()
    missed = {
        path for path in theirs - set(statuses) if not path.partition("?")[0].endswith(ASSETS)
    }
    assert missed <= NOT_LINKS, missed
