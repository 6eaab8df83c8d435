"""Copies of finished files: as files rotate, again after a failure, refused in one line."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import OpenSite
from helpers.crawling import crawl, settings
from helpers.website import page, reply

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.main import _run
from crawler.errors import ConfigError, SinkError
from crawler.output.upload import copy_all, open_target

SITE = {
    "/": page("Home", [f"/{n}" for n in range(12)]),
    **{f"/{n}": reply(f"<p>{n}" * 300) for n in range(12)},
}


@pytest.fixture
def target() -> Iterator[str]:
    name = f"/{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    memory = fsspec.filesystem("memory")
    if memory.exists(name):
        memory.rm(name, recursive=True)


def there(target: str) -> dict[str, bytes]:
    system, root = open_target(target)
    return {
        path.removeprefix(f"{root}/"): system.cat_file(path)
        for path in (system.find(root) if system.exists(root) else [])
    }


def here(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


async def test_everything_is_there_in_the_end_and_archives_on_the_way(
    website: OpenSite, tmp_path: Path, target: str
) -> None:
    online = await website(SITE)
    config = settings(online.url, warc=True, max_file=1500, upload=target, concurrency=1, workers=1)
    async with open_crawl(config, dir=tmp_path) as running:
        await running.run()
        early = there(target)
    assert early, "no file was copied before the end"
    assert all(".warc" in name for name in early)
    assert there(target) == here(tmp_path)
    whole = here(tmp_path)
    assert all(whole[name].startswith(body) for name, body in early.items())
    assert sum(whole[name] != body for name, body in early.items()) <= 1, "the one on its way"
    assert copy_all(tmp_path, *open_target(target), target) < len(here(tmp_path)) / 2


async def test_what_fails_is_told_once_and_can_be_sent_later(
    website: OpenSite, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = await website(SITE)
    memory = type(fsspec.filesystem("memory"))
    put = memory.put_file

    def failing(self: Any, source: str, path: str, **more: Any) -> None:
        if "pages.jsonl" in path:
            raise OSError(111, "Connection refused")
        put(self, source, path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(memory, "put_file", failing)
        with pytest.raises(SinkError, match=r"1 files .*pages\.jsonl: .*refused.*export upload"):
            await crawl(settings(online.url, upload=target), tmp_path)
    assert "pages.jsonl" not in there(target)
    assert _run(["export", "upload", str(tmp_path), target]) == 0
    assert there(target) == here(tmp_path)


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output\.upload: nonsense://x: "):
        open_target("nonsense://x")
    assert _run(["crawl", "http://127.0.0.1:1/", "-O", str(tmp_path), "--upload", "no://x"]) == 2
    assert _run(["export", "upload", str(tmp_path / "none"), "memory://x"]) == 2
