"""graph.bin: what is packed is what is read, whole or cut, and its keys are the frontier's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from helpers.crawling import crawl, settings
from helpers.website import Website, page, redirect
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import FatalError
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.output.graph import KINDS, GraphEdges, pack, read_edges
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Outlink

Open = Callable[..., Awaitable[Website]]

keys = st.binary(min_size=16, max_size=16)
links = st.lists(st.tuples(keys, st.sampled_from(list(Kind))), max_size=40)


def visit(number: int, found: list[tuple[bytes, Kind]]) -> CrawlResult:
    seen: tuple[Outlink, ...] = tuple(("u", "h", key, kind.value, "") for key, kind in found)
    return CrawlResult(CrawlUrl("u", "h", id=number), Outcome.DONE, found=seen)


@given(pages=st.lists(links, max_size=8), torn=st.integers(0, 30))
def test_what_is_packed_is_read_and_a_torn_end_is_left_out(
    pages: list[list[tuple[bytes, Kind]]], torn: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.bin"
    packed = [pack(visit(number, found)) for number, found in enumerate(pages)]
    whole = b"".join(packed)
    expected = [
        GraphEdges(number, [key for key, _ in found], bytes(KINDS.index(kind) for _, kind in found))
        for number, found in enumerate(pages)
    ]
    path.write_bytes(whole)
    assert list(read_edges(path)) == expected
    cut = max(0, len(whole) - torn)
    path.write_bytes(whole[:cut])
    ends = [sum(map(len, packed[: n + 1])) for n in range(len(packed))]
    assert list(read_edges(path)) == expected[: sum(end <= cut for end in ends)]
    if packed:
        path.write_bytes(whole)
        assert list(read_edges(path, len(packed[0]))) == expected[1:]
        assert list(read_edges(path, 0, len(packed[0]))) == expected[:1]


def test_no_graph_is_an_empty_one_and_a_folder_is_an_error(tmp_path: Path) -> None:
    assert list(read_edges(tmp_path / "graph.bin")) == []
    with pytest.raises(FatalError, match=str(tmp_path)):
        list(read_edges(tmp_path))


async def test_every_link_of_every_page_is_kept(website: Open, tmp_path: Path) -> None:
    site = await website(
        {"/": page(links=["/a", "/b"]), "/a": page(links=["/", "/b"]), "/b": redirect("/a")}
    )
    await crawl(settings(site.url), tmp_path)
    with FrontierReader(tmp_path / "frontier.db") as book:
        found = set()
        for edges in read_edges(tmp_path / "graph.bin"):
            (source,) = book.links([edges.source]).values()
            found |= {(source[0], book.url_of(key)) for key in edges.keys}
    pairs = {("/", "/a"), ("/", "/b"), ("/a", "/"), ("/a", "/b"), ("/b", "/a")}
    assert found == {(site.at(one), site.at(other)) for one, other in pairs}


async def test_without_the_graph_there_is_no_file(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    await crawl(settings(site.url, graph=False), tmp_path)
    assert not (tmp_path / "graph.bin").exists()
