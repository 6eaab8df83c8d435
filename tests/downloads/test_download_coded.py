"""Files that come coded though nobody asked, and codings that are none."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import brotli
import pytest
from backports import zstd
from helpers.downloading import get_one, names_in, noise, ranged
from helpers.website import Answer, Website, reply, sequence

from crawler.downloads.content_coding import codings_to_decode
from crawler.downloads.download_request import DownloadRequest

PLAIN = b"hello world\n" * 1000
LARGE = noise(1_500_000) + bytes(1_500_000)


def coded(body: bytes, coding: str) -> Answer:
    return reply(body, mime="text/plain", headers={"Content-Encoding": coding})


@pytest.mark.parametrize(
    ("value", "path", "undone"),
    [
        ("", "/f.txt", ""),
        ("identity", "/f.txt", ""),
        ("utf-8", "/f.txt", ""),
        ("GZIP", "/f.txt", "gzip"),
        ("gzip", "/f.tar.gz?x", ""),
        ("aws-chunked,gzip", "/f", "gzip"),
        ("deflate, br", "/f", "deflate, br"),
    ],
)
def test_what_has_to_be_undone(value: str, path: str, undone: str) -> None:
    assert codings_to_decode(value, f"http://a.test{path}") == undone


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PLAIN, mtime=0)),
        ("x-gzip", gzip.compress(PLAIN, mtime=0)),
        ("deflate", zlib.compress(PLAIN)),
        ("br", brotli.compress(PLAIN)),
        ("zstd", zstd.compress(PLAIN)),
        ("gzip, br", brotli.compress(gzip.compress(PLAIN, mtime=0))),
        ("gzip", PLAIN),
        ("utf-8", PLAIN),
        ("none", PLAIN),
        ("binary", PLAIN),
        ("aws-chunked", PLAIN),
        ("gzip", b""),
    ],
)
async def test_the_file_is_what_was_coded(tmp_path: Path, coding: str, body: bytes) -> None:
    async with Website({"/f.txt": coded(body, coding)}) as site:
        file = await get_one(site.at("/f.txt"), tmp_path)
        plain = PLAIN if body else b""
        assert (file.status, file.size, file.wire) == ("done", len(plain), len(body))
        assert (tmp_path / "f.txt").read_bytes() == plain
        assert names_in(tmp_path) == {"f.txt"}
        assert (await get_one(site.at("/f.txt"), tmp_path)).status == "here"


async def test_a_large_one_is_put_together_first_and_checked_as_it_is_meant(tmp_path: Path) -> None:
    honest = ranged(
        gzip.compress(LARGE, 1, mtime=0), cut_after=900_000, headers=(("Content-Encoding", "gzip"),)
    )
    digest = hashlib.sha256(LARGE).hexdigest()
    async with Website({"/f.bin": honest}) as site:
        order = DownloadRequest(site.at("/f.bin"), checksums=(("sha256", digest),), size=len(LARGE))
        file = await get_one(order, tmp_path)
        assert (file.status, file.digest) == ("done", f"sha256:{digest}")
        assert (tmp_path / "f.bin").read_bytes() == LARGE
        assert names_in(tmp_path) == {"f.bin"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(PLAIN, mtime=0)[:-20], "truncated:gzip stream breaks off"),
        (gzip.compress(PLAIN, mtime=0)[:-8] + bytes(8), "garbled:gzip checksum is wrong"),
        (gzip.compress(bytes(50_000_000)), "too-large:more than 1000000 bytes"),
    ],
)
async def test_a_broken_one_is_no_file(tmp_path: Path, body: bytes, reason: str) -> None:
    async with Website({"/f.txt": coded(body, "gzip")}) as site:
        file = await get_one(site.at("/f.txt"), tmp_path, retries=0, max_filesize=1_000_000)
    assert (file.status, file.reason) == ("failed", reason)
    assert not names_in(tmp_path) - {"f.txt.part"}


async def test_a_broken_one_is_fetched_again(tmp_path: Path) -> None:
    whole = gzip.compress(LARGE, 1)
    answers = sequence(coded(whole[:-9], "gzip"), coded(whole, "gzip"))
    async with Website({"/f.bin": answers}) as site:
        assert (await get_one(site.at("/f.bin"), tmp_path)).status == "done"
        assert site.hits["/f.bin"] == 2
    assert (tmp_path / "f.bin").read_bytes() == LARGE
