"""Answers that broke off: their links are followed, and the archive has what came."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from helpers.crawling import by_path, crawl, lines, settings
from helpers.website import Answer, Website, endless, page, raw, redirect, reply
from warcio.archiveiterator import ArchiveIterator

HALF = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
ODD = HALF + b"PHP Warning: x\r\nX-\xe9: \xe9\r\nnonsense\r\nContent-Length: 5\r\n\r\n<p>ok"


def archived(folder: Path) -> dict[str, list[tuple[str, str | None, bytes]]]:
    """Status, WARC-Truncated and payload of all responses by path, in their order."""
    found: dict[str, list[tuple[str, str | None, bytes]]] = {}
    again = []
    for file in sorted((folder / "warc").glob("*.warc*")):
        with file.open("rb") as stream:
            for record in ArchiveIterator(stream, check_digests="raise"):
                if record.rec_type in {"response", "revisit"}:
                    about = record.rec_headers
                    path = "/" + about["WARC-Target-URI"].split("/", 3)[3]
                    status = record.http_headers.get_statuscode()
                    body = record.raw_stream.read()
                    found.setdefault(path, []).append((status, about["WARC-Truncated"], body))
        with file.open("rb") as stream:
            again += [
                record.headers["WARC-Target-URI"]
                for record in FastIterator(stream)
                if record.headers["WARC-Type"] in {"response", "revisit"}
            ]
    assert len(again) == sum(len(some) for some in found.values())
    return found


async def test_what_came_is_read_and_archived_and_says_that_it_is_not_whole(tmp_path: Path) -> None:
    cut = HALF + b"Content-Length: 5000\r\n\r\n<title>Half</title><a href=/from/cut>"
    taking = tmp_path / "rules.toml"
    taking.write_text("[title]\nmatch = ''\n[title.fields]\nname = { css = 'title' }\n", "utf-8")
    chunks = (
        HALF + b"Transfer-Encoding: chunked\r\n\r\n1b\r\n<p><a href=/from/chunks>x</a>\r\nzz\r\n"
    )
    site: dict[str, Answer] = {
        "/": page(links=["/cut", "/chunks", "/still", "/large", "/announced", "/odd"]),
        "/cut": raw(cut),
        "/chunks": raw(chunks),
        "/still": endless(b"<p><a href=/from/still>", pause=60.0),
        "/large": endless(b"<a href=/from/large>" * 500),
        "/announced": reply(b"<a href=/from/announced>" * 5000),
        "/odd": raw(ODD),
    }
    there = {f"/from/{name}": page() for name in ("cut", "chunks", "still")}
    async with Website(site | there) as online:
        rules: dict[str, Any] = {"warc": True, "retries": 0, "idle_timeout": 1.0}
        rules["rules"] = str(taking)
        await crawl(settings(online.url, max_body=50_000, **rules), tmp_path / "crawl")
        assert not [path for path in online.hits if path in {"/from/large", "/from/announced"}]
    found = by_path(tmp_path / "crawl")
    assert {path for path in found if path.startswith("/from/")} == set(there)
    assert found["/cut"]["outcome"] == "failed"
    assert found["/cut"]["reason"] == "truncated:shorter than its Content-Length"
    assert found["/cut"]["status"] == 200
    assert found["/cut"]["title"] == "Half"
    assert found["/cut"]["links_out"] == 1
    assert found["/still"]["reason"] == "timeout:idle"
    assert found["/large"]["reason"].startswith("too-large")
    taken = {line["_url"] for line in lines(tmp_path / "crawl" / "records.jsonl")}
    assert found["/from/cut"]["url"] in taken
    assert found["/cut"]["url"] not in taken, "half a page is no record"
    kept = archived(tmp_path / "crawl")
    assert kept["/cut"] == [("200", "disconnect", cut.partition(b"\r\n\r\n")[2])]
    assert kept["/chunks"] == [("200", "disconnect", b"<p><a href=/from/chunks>x</a>"[:27])]
    assert kept["/still"] == [("200", "time", b"<p><a href=/from/still>")]
    assert [(status, why) for status, why, _ in kept["/large"]] == [("200", "length")]
    assert len(kept["/large"][0][2]) == 50_000
    assert [(status, why) for status, why, _ in kept["/announced"]] == [("200", "length")]
    assert kept["/odd"] == [("200", None, b"<p>ok")]
    assert list((tmp_path / "crawl" / "spool").iterdir()) == []


async def test_of_an_answer_that_is_no_page_the_status_counts(tmp_path: Path) -> None:
    gone = b"HTTP/1.1 404 Gone\r\nContent-Type: text/html\r\nContent-Length: 90\r\n\r\n<a href=/x>"
    async with Website({"/": page(links=["/gone"]), "/gone": raw(gone)}) as online:
        await crawl(settings(online.url, warc=True), tmp_path / "crawl")
        assert (online.hits["/gone"], online.hits["/x"]) == (1, 0)
    assert by_path(tmp_path / "crawl")["/gone"]["reason"] == "status:404"
    assert archived(tmp_path / "crawl")["/gone"] == [("404", "disconnect", b"<a href=/x>")]


async def test_a_connection_that_breaks_does_not_end_a_body(tmp_path: Path) -> None:
    async with Website({"/": raw(HALF + b"\r\n<a href=/half>", reset=True)}) as online:
        await crawl(settings(online.url, warc=True, retries=0), tmp_path / "crawl")
        assert online.hits["/half"] == 1
    assert by_path(tmp_path / "crawl")["/"]["reason"] == "truncated:the connection broke"
    assert archived(tmp_path / "crawl")["/"] == [("200", "disconnect", b"<a href=/half>")]


async def test_a_try_that_broke_off_is_tried_again_before_it_is_read(tmp_path: Path) -> None:
    answers = iter([HALF + b"Content-Length: 500\r\n\r\n<a href=/half>", ODD])

    async def first_half(asked: Any) -> Any:
        return await raw(next(answers))(asked)

    async with Website({"/": first_half}) as online:
        await crawl(settings(online.url, warc=True, spool_above=4), tmp_path / "crawl")
        assert online.hits["/half"] == 0
    assert by_path(tmp_path / "crawl")["/"]["outcome"] == "done"
    assert archived(tmp_path / "crawl")["/"] == [("200", None, b"<p>ok")]
    assert list((tmp_path / "crawl" / "spool").iterdir()) == []


@pytest.mark.parametrize("spool_above", [1, 1_000_000])
@pytest.mark.parametrize(("announced", "outcome"), [(6000, "done"), (6001, "failed")])
async def test_gzip_with_the_length_of_what_it_unpacks_to_is_whole(
    tmp_path: Path, spool_above: int, announced: int, outcome: str
) -> None:
    body = gzip.compress(b"<p>six</p>" * 600)
    head = HALF + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % announced
    async with Website({"/": raw(head + body)}) as online:
        rules = settings(online.url, warc=True, spool_above=spool_above, retries=0)
        await crawl(rules, tmp_path / "crawl")
    assert by_path(tmp_path / "crawl")["/"]["outcome"] == outcome
    assert by_path(tmp_path / "crawl")["/"]["bytes_body"] == 6000
    why = None if outcome == "done" else "disconnect"
    assert archived(tmp_path / "crawl")["/"] == [("200", why, body)]


@pytest.mark.parametrize("spool_above", [1, 1_000_000])
@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (reply("User-agent: *\nDisallow: /no", mime="text/plain"), ["200"]),
        (page("none", status=404), ["404"]),
        (page("down", status=503), ["503", "503"]),
        (page("down", status=500), ["500", "500"]),
        (raw(HALF + b"Content-Length: 90\r\n\r\nUser-agent: *"), ["200"]),
    ],
)
async def test_every_robots_txt_is_in_the_archive_and_leaves_no_file(
    tmp_path: Path, answer: Answer, kept: list[str], spool_above: int
) -> None:
    async with Website({"/": page(), "/robots.txt": answer}) as online:
        rules = settings(online.url, warc=True, spool_above=spool_above, retries=0)
        await crawl(rules, tmp_path / "crawl")
    found = [status for status, _, _ in archived(tmp_path / "crawl")["/robots.txt"]]
    assert found[: len(kept)] == kept
    assert list((tmp_path / "crawl" / "spool").iterdir()) == []


async def test_the_redirects_before_a_robots_txt_are_archived_too(tmp_path: Path) -> None:
    site = {
        "/": page(links=["/no"]),
        "/robots.txt": redirect("/one"),
        "/one": redirect("/two", 301),
        "/two": reply("User-agent: *\nDisallow: /no", mime="text/plain"),
    }
    async with Website(site) as online:
        rules = settings(online.url, warc=True, spool_above=1)
        await crawl(rules, tmp_path / "crawl")
        assert online.hits["/no"] == 0
    found = archived(tmp_path / "crawl")
    assert [found[path][0][0] for path in ("/robots.txt", "/one", "/two")] == ["302", "301", "200"]
    assert list((tmp_path / "crawl" / "spool").iterdir()) == []
