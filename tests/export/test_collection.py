"""One archive out of several: every capture is where the index says, in files that are whole."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.crawling import crawl, settings
from helpers.warc_checks import check, exchanges, indexed_by_others
from helpers.website import page

from crawler.errors import ConfigError, FolderLocked
from crawler.export.atomic_output import atomic_output
from crawler.export.cdxj import cdxj_lines
from crawler.export.merge_crawls import merge
from crawler.export.warc_reader import WarcReader

SITE = {
    "/": page("Home", ["/a", "/b", "/same"]),
    "/a": page("A"),
    "/b": page("B", text="b" * 5000),
    "/same": page("A"),
}


@pytest.fixture
async def shares(tmp_path: Path, website: OpenSite) -> list[Path]:
    """Two folders, as of two workers of whom one was killed as it wrote. Their files have one name:
    both began in the same second.
    """
    online = await website(SITE)
    folders = []
    for name, small in (("w1", 700), ("w2", 100_000)):
        folder = tmp_path / "shares" / name
        await crawl(
            settings(online.url, warc=True, text=True, max_file=small, **{"scope.trap": "off"}),
            folder,
        )
        folders.append(folder)
    last = max((folders[1] / "warc").glob("*.warc.gz"))
    with last.open("ab") as file:
        file.write(b"half of a reco")
    return folders


async def test_all_captures_are_there_and_can_be_read(shares: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    merged = merge(out, [str(tmp_path / "shares")])
    check(out)  # not a byte of what was torn
    own = sum(len(list((one / "warc").glob("*.warc.gz"))) for one in shares)
    assert merged.archive.files == len(list((out / "warc").glob("*.warc.gz"))) == own > 3
    before = {}
    for share in shares:
        with WarcReader(share) as archive:
            for one in archive.captures.every():
                before[one.url, one.at] = archive.payload(one).decoded()
    with WarcReader(out) as archive:
        after = {(c.url, c.at): archive.payload(c).decoded() for c in archive.captures.every()}
        assert merged.archive.captures == len(after)
        lines = list(cdxj_lines(archive))
    assert after == before
    assert "".join(f"{line.split(' {')[0]}\n" for line in lines) == "".join(
        f"{line.split(' {')[0]}\n" for line in indexed_by_others(out).splitlines()
    )
    kinds = {kind for kind, *_ in exchanges(out)}
    assert {"warcinfo", "response", "revisit"} <= kinds
    assert len(list((out / "text").rglob("*.md"))) == 4


async def test_who_goes_on_in_a_share_does_not_disturb_it(
    shares: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merge(out, [str(one) for one in shares])
    for share in shares:
        last = max((share / "warc").glob("*.warc.gz"))
        last.write_bytes(b"cut and written anew")
    check(out)
    first = (out / "warc" / "index.db").read_bytes()
    with pytest.raises(ConfigError, match=r"already holds a pages\.jsonl"):
        merge(out, [str(one) for one in shares])
    (out / "pages.jsonl").unlink()
    with pytest.raises(ConfigError, match="already holds a warc"):
        merge(out, [str(one) for one in shares])
    assert (out / "warc" / "index.db").read_bytes() == first


async def test_a_merge_again_replaces_it(shares: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = merge(out, [str(shares[0])])
    both = merge(out, [str(one) for one in shares], replace=True)
    assert both.archive.captures > first.archive.captures
    check(out)
    shutil.rmtree(shares[0] / "warc")
    assert merge(out, [str(shares[1])], replace=True).archive.files == 1
    check(out)
    assert [one.name for one in out.iterdir() if one.name.startswith(".")] == []


KILLED = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
from crawler.errors import ConfigError, FolderLocked
from crawler.export.merge_crawls import merge

out, again, *places = sys.argv[1:]
out, left = Path(out), None

def dies(event, _):  # before the n-th change to the file system
    global left
    if left is not None and event in {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

def merged():
    return merge(out, places, replace=again == "again")

sys.addaudithook(dies)
merged()
whole = files(out)
for moment in count(0, 3):
    if again != "again":
        shutil.rmtree(out, ignore_errors=True)
    child = os.fork()
    if not child:
        left = moment
        merged()
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    if not killed:
        assert files(out).keys() == whole.keys()
        break
    seen = {name for name in files(out) if not name.startswith(".merge-")}
    if "pages.jsonl" in seen and again != "again":
        assert seen == set(whole), (moment, set(whole) - seen)
    try:
        merged()
    except ConfigError as error:  # it was whole
        assert "already holds" in str(error) and seen == set(whole), (moment, error)
        shutil.rmtree(out)
        continue
    there = files(out)
    assert set(there) == set(whole), (moment, set(there) ^ set(whole))
    assert there["pages.jsonl"] == whole["pages.jsonl"]
print(moment)
"""


@pytest.mark.parametrize("again", ["once", "again"])
async def test_killed_at_any_moment_it_looks_whole_only_when_it_is_and_can_be_repeated(
    shares: list[Path], tmp_path: Path, again: str
) -> None:
    words = [str(tmp_path / "out"), again, *map(str, shares)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()
    assert int(said) > 30, "it was killed at many moments"


async def test_of_two_merges_into_one_folder_the_second_is_told(
    shares: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with atomic_output(out), pytest.raises(FolderLocked, match="another process merges"):
        merge(out, [str(one) for one in shares])
    merge(out, [str(one) for one in shares])
