"""Answers are read as curl and browsers read them, however they are cut into packets."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError
from aiohttp.http import HttpProcessingError
from http_answers import CASES, EXPLAINED, PAGE, generated, recorded
from http_oracles import DOCUMENT, Server, Verdict, all_by_curl, all_by_us, table, told
from hypothesis import given
from hypothesis import strategies as st

from crawler.fetch.body_reader import rest_of
from crawler.fetch.client import FIELD, FIELDS, LINE
from crawler.fetch.connector import _GuardedProtocol
from crawler.fetch.lenient_reader import HEAD, SIZE_LINE
from crawler.fetch.parser import KEPT

FULL = 2500
"""Answers in `make test-http`."""


@pytest.mark.parametrize(
    ("cuts", "cookies"),
    [((), False), ((1, 9, 17, 30, 60, 90, 120, 150, 180), False), ((), True)],
    ids=["whole", "cut", "with cookies"],  # with a jar aiohttp's session is asked
)
async def test_each_answer_is_read_as_was_recorded(
    tmp_path: Path, cuts: tuple[int, ...], *, cookies: bool
) -> None:
    async with Server(list(CASES.values()), cuts).open() as server:
        verdicts = await all_by_us(tmp_path, server, cookies=cookies)
    found = dict(zip(CASES, map(told, verdicts), strict=True))
    assert found == {name: by["here"] for name, by in recorded().items()}


def test_the_record_is_whole_and_the_document_tells_it() -> None:
    assert list(recorded()) == list(CASES)
    assert table(recorded()) in DOCUMENT.read_text("utf-8"), "python tests/http_oracles.py"


# ── the same, whatever the packets ───────────────────────────────────────────────────────────


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, _: str) -> None: ...


def conversed(
    pieces: list[bytes], *, first: bool = True, head_only: bool = False
) -> tuple[object, ...]:
    """Status, body, whether it is whole, and whether the connection may serve again, of an answer
    that came in these pieces.
    """

    async def converse() -> tuple[object, ...]:
        protocol = _GuardedProtocol(asyncio.get_running_loop())
        wire: Any = Wire()
        protocol.connection_made(wire)
        protocol.first = first
        protocol.set_response_params(
            skip_payload=head_only, read_until_eof=True, auto_decompress=False,
            read_bufsize=1 << 16, max_line_size=LINE, max_field_size=FIELD, max_headers=FIELDS,
        )  # fmt: skip
        for piece in pieces:
            if not wire.closed:
                protocol.data_received(piece)
        there = await protocol.read() if len(protocol) else None
        kept = not protocol.should_close
        protocol.connection_lost(None)
        try:
            head, content = there or await protocol.read()
        except (HttpProcessingError, ClientError) as error:
            return type(error).__name__, b"", False, False
        assert content.is_eof() or content.exception() is not None, "its reader waits for ever"
        whole = content.exception() is None
        return head.code, rest_of(content), whole, kept

    return asyncio.run(converse())


PIECEWISE = [raw for name, raw in CASES.items() if len(raw) < 2000 and name != "nothing"]
PIECEWISE += [made.raw for made in generated(200, seed=7) if len(made.raw) < 2000]


@given(st.sampled_from(PIECEWISE), st.lists(st.integers(1, 400), max_size=6))
def test_it_does_not_matter_how_an_answer_is_cut(raw: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[start:stop] for start, stop in pairwise(places)]
    status, body, whole, kept = conversed([raw])
    assert conversed(pieces)[:3] == (status, body, whole)
    assert conversed([raw[at : at + 1] for at in range(len(raw))])[:3] == (status, body, whole)
    assert kept in {True, False}


# ── a connection is never spoilt ─────────────────────────────────────────────────────────────

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 51\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"X Y: z\r\n\r\n" + PAGE,
        OK + b"Content-Length: 51\r\n\r\n" + PAGE,
        OK + b"\r\n" + PAGE + b"more",
        OK + b"\r\n" + PAGE + OK + b"\r\n" + PAGE,
        OK + b"Transfer-Encoding: chunked\r\n\r\n33\r\n" + PAGE + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
    ],
)
def test_whatever_is_in_doubt_closes_its_connection(raw: bytes) -> None:
    assert conversed([OK + b"\r\n" + PAGE]) == (200, PAGE, True, True)
    assert conversed([raw])[2:] == (True, False)


def test_an_odd_answer_to_head_has_no_body() -> None:
    raw = OK + b"X Y: z\r\n\r\n"
    assert conversed([raw], head_only=True) == (200, b"", True, False)
    assert conversed([raw[:20], raw[20:]], head_only=True) == (200, b"", True, False)


@pytest.mark.parametrize("left", [b"x", b"</html>", b"X Y: z\r\n\r\n"])
def test_what_was_left_of_another_answer_is_no_part_of_this_one(left: bytes) -> None:
    raw = left + OK + b"X Y: z\r\n\r\n" + PAGE
    assert conversed([raw], first=False)[0] == "HttpProcessingError"
    assert conversed([b"x" + OK + b"\r\n" + PAGE], first=True)[:2] == (200, PAGE)


# ── limits ───────────────────────────────────────────────────────────────────────────────────


def test_a_head_and_what_stands_around_chunks_are_bounded() -> None:
    odd = b"HTTP/1.1 200 OK\r\nX Y: z\r\n"
    field = b"X: " + b"y" * 30_000 + b"\r\n"
    end = b"Content-Length: 51\r\n\r\n" + PAGE
    assert conversed([odd, *[field] * 8, end])[:2] == (200, PAGE)
    assert conversed([odd, *[field] * (HEAD // len(field) + 1), end])[0] == "HttpProcessingError"
    assert conversed([odd, b"x" * HEAD, b"x", end])[0] == "HttpProcessingError"
    assert conversed([b"H" * 7 + b"\n", end])[0] == "HttpProcessingError"
    chunked = [b"HTTP/1.1 200 OK\r\n", *[field] * 10, b"Transfer-Encoding: chunked\r\n\r\n"]
    assert conversed([*chunked, b"1\r\nx\r\nzz\r\n"])[:3] == (200, b"x", False)
    odd += b"Transfer-Encoding: chunked\r\n\r\n"
    assert conversed([odd, b"1;", b"x" * SIZE_LINE, b"x"])[:3] == (200, b"", False)
    assert conversed([odd, b"1\r\nx\r\n", b"0" * SIZE_LINE, b"0"])[:3] == (200, b"x", False)


def test_of_a_long_chunked_body_only_the_beginning_is_read_again() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    part = b"y" * 1000
    chunk = b"3e8\r\n" + part + b"\r\n"
    few, many = 50, KEPT // len(chunk) + 1
    end = b"0\r\nfoo bar\r\n\r\n"
    assert conversed([head, *[chunk] * few, end])[:3] == (200, part * few, True)
    status, body, whole, _ = conversed([head, *[chunk] * many, end])
    assert (status, body, whole) == (200, part * many, False)


# ── curl, answer by answer ───────────────────────────────────────────────────────────────────


async def compared(folder: Path, number: int, seed: int) -> Counter[str]:
    """How many answers of the grammar curl reads as we do, and why the others not."""
    made = list(generated(number, seed))
    async with Server([one.raw for one in made]).open() as server:
        ours = await all_by_us(folder, server)
        theirs = await all_by_curl(server)
    found: Counter[str] = Counter()
    for one, here, there in zip(made, ours, theirs, strict=True):
        if _same(here, there):
            found["alike"] += 1
            continue
        why = [tag for tag in one.tags if tag in EXPLAINED]
        assert why, (one.raw, told(here), told(there), here.body, there.body)
        found[why[0]] += 1
    return found


def _same(here: Verdict, there: Verdict) -> bool:
    """Whether both say the same; of a redirect only where it leads counts, of an answer that is no
    page its status: that its body breaks off is curl's to say.
    """
    if here.location or there.location:
        return told(here) == told(there)
    if here.status == there.status >= 300:
        return here.body == there.body
    return here == there


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on PATH")
async def test_some_answers_are_read_as_curl_reads_them(tmp_path: Path) -> None:
    found = await compared(tmp_path, 60, seed=60)
    assert found["alike"] > 20


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not on PATH")
async def test_thousands_of_answers_are_read_as_curl_reads_them(tmp_path: Path) -> None:
    found = await compared(tmp_path, FULL, seed=1)
    print(f"\n{FULL} answers, {found.pop('alike')} read alike")  # noqa: T201 - what was found
    for tag, count in found.most_common():
        print(f"{count:6} {tag}: {EXPLAINED[tag]}")  # noqa: T201
    assert found.total() < FULL / 2
