"""Downloads: whole files under right names, whatever the server says and whenever it breaks."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenSite
from helpers.downloading import get, get_one, lying, names_in, noise, ranged, span_of
from helpers.website import Asked, Reply, busy, gate, packed, redirect, reply, sequence, text

from crawler.bootstrap.download_stream import download
from crawler.downloads import checksums, connection_scaler, segment_pool
from crawler.downloads.defaults import DEFAULTS
from crawler.downloads.download_request import DownloadRequest
from crawler.downloads.rename import rename_new
from crawler.errors import SinkError

BIG = noise(3 * 1024 * 1024 + 17)
SHA = ("sha256", hashlib.sha256(BIG).hexdigest())


async def test_files_of_all_sizes_come_whole(website: OpenSite, tmp_path: Path) -> None:
    site = await website(
        {"/big.bin": ranged(BIG), "/small.txt": text("hi"), "/none.dat": ranged(b"")}
    )
    files = await get(*map(site.at, ("/big.bin", "/small.txt", "/none.dat")), into=tmp_path)
    assert {file.status for file in files} == {"done"}
    assert (tmp_path / "big.bin").read_bytes() == BIG
    assert (tmp_path / "small.txt").read_bytes() == b"hi"
    assert (tmp_path / "none.dat").read_bytes() == b""
    assert names_in(tmp_path) == {"big.bin", "small.txt", "none.dat"}
    assert {asked.headers["accept-encoding"] for asked in site.log} == {"identity"}


async def test_what_is_there_is_not_fetched_again(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/a": text("a"), "/b": text("b")})
    await get(site.at("/a"), site.at("/b"), into=tmp_path)
    files = await get(site.at("/a"), site.at("/b"), into=tmp_path)
    assert [file.status for file in files] == ["here", "here"]
    (tmp_path / "a").unlink()
    files = await get(site.at("/a"), site.at("/b"), into=tmp_path)
    assert {file.url[-1]: file.status for file in files} == {"a": "done", "b": "here"}
    assert site.hits == {"/a": 2, "/b": 1}
    assert names_in(tmp_path) == {"a", "b"}


async def test_a_file_that_failed_is_tried_again_by_the_next_call(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({})
    assert (await get_one(site.at("/late"), tmp_path)).reason == "status:404"
    site.put("/late", text("here now"))
    assert (await get_one(site.at("/late"), tmp_path)).status == "done"


async def test_a_connection_that_breaks_again_and_again_costs_nothing_twice(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/f": ranged(BIG, cut_after=400_000)})
    file = await get_one(site.at("/f"), tmp_path)
    assert (tmp_path / "f").read_bytes() == BIG
    assert file.wire == len(BIG), "bytes were fetched twice"
    assert all(one.headers["if-range"] == '"v1"' for one in site.log[1:])


async def test_without_a_validator_a_broken_file_starts_over(
    website: OpenSite, tmp_path: Path
) -> None:
    whole = ranged(BIG, etag="")

    async def undated(asked: Asked) -> Reply:
        assert span_of(asked, len(BIG)) is None, "parts of files that nothing identifies"
        answer = await whole(asked)
        broken = site.hits["/f"] < 2
        return Reply(200, BIG[:700_000] if broken else BIG, (), answer.mime, length=len(BIG))

    site = await website({"/f": undated})
    assert (await get_one(site.at("/f"), tmp_path)).status == "done"
    assert (tmp_path / "f").read_bytes() == BIG


async def test_a_stopped_download_goes_on_where_it_was(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/f": ranged(BIG, pause=0.02)})
    async with download([site.at("/f")], tmp_path, fast=True) as files:

        async def first() -> None:
            await anext(files)

        waiting = asyncio.create_task(first())
        part = tmp_path / "f.part"
        async with asyncio.timeout(10):
            while not part.exists() or not any(part.read_bytes()[300_000:400_000]):  # noqa: ASYNC110 - a file rings no bell
                await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert names_in(tmp_path) == {"f.part"}, "a finished name on an unfinished file"
    file = await get_one(site.at("/f"), tmp_path)
    assert file.wire < len(BIG) - 300_000
    assert (tmp_path / "f").read_bytes() == BIG
    assert names_in(tmp_path) == {"f"}


async def test_a_pause_between_two_files_waits_for_no_answer(
    website: OpenSite, tmp_path: Path
) -> None:
    """It begins when the first is asked for, and the first comes once the second was asked for."""
    first = gate(text("a"))

    async def second(asked: Asked) -> Reply:
        first.open()
        return await text("b")(asked)

    site = await website({"/a": first, "/b": second})
    pace = {"fast": False, "delay": 0.05, "per_host": 4}
    files = await get(site.at("/a"), site.at("/b"), into=tmp_path, **pace)
    assert {file.status for file in files} == {"done"}
    assert [asked.path for asked in site.log] == ["/a", "/b"]


async def test_a_part_that_somebody_removed_is_not_believed(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/f": ranged(BIG, cut_after=50_000)})
    first = await get_one(site.at("/f"), tmp_path)
    assert first.status == "failed"
    assert first.reason.startswith("truncated")
    (tmp_path / "f.part").unlink()
    site.put("/f", ranged(BIG))
    assert (await get_one(site.at("/f"), tmp_path)).wire == len(BIG)
    assert (tmp_path / "f").read_bytes() == BIG


# ── servers that lie ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lie", "works"),
    [
        ({"status": 206, "fields": [("Content-Range", "bytes 0-99/3145745")], "part": b"x" * 100},
         False),  # another place than was asked for
        ({"status": 206, "fields": [], "part": b"x" * 100}, False),
        ({"status": 206, "fields": [("Content-Range", "bytes 400000-300000/9")], "part": b"x"},
         False),
        ({"status": 200, "fields": [], "part": BIG}, True),  # ranges ignored
        ({"status": 416, "fields": [], "part": b""}, False),
        ({"status": 206, "part": b"gz", "fields": [
            ("Content-Range", f"bytes 400000-400001/{len(BIG)}"), ("Content-Encoding", "gzip")]},
         False),
        ({"status": 206, "part": BIG[400_000:], "fields": [("ETag", '"v2"'), (
            "Content-Range", f"bytes 400000-{len(BIG) - 1}/{len(BIG)}")]}, False),
        ({"status": 206, "part": b"--x", "mime": "multipart/byteranges; boundary=x", "fields": []},
         False),
    ],
    ids=["place", "no-range", "nonsense", "ignored", "416", "gzip", "etag", "multipart"],
)  # fmt: skip
async def test_a_lie_about_a_range_never_ends_in_a_wrong_file(
    website: OpenSite, tmp_path: Path, lie: dict[str, object], *, works: bool
) -> None:
    site = await website({"/f.zip": lying(BIG, cut_after=400_000, **lie)})
    file = await get_one(site.at("/f.zip"), tmp_path)
    if works:
        assert file.status == "done", file
        assert (tmp_path / "f.zip").read_bytes() == BIG
    else:
        assert file.status == "failed"
        assert file.reason
        assert "f.zip" not in names_in(tmp_path)


@pytest.mark.parametrize(
    "lie",
    [
        {"fields": [("Content-Range", f"bytes 0-99/{len(BIG)}")], "part": BIG[:100]},
        {"fields": [], "part": BIG[400_000:]},
        {"fields": [("Content-Range", "bytes 400000-300000/9")], "part": b"x"},
        {"fields": [], "part": b"--x", "mime": "multipart/byteranges; boundary=x"},
    ],
    ids=["place", "no-range", "nonsense", "multipart"],
)
async def test_where_parts_are_of_no_use_the_whole_file_is_asked_for(
    website: OpenSite, tmp_path: Path, lie: dict[str, Any]
) -> None:
    cut = sequence(ranged(BIG, cut_after=400_000), lying(BIG, status=206, **lie))
    site = await website({"/f.zip": cut})
    file = await get_one(site.at("/f.zip"), tmp_path, connections=4)
    assert file.status == "done", file
    assert (tmp_path / "f.zip").read_bytes() == BIG
    asked = [one.headers.get("range") for one in site.log]
    assert asked[-1] is None
    assert asked.count(None) == 2


async def test_a_206_with_all_of_it_is_the_file(website: OpenSite, tmp_path: Path) -> None:
    fields = (("Content-Range", "bytes 0-4/5"),)

    async def all_of_it(_: Asked) -> Reply:
        return Reply(206, b"whole", fields, "application/zip")

    site = await website({"/f": all_of_it})
    assert (await get_one(site.at("/f"), tmp_path)).status == "done"
    assert (tmp_path / "f").read_bytes() == b"whole"


async def test_a_file_that_changes_in_the_middle_is_never_mixed(
    website: OpenSite, tmp_path: Path
) -> None:
    old, new = noise(2_000_000, 1), noise(2_100_000, 2)
    site = await website(
        {"/f": sequence(ranged(old, etag='"1"', cut_after=900_000), ranged(new, etag='"2"'))}
    )
    assert (await get_one(site.at("/f"), tmp_path)).status == "done"
    assert (tmp_path / "f").read_bytes() == new


async def test_a_page_is_not_the_file(website: OpenSite, tmp_path: Path) -> None:
    site = await website(
        {"/f.zip": redirect("/login"), "/login": reply("<form>Who are you?</form>")}
    )
    file = await get_one(site.at("/f.zip"), tmp_path)
    assert (file.status, file.reason) == (
        "failed", "mismatch:text/html where application/zip was expected",
    )  # fmt: skip
    assert names_in(tmp_path) == set()
    assert (await get_one(site.at("/f.zip"), tmp_path, accept_html=True)).status == "done"


async def test_a_coding_that_nobody_asked_for(website: OpenSite, tmp_path: Path) -> None:
    site = await website(
        {name: packed(b"a,b", mime="text/csv") for name in ("/f.csv", "/f.csv.gz")}
    )
    by_name = {
        file.url.rpartition("/")[2]: file
        for file in await get(site.at("/f.csv"), site.at("/f.csv.gz"), into=tmp_path)
    }
    assert by_name["f.csv"].status == "done"
    assert (tmp_path / "f.csv").read_bytes() == b"a,b"
    assert by_name["f.csv.gz"].status == "done"  # it is the file that is packed
    assert gzip.decompress((tmp_path / "f.csv.gz").read_bytes()) == b"a,b"


@pytest.mark.parametrize("announced", [10, 5_000_000])
async def test_a_wrong_length_is_no_file(website: OpenSite, tmp_path: Path, announced: int) -> None:
    async def answer(_: Asked) -> Reply:
        return Reply(200, BIG, (), "application/octet-stream", length=announced)

    site = await website({"/f": answer})
    file = await get_one(DownloadRequest(site.at("/f"), size=len(BIG)), tmp_path)
    assert file.status == "failed"
    assert "f" not in names_in(tmp_path)


async def test_a_file_beyond_the_limit(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/f": ranged(BIG), "/endless": ranged(BIG)})
    assert (await get_one(site.at("/f"), tmp_path, max_filesize=1_000_000)).reason.startswith(
        "too-large"
    )


async def test_a_part_that_ends_early_by_chunks_is_not_asked_for_for_ever(
    website: OpenSite, tmp_path: Path
) -> None:
    first = ranged(BIG, cut_after=400_000)

    async def answer(asked: Asked) -> Reply:
        span = span_of(asked, len(BIG))
        if span is None:
            return await first(asked)
        head = f"HTTP/1.1 206 X\r\nContent-Range: bytes {span[0]}-{span[1] - 1}/{len(BIG)}\r\n"
        chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        return Reply(exact=(head + chunked).encode())

    site = await website({"/f": answer, "/no": reply(b"", 204)})
    files = {file.url[-1]: file.reason for file in await get(
        site.at("/f"), site.at("/no"), into=tmp_path)}  # fmt: skip
    assert files["f"].startswith("truncated:")
    assert files["o"] == "garbled:status 204 does not carry a file"
    assert site.hits["/f"] < 10


async def test_a_full_disk_ends_it_and_nothing_good_is_lost(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await website({"/f": ranged(BIG, pause=0.005)})
    real, left = os.pwritev, [2]

    def full(*args: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(SinkError, match="No space left"):
        await get(site.at("/f"), into=tmp_path)
    assert names_in(tmp_path) == {"f.part"}
    monkeypatch.undo()
    file = await get_one(site.at("/f"), tmp_path)
    assert file.wire < len(BIG)
    assert (tmp_path / "f").read_bytes() == BIG


async def test_safe_against_a_power_cut_everything_is_synced_before_its_name(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        done.append("sync")
        real_sync(descriptor)

    def rename(old: str, new: str) -> None:
        done.append("name")
        rename_new(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr("crawler.downloads.temp_file.rename_new", rename)
    site = await website({"/f": ranged(BIG), "/s": text("small")})
    for path in ("/f", "/s"):
        done.clear()
        assert (await get_one(site.at(path), tmp_path, durable="power")).status == "done"
        assert "sync" in done[: done.index("name")]
        assert done[-1] == "sync", "the folder's entry, too"


async def test_ended_while_it_was_checked_a_file_is_checked_and_not_fetched_again(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are there, the name is not: the next run has only to look at them."""
    site = await website({"/f": ranged(BIG)})
    order = DownloadRequest(site.at("/f"), checksums=(("sha256", hashlib.sha256(BIG).hexdigest()),))

    def full(*_: object) -> dict[str, str]:
        raise SinkError("the disk has gone")

    with monkeypatch.context() as broken:
        broken.setattr(checksums, "file_digests", full)
        with pytest.raises(SinkError, match="the disk has gone"):
            await get(order, into=tmp_path)
    assert names_in(tmp_path) == {"f.part"}
    file = await get_one(order, tmp_path)
    assert (file.status, file.wire) == ("done", 0)
    assert (tmp_path / "f").read_bytes() == BIG


async def test_of_small_files_written_together_each_has_its_own_end(
    website: OpenSite, tmp_path: Path
) -> None:
    """One group, one thread: a wrong one spoils no other."""
    bodies = {f"/{number}": b"%d" % number * 100 for number in range(40)}
    site = await website({path: ranged(body) for path, body in bodies.items()})
    orders = [DownloadRequest(site.at(path), name=path[1:]) for path in bodies]
    orders[7] = DownloadRequest(site.at("/7"), name="7", checksums=(("md5", "0" * 32),))
    files = await get(*orders, into=tmp_path, durable="power")
    assert {file.url.rpartition("/")[2] for file in files if file.status == "failed"} == {"7"}
    assert names_in(tmp_path) - {"7.wrong"} == {path[1:] for path in bodies} - {"7"}
    for path, body in bodies.items():
        if path != "/7":
            assert (tmp_path / path[1:]).read_bytes() == body


async def test_robots_txt_is_asked_for_where_one_wants_it(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website(
        {"/robots.txt": text("User-agent: *\nDisallow: /no"), "/no": text("x"), "/yes": text("y")}
    )
    files = await get(site.at("/no"), site.at("/yes"), into=tmp_path, obey=True)
    assert {file.url.rpartition("/")[2]: file.reason for file in files} == {
        "no": "robotsTxt", "yes": "",
    }  # fmt: skip
    assert site.hits["/no"] == 0


async def test_a_quota_ends_it(website: OpenSite, tmp_path: Path) -> None:
    site = await website({f"/{n}": text("x" * 1000) for n in range(5)})
    urls = [site.at(f"/{n}") for n in range(5)]
    files = await get(*urls, into=tmp_path, size_limit=2500, concurrency=1)
    assert [file.status for file in files] == ["done", "done"]
    assert len(await get(*urls, into=tmp_path)) == 5


# ── checksums and mirrors ────────────────────────────────────────────────────────────────────


async def test_a_right_checksum_is_told_and_a_wrong_file_is_put_aside(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/f": ranged(BIG), "/s": text("small")})
    good = await get_one(DownloadRequest(site.at("/f"), checksums=(SHA,)), tmp_path)
    assert good.digest == f"sha256:{SHA[1]}"
    bad = await get_one(DownloadRequest(site.at("/s"), checksums=(("md5", "0" * 32),)), tmp_path)
    assert bad.status == "failed"
    assert bad.reason.startswith("mismatch:md5 is ")
    assert bad.aside == tmp_path / "s.wrong"
    assert names_in(tmp_path) == {"f", "s.wrong"}


async def test_what_the_server_says_of_its_bytes_is_checked(
    website: OpenSite, tmp_path: Path
) -> None:
    digest = base64.b64encode(hashlib.sha256(b"right").digest()).decode()
    fields = {"Repr-Digest": f"sha-256=:{digest}:"}
    site = await website(
        {"/a": reply(b"right", mime="x/y", headers=fields),
         "/b": reply(b"wrong", mime="x/y", headers=fields)}
    )  # fmt: skip
    assert (await get_one(site.at("/a"), tmp_path)).digest.startswith("sha256:")
    assert (await get_one(site.at("/b"), tmp_path)).status == "failed"
    assert names_in(tmp_path) == {"a", "b.wrong"}


async def test_a_mirror_stands_in_for_wrong_bytes_and_for_silence(
    website: OpenSite, tmp_path: Path
) -> None:
    wrong = noise(len(BIG), 9)
    site = await website({"/f": ranged(wrong), "/g": reply(b"", 404)}, {"/m": ranged(BIG)})
    mirrors = (site.at("/m", 1),)
    orders = [
        DownloadRequest(site.at(path), checksums=(SHA,), mirrors=mirrors) for path in ("/f", "/g")
    ]
    files = await get(*orders, into=tmp_path)
    assert {file.status for file in files} == {"done"}, files
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes() == BIG
    assert (tmp_path / "f.wrong").read_bytes() == wrong


# ── several connections ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_pool, "SAVE_INTERVAL_S", 0.02)
    monkeypatch.setattr(connection_scaler, "MEASURE_WINDOW_S", 0.05)
    monkeypatch.setattr(
        segment_pool,
        "split_point",
        lambda start, end: connection_scaler.split_point(start, end, 200_000),
    )


@pytest.mark.usefixtures("_small_pieces")
async def test_a_slow_server_is_asked_for_several_parts(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/f": ranged(BIG, pause=0.02)})
    file = await get_one(site.at("/f"), tmp_path, connections=4)
    assert (tmp_path / "f").read_bytes() == BIG
    assert site.peak >= 2
    assert file.wire < len(BIG) + 4 * 400_000  # what was on its way when a part was cut short


@pytest.mark.usefixtures("_small_pieces")
async def test_mirrors_are_used_side_by_side_where_a_checksum_tells(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website(
        {"/f": ranged(BIG, pause=0.02)}, {"/f": ranged(BIG, etag='"other"', pause=0.02)}
    )
    order = DownloadRequest(site.at("/f"), mirrors=(site.at("/f", 1),))
    await get_one(order, tmp_path / "without")
    assert {asked.address for asked in site.log} == {"127.0.0.1"}
    order = DownloadRequest(site.at("/f"), checksums=(SHA,), mirrors=(site.at("/f", 1),))
    assert (await get_one(order, tmp_path / "with")).status == "done"
    assert {asked.address for asked in site.log} == {"127.0.0.1", "127.0.0.2"}
    assert (tmp_path / "with" / "f").read_bytes() == BIG


@pytest.mark.usefixtures("_small_pieces")
async def test_a_file_that_changes_while_several_fetch_it(
    website: OpenSite, tmp_path: Path
) -> None:
    new = noise(len(BIG), 5)
    old_one, new_one = ranged(BIG, etag='"1"', pause=0.02), ranged(new, etag='"2"', pause=0.001)

    async def answer(asked: Asked) -> Reply:
        return await (old_one if site.hits["/f"] == 1 else new_one)(asked)

    site = await website({"/f": answer})
    assert (await get_one(site.at("/f"), tmp_path, connections=4)).status == "done"
    assert (tmp_path / "f").read_bytes() == new


# ── names ────────────────────────────────────────────────────────────────────────────────────


async def test_names_that_meet_are_told_apart(website: OpenSite, tmp_path: Path) -> None:
    say = {"Content-Disposition": 'attachment; filename="../../Report.PDF"'}
    site = await website(
        {"/a/r.pdf": text("1"), "/b/r.pdf": text("2"), "/c": reply("3", mime="x/y", headers=say),
         "/report.pdf": text("4")}
    )  # fmt: skip
    (tmp_path / "r.1.pdf").write_text("mine")
    files = await get(*map(site.at, ("/a/r.pdf", "/b/r.pdf", "/c", "/report.pdf")), into=tmp_path)
    assert {file.status for file in files} == {"done"}
    found = names_in(tmp_path)
    assert (tmp_path / "r.1.pdf").read_text() == "mine"
    assert {"r.pdf", "r.1.pdf", "r.2.pdf"} <= found
    assert len(found) == 5
    assert len({name.casefold() for name in found}) == 5
    assert {file.path.parent for file in files if file.path} == {tmp_path}


async def test_a_name_that_somebody_takes_in_the_meantime_stays_theirs(
    website: OpenSite, tmp_path: Path
) -> None:
    async def answer(_: Asked) -> Reply:
        (tmp_path / "b.txt").write_text("theirs")
        return Reply(200, b"ours", (), "text/plain")

    site = await website({"/a.txt": text("first"), "/b.txt": answer})
    files = await get(site.at("/a.txt"), site.at("/b.txt"), into=tmp_path, concurrency=1)
    assert [file.status for file in files] == ["done", "done"]
    assert (tmp_path / "b.txt").read_text() == "theirs"
    assert (tmp_path / "b.1.txt").read_text() == "ours"
    assert names_in(tmp_path) == {"a.txt", "b.txt", "b.1.txt"}


async def test_what_is_done_about_a_file_of_that_name(website: OpenSite, tmp_path: Path) -> None:
    async def answer(asked: Asked) -> Reply:
        if "if-modified-since" in asked.headers:
            return Reply(304)
        return Reply(200, b"new", (), "text/plain")

    site = await website({"/f": answer})
    (tmp_path / "f").write_text("old")
    file = await get_one(site.at("/f"), tmp_path, exists="skip")
    assert (file.status, file.reason, site.hits["/f"]) == ("here", "exists", 0)
    assert (await get_one(site.at("/f"), tmp_path, exists="newer")).status == "here"
    assert (tmp_path / "f").read_text() == "old"
    assert (await get_one(site.at("/f"), tmp_path, exists="replace")).status == "done"
    assert (tmp_path / "f").read_text() == "new"
    assert names_in(tmp_path) == {"f"}


async def test_headers_of_an_order_stay_with_its_origin(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/f": redirect("{1}/g")}, {"/g": text("ok")})
    order = DownloadRequest(site.at("/f"), headers={"X-Token": "secret"})
    assert (await get_one(order, tmp_path, private="any")).status == "done"
    assert [asked.headers.get("x-token") for asked in site.log] == ["secret", None]


async def test_logins_are_sent_and_nowhere_written_down(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/f": text("ok")})
    url = site.at("/f").replace("http://", "http://me:tellnobody@")
    order = DownloadRequest(url, headers={"X-Token": "hushhush"})
    file = await get_one(order, tmp_path)
    assert (file.status, file.url) == ("done", site.at("/f"))
    sent = site.log[0].headers
    assert sent["authorization"] == "Basic " + base64.b64encode(b"me:tellnobody").decode()
    assert sent["x-token"] == "hushhush"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"tellnobody" not in path.read_bytes()
            assert b"hushhush" not in path.read_bytes()


async def test_a_host_that_refuses_more_than_a_few_at_once_still_gives_all(
    website: OpenSite, tmp_path: Path
) -> None:
    inside = most = 0

    async def answer(_: Asked) -> Reply:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            if inside > 6:
                return Reply(503)
            await asyncio.sleep(0.02)
            return Reply(200, b"ok", (), "text/plain")
        finally:
            inside -= 1

    site = await website({f"/{n}.txt": answer for n in range(60)})
    urls = [site.at(f"/{n}.txt") for n in range(60)]
    files = await get(*urls, into=tmp_path, fast=False, retries=DEFAULTS["retry.retries"])
    assert {file.status for file in files} == {"done"}
    assert 2 < most <= DEFAULTS["pace.per_host"]


async def test_a_busy_server_is_asked_again_and_a_redirect_loop_ends(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/f": sequence(busy(), text("ok")), "/loop": redirect("/loop")})
    files = await get(site.at("/f"), site.at("/loop"), into=tmp_path)
    assert {file.url[-1]: file.status for file in files} == {"f": "done", "p": "failed"}
    assert site.hits["/f"] == 2


async def test_one_url_under_several_names_is_several_files(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/f": ranged(BIG)})
    url = site.at("/f")
    orders = [DownloadRequest(url, name=name) for name in ("a.zip", "d/b.zip", "c.zip", "a.zip")]
    (tmp_path / "c.zip").write_bytes(b"another's")
    for _ in range(2):
        (file,) = await get(*orders, into=tmp_path)
        assert file.path == tmp_path / "a.zip"
        assert names_in(tmp_path) == {"a.zip", "d/b.zip", "c.zip", "c.1.zip"}
        for name in ("a.zip", "d/b.zip", "c.1.zip"):
            assert (tmp_path / name).read_bytes() == BIG
        assert (tmp_path / "c.zip").read_bytes() == b"another's"
    assert len(site.log) == 1
    (tmp_path / "a.zip").write_bytes(b"changed")
    assert (tmp_path / "d/b.zip").read_bytes() == BIG, "a file of its own"


@pytest.mark.parametrize("name", ["f.zip", "f.zip.part"])
async def test_what_another_program_left_is_gone_on_with_on_request(
    website: OpenSite, tmp_path: Path, name: str
) -> None:
    site = await website({"/f.zip": ranged(BIG)})
    (tmp_path / name).write_bytes(BIG[:700_000])
    file = await get_one(site.at("/f.zip"), tmp_path, exists="continue")
    assert (file.status, file.wire) == ("done", len(BIG) - 700_000)
    assert names_in(tmp_path) == {"f.zip"}
    assert (tmp_path / "f.zip").read_bytes() == BIG
    assert [one.headers.get("range") for one in site.log] == ["bytes=700000-"]


async def test_what_another_program_left_whole_or_too_long_or_with_holes(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({f"/{name}": ranged(BIG) for name in ("whole", "long", "holes")})
    (tmp_path / "whole").write_bytes(BIG)
    (tmp_path / "long").write_bytes(BIG + b"more")
    (tmp_path / "holes").write_bytes(b"\0" * 100)
    (tmp_path / "holes.aria2").write_bytes(b"where")
    urls = [site.at(f"/{name}") for name in ("whole", "long", "holes")]
    files = await get(*urls, into=tmp_path, exists="continue")
    assert {file.status for file in files} == {"done"}
    assert names_in(tmp_path) == {"whole", "long", "holes", "holes.1", "holes.aria2"}
    for name in ("whole", "long", "holes.1"):
        assert (tmp_path / name).read_bytes() == BIG, name
    assert {file.url: file.wire for file in files}[site.at("/whole")] < 1000


async def test_a_server_without_ranges_gives_the_whole_file_instead_of_its_rest(
    website: OpenSite, tmp_path: Path
) -> None:
    async def whole(_: Asked) -> Reply:
        return Reply(200, BIG, (), "application/zip")

    site = await website({"/f.zip": whole})
    (tmp_path / "f.zip").write_bytes(b"another beginning")
    assert (await get_one(site.at("/f.zip"), tmp_path, exists="continue")).status == "done"
    assert (tmp_path / "f.zip").read_bytes() == BIG


async def test_a_304_that_nobody_asked_for_is_no_file(website: OpenSite, tmp_path: Path) -> None:
    async def unchanged(_: Asked) -> Reply:
        return Reply(304)

    site = await website({"/f": unchanged})
    file = await get_one(site.at("/f"), tmp_path)
    assert (file.status, file.reason) == ("failed", "garbled:304 to a request without a condition")
    assert names_in(tmp_path) == set()
