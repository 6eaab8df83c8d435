"""One archive out of several: every capture is where the index says, in files that are whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import OpenSite
from crawling import crawl, settings
from test_warc import check, exchanges, indexed_by_others
from website import page

from crawler.errors import ConfigError
from crawler.export.archive import Archive
from crawler.export.cdxj import cdxj_lines
from crawler.export.merge import merge

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
        with Archive(share) as archive:
            for one in archive.captures.every():
                before[one.url, one.at] = archive.payload(one).decoded()
    with Archive(out) as archive:
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
    both = merge(out, [str(one) for one in shares], again=True)
    assert both.archive.captures > first.archive.captures
    check(out)
    shutil.rmtree(shares[0] / "warc")
    assert merge(out, [str(shares[1])], again=True).archive.files == 1
    check(out)
    assert [one.name for one in out.iterdir() if one.name.startswith(".")] == []
