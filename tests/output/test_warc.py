"""The archive: what was on the wire is in it, two readers agree, and it can be cut anywhere."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import random
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import OpenSite
from fastwarc.warc import ArchiveIterator as FastIterator
from helpers.crawling import by_path, crawl, settings
from helpers.warc_checks import check, exchanges, files, indexed_by_others, sink, visit
from helpers.website import Answer, Website, busy, missing, packed, page, raw, redirect, reply
from warcio.archiveiterator import ArchiveIterator

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.errors import ConfigError, SinkError
from crawler.export.cdxj import cdxj_lines
from crawler.export.wacz import write_wacz
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import WarcIndex, place_of
from crawler.output.warc.record_format import pack
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, WarcRecord

BIG = random.Random(1).randbytes(2_500_000)
CHUNKED = (
    b"HTTP/1.1 203 Non-Authoritative Information \r\nContent-Type: text/html\r\n"
    b"X-Odd:   caf\xc3\xa9 \r\nx-odd: twice\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\n<p>o\r\n3;ext=1\r\nne!\r\n0\r\n\r\n"
)


def site() -> dict[str, Answer]:
    return {
        "/robots.txt": reply("User-agent: *\nDisallow: /no\n", mime="text/plain"),
        "/": page("Home", ["/a", "/same", "/gone", "/to", "/big", "/zip", "/chunked", "/soon"]),
        "/a": page("A"),
        "/same": page("A"),
        "/gone": missing,
        "/to": redirect("/a"),
        "/big": reply(BIG, mime="application/octet-stream"),
        "/zip": packed(b"<p>packed"),
        "/chunked": raw(CHUNKED),
        "/soon": busy(1, then=page("Soon")),
    }


def responses(folder: Path) -> dict[str, tuple[str, Any, Any, bytes]]:
    """Responses and revisits by path; none may be there twice."""
    found: dict[str, tuple[str, Any, Any, bytes]] = {}
    for kind, about, http, body in exchanges(folder):
        if kind in {"response", "revisit"}:
            path = "/" + about["WARC-Target-URI"].split("/", 3)[3]
            assert path not in found, "an exchange was archived twice"
            found[path] = kind, about, http, body
    return found


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archived") / "crawl"

    async def make() -> None:
        async with Website(site()) as online:
            await crawl(settings(online.url, warc=True, spool_above=100_000), folder)

    asyncio.run(make())
    return folder


@pytest.fixture
def archive(archived: Path, tmp_path: Path) -> Path:
    """A crawl's folder, to do with as a test likes."""
    return Path(shutil.copytree(archived, tmp_path / "crawl"))


def test_every_exchange_is_there_as_it_was_on_the_wire(archive: Path) -> None:
    check(archive)
    found = responses(archive)
    assert set(found) == {*site()}
    kind, about, _, body = found["/big"]
    assert (kind, body) == ("response", BIG)
    assert about["WARC-Payload-Digest"] == f"sha256:{hashlib.sha256(BIG).hexdigest()}"
    assert about["WARC-IP-Address"] == "127.0.0.1"
    assert gzip.decompress(found["/zip"][3]) == b"<p>packed"
    assert found["/zip"][2]["Content-Encoding"] == "gzip"
    assert found["/gone"][2].statusline.startswith("404")
    assert found["/to"][2]["Location"] == "/a"
    assert found["/soon"][2].statusline.startswith("200")
    assert by_path(archive)["/to"]["outcome"] == "moved"


def test_headers_are_kept_to_the_byte_and_chunks_are_joined(archive: Path) -> None:
    text = b"".join(
        path.read_bytes() if path.suffix == ".warc" else gzip.decompress(path.read_bytes())
        for path in files(archive)
    )
    head = (
        b"HTTP/1.1 203 Non-Authoritative Information\r\nContent-Type: text/html\r\n"
        b"X-Odd: caf\xc3\xa9\r\nx-odd: twice\r\nX-Archive-Orig-Transfer-Encoding: chunked\r\n\r\n"
    )
    assert head + b"<p>one!\r\n\r\n" in text


def test_requests_and_how_we_came_are_beside_each_response(archive: Path) -> None:
    ids = {about["WARC-Record-ID"] for _, about, _, _ in responses(archive).values()}
    beside: dict[str, set[str]] = {"request": set(), "metadata": set()}
    for kind, about, http, body in exchanges(archive):
        if kind in beside:
            beside[kind].add(about["WARC-Concurrent-To"])
        if kind == "request":
            assert http.protocol == "GET"
            assert http["User-Agent"].startswith("crawler/")
            assert http["Host"].startswith("127.0.0.1:")
        if kind == "metadata" and about["WARC-Target-URI"].endswith("/a"):
            assert b"via: http://127.0.0.1:" in body
            assert b"hopsFromSeed: 1\r\n" in body
    assert beside == {"request": ids, "metadata": ids}


def test_a_payload_that_is_there_is_pointed_to(archive: Path) -> None:
    found = responses(archive)
    first, second = found["/a"], found["/same"]
    if second[0] == "response":  # they come in any order
        first, second = second, first
    assert (first[0], second[0]) == ("response", "revisit")
    assert second[3] == b""
    assert second[1]["WARC-Profile"].endswith("/identical-payload-digest")
    assert second[1]["WARC-Refers-To-Target-URI"] == first[1]["WARC-Target-URI"]
    assert second[1]["WARC-Refers-To-Date"] == first[1]["WARC-Date"]
    assert second[1]["WARC-Payload-Digest"] == first[1]["WARC-Payload-Digest"]
    with WarcReader(archive) as opened:
        captures = {capture.url.rpartition("/")[2]: capture for capture in opened.captures.every()}
        assert opened.payload(captures["same"]).decoded() == max(first[3], second[3])


def test_two_readers_see_the_same_records(archive: Path) -> None:
    ours = [
        (kind, about["WARC-Record-ID"], hashlib.sha1(body).hexdigest())
        for kind, about, _, body in exchanges(archive)
    ]
    theirs = []
    for path in files(archive):
        with path.open("rb") as stream:
            for record in FastIterator(io.BytesIO(stream.read()), parse_http=False):
                assert record.verify_block_digest()
                record.parse_http()
                body = record.reader.read()
                about = record.headers
                theirs.append(
                    (about["WARC-Type"], about["WARC-Record-ID"], hashlib.sha1(body).hexdigest())
                )
    assert theirs == ours


async def test_files_rotate_and_their_index_is_that_of_others(
    website: OpenSite, tmp_path: Path
) -> None:
    online = await website(site())
    config = settings(online.url, warc=True, max_file=2000, **{"warc.digest": "sha1"})
    await crawl(config, tmp_path)
    assert len(files(tmp_path)) > 3
    check(tmp_path)
    for path in files(tmp_path):
        with path.open("rb") as stream:
            first = next(iter(ArchiveIterator(stream)))
            assert first.rec_type == "warcinfo"
            assert first.rec_headers["WARC-Filename"] == path.name
            assert b"software: crawler/" in first.raw_stream.read()
    told = await asyncio.to_thread(indexed_by_others, tmp_path)
    theirs = [(line.split(" ", 2)[:2], json.loads(line.split(" ", 2)[2]))
              for line in told.splitlines()]  # fmt: skip
    with WarcReader(tmp_path) as opened:
        ours = [(line.split(" ", 2)[:2], json.loads(line.split(" ", 2)[2]))
                for line in cdxj_lines(opened)]  # fmt: skip
    assert ours == theirs
    assert len(ours) == len(site())


@pytest.mark.parametrize("compression", ["zstd", "none"])
async def test_other_compressions(website: OpenSite, tmp_path: Path, compression: str) -> None:
    online = await website({"/": page("Home", ["/a"]), "/a": packed(b"<p>text " * 50)})
    await crawl(settings(online.url, warc=True, compression=compression), tmp_path)
    (path,) = files(tmp_path)
    with path.open("rb") as stream:
        kinds = [record.headers["WARC-Type"] for record in FastIterator(io.BytesIO(stream.read()))]
    assert kinds.count("response") == 3  # robots.txt is one
    with WarcReader(tmp_path) as opened:
        bodies = {one.url: opened.payload(one).decoded() for one in opened.captures.every()}
    assert bodies[online.at("/a")] == b"<p>text " * 50


async def test_a_redirect_whose_body_was_not_read_says_so(
    website: OpenSite, tmp_path: Path
) -> None:
    endless = raw(
        b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 900000\r\n\r\nmoved" + b"." * 100
    )
    online = await website({"/": page("Home", ["/a"]), "/a": endless, "/b": page("B")})
    await crawl(settings(online.url, warc=True), tmp_path)
    check(tmp_path)
    _, about, http, body = responses(tmp_path)["/a"]
    assert about["WARC-Truncated"] == "length"
    assert http["Content-Length"] == "900000"
    assert body == b""


async def test_what_trips_the_parser_is_archived_all_the_same(
    website: OpenSite, tmp_path: Path
) -> None:
    bomb = gzip.compress(b"\0" * 30_000_000)
    online = await website(
        {
            "/": page("Home", ["/bomb"]),
            "/bomb": reply(bomb, headers={"Content-Encoding": "gzip"}),
        }
    )
    await crawl(settings(online.url, warc=True), tmp_path)
    assert by_path(tmp_path)["/bomb"]["reason"].startswith("parse:too-large")
    assert responses(tmp_path)["/bomb"][3] == bomb
    assert not list((tmp_path / "spool").iterdir())


async def test_a_full_spool_ends_the_crawl_and_costs_no_page(
    website: OpenSite, tmp_path: Path
) -> None:
    online = await website(site())
    config = settings(online.url, warc=True, spool_above=100_000)
    place = tmp_path / "elsewhere"
    place.mkdir()

    async def run() -> None:
        async with open_crawl(config, dir=tmp_path) as running:
            fetch = running._fetcher.fetch

            async def hide_spool(link: CrawlUrl) -> Page:
                got = await fetch(link)
                if isinstance(got.body, Path):
                    moved = got.body.rename(place / got.body.name)
                    shutil.rmtree(tmp_path / "spool")
                    return msgspec.structs.replace(got, body=moved)
                return got

            running._fetcher.fetch = hide_spool  # type: ignore[method-assign]
            await running.run()

    with pytest.raises(SinkError, match=r"spool: .*such file"):
        await run()
    await crawl(config, tmp_path, "resume")
    assert set(responses(tmp_path)) == {*site()}
    assert by_path(tmp_path)["/big"]["outcome"] == "done"


# ── the sink alone ───────────────────────────────────────────────────────────────────────────


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """URL and payload of each capture, through the index."""
    with WarcReader(folder) as opened:
        return [
            (capture.url, opened.payload(capture).decoded()) for capture in opened.captures.every()
        ]


@pytest.mark.parametrize("torn", [0, 1, 400])
async def test_cut_back_to_any_mark_it_is_an_archive_that_was_never_disturbed(
    tmp_path: Path, torn: int
) -> None:
    folder = tmp_path / "warc"
    dice = random.Random(5)
    visits = [visit(f"/{n}", dice.randbytes(n * 60 % 700) or b"x", tmp_path) for n in range(12)]
    marks = [0]
    async with sink(folder) as output:
        await output.cut(0)
        marks += [await output.append([one]) for one in visits]
    assert place_of(marks[-1])[0] > 2, "nothing rotated"
    for keep in (11, 6, 5, 1, 0):
        with max(folder.glob("*.warc.gz")).open("ab") as file:
            file.write(b"\x1f\x8b torn"[:1] * torn)
        async with sink(folder) as output:
            await output.cut(marks[keep])
            if keep:
                assert len(contents(tmp_path)) == keep
            await output.append(visits[keep:])
        assert contents(tmp_path) == [
            (one.link.url, one.page.body) for one in visits if one.page is not None
        ]
    check(tmp_path)


async def test_a_payload_cut_off_is_not_pointed_to(tmp_path: Path) -> None:
    folder = tmp_path / "warc"
    async with sink(folder) as output:
        await output.cut(0)
        mark = await output.append([visit("/a", b"one", tmp_path)])
        await output.append([visit("/b", b"two", tmp_path)])
    async with sink(folder) as output:
        await output.cut(mark)
        await output.append([visit("/c", b"two", tmp_path), visit("/d", b"two", tmp_path)])
    assert [found[0] for found in responses(tmp_path).values()] == [
        "response", "response", "revisit",
    ]  # fmt: skip
    assert contents(tmp_path)[-1] == ("https://a.test/d", b"two")


async def test_not_modified_points_to_the_last_good_answer(tmp_path: Path) -> None:
    async with sink(tmp_path / "warc", max_file=10**6) as output:
        await output.cut(0)
        await output.append([visit("/a", b"one", tmp_path, at=1e9)])
        await output.append([visit("/a", b"oops", tmp_path, status=500, at=1e9 + 1)])
        await output.append([visit("/a", b"", tmp_path, status=304, at=1e9 + 2.5)])
        await output.append([visit("/new", b"", tmp_path, status=304, at=1e9 + 3)])
    records = [(kind, about) for kind, about, _, _ in exchanges(tmp_path)
               if kind in {"response", "revisit"}]  # fmt: skip
    assert [kind for kind, _ in records] == ["response", "response", "revisit", "response"]
    assert records[2][1]["WARC-Profile"].endswith("/server-not-modified")
    assert records[2][1]["WARC-Refers-To-Date"] == "2001-09-09T01:46:40.000000Z"
    assert contents(tmp_path)[2] == ("https://a.test/a", b"one")


async def test_a_changed_archive_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "warc"
    async with sink(folder) as output:
        await output.cut(0)
        mark = await output.append([visit("/a", b"one", tmp_path)])
    (path,) = folder.glob("*.warc.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    async with sink(folder) as output:
        with pytest.raises(SinkError, match=f"{path.name}: .* it was changed"):
            await output.cut(mark)
    path.write_bytes(whole)
    for index in folder.glob("index.db*"):
        index.unlink()
    async with sink(folder) as output:
        with pytest.raises(SinkError, match=r"index\.db: older"):
            await output.cut(mark)


async def test_another_compression_begins_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "warc"
    async with sink(folder, max_file=10**6) as output:
        await output.cut(0)
        mark = await output.append([visit("/a", b"one", tmp_path)])
    one = visit("/b", b"two", tmp_path)
    assert one.kept is not None
    plain = msgspec.structs.replace(
        one.kept,
        response=gzip.decompress(one.kept.response),  # type: ignore[arg-type]
        aside=gzip.decompress(one.kept.aside),
    )
    async with sink(folder, max_file=10**6, compression="none") as output:
        await output.cut(mark)
        await output.append([msgspec.structs.replace(one, kept=plain)])
    assert [path.suffix for path in sorted(folder.glob("crawl-*"))] == [".gz", ".warc"]
    assert [body for _, body in contents(tmp_path)] == [b"one", b"two"]


async def test_a_full_disk_ends_the_crawl_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "warc"
    async with sink(folder, max_file=10**6) as output:
        await output.cut(0)
        mark = await output.append([visit("/a", b"one", tmp_path)])

        def full(waiting: list[bytes]) -> None:
            assert output._file is not None
            output._file.write(b"".join(waiting)[:20])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(output, "_write", full)
            with pytest.raises(SinkError, match="No space left"):
                await output.append([visit("/b", b"two", tmp_path)])
    async with sink(folder, max_file=10**6) as output:
        await output.cut(mark)
        await output.append([visit("/b", b"two", tmp_path)])
    assert [body for _, body in contents(tmp_path)] == [b"one", b"two"]
    check(tmp_path)


def test_a_damaged_record_is_named(archive: Path) -> None:
    with WarcReader(archive) as opened:
        capture = next(iter(opened.captures.every()))
        path, offset = files(archive)[0], place_of(capture.position)[1]
        data = bytearray(path.read_bytes())
        data[offset + 30 : offset + 60] = b"\0" * 30
        path.write_bytes(data)
        with pytest.raises(SinkError, match=r"(damaged|no) record at"):
            opened.payload(capture).decoded()


def test_no_archive_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no archive"):
        WarcReader(tmp_path)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = WarcIndex(path, writable=True)
    index._db.execute("PRAGMA user_version = 99")
    index.close()
    with pytest.raises(SinkError, match="version 99"):
        WarcIndex(path, writable=True)


def test_packed_records_stand_alone() -> None:
    assert gzip.decompress(pack(b"one", "gzip") + pack(b"two", "gzip")) == b"onetwo"
    kept = WarcRecord(b"", b"", b"", "", "", 0)
    assert (
        CrawlResult(CrawlUrl("https://a.test/", "a.test"), Outcome.DONE, kept=kept).archived is kept
    )


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 1000])
def test_where_a_member_begins_is_seen_from_the_directory_alone(
    archive: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Viewers look for a local header's extra field only where the directory has one."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    path = archive / "y.wacz"
    with WarcReader(archive) as opened:
        write_wacz(opened, path, title="A test")
    data, large = path.read_bytes(), 0
    with zipfile.ZipFile(path) as package:
        for member in package.infolist():
            extra = int.from_bytes(data[member.header_offset + 28 :][:2], "little")
            assert bool(extra) == (member.file_size > limit)
            assert member.extra or not extra
            large += bool(extra)
            assert package.read(member)
    assert bool(large) == (limit == 1000)


def test_wacz_names_every_file_and_its_hash(archive: Path) -> None:
    path = archive / "x.wacz"
    with WarcReader(archive) as opened:
        assert write_wacz(opened, path, title="A test") == 5
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        about = json.loads(package.read("datapackage.json"))
        assert about["wacz_version"] == "1.1.1"
        named = {one["path"]: one for one in about["resources"]}
        assert set(named) | {"datapackage.json", "datapackage-digest.json"} == set(
            package.namelist()
        )
        for name, entry in named.items():
            data = package.read(name)
            assert entry["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
            assert entry["bytes"] == len(data)
        for info in package.infolist():
            if info.filename.startswith(("archive/", "indexes/index.cdx.gz")):
                assert info.compress_type == zipfile.ZIP_STORED
        lines = [json.loads(line) for line in package.read("pages/pages.jsonl").splitlines()]
        assert {line["title"] for line in lines[1:]} >= {"Home", "A", "Soon"}
        block = gzip.decompress(package.read("indexes/index.cdx.gz"))
        assert block.count(b"\n") == len(site())
        first, *idx = package.read("indexes/index.idx").decode().splitlines()
        assert first.startswith("!meta 0 ")
        assert idx[0].split(" ", 2)[:2] == block.decode().split(" ", 2)[:2]


def test_without_the_extra_zlib_packs_and_the_index_says_what_is_missing(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("isal", "surt"):
        monkeypatch.setitem(sys.modules, name, None)
    assert gzip.decompress(pack(b"text" * 1000, "gzip")) == b"text" * 1000
    with (
        WarcReader(archive) as opened,
        pytest.raises(ConfigError, match=r"surt package: pip install 'crawler\[archive\]'"),
    ):
        list(cdxj_lines(opened))
