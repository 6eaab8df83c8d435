"""Whole crawls in tests: open, run, and read back what was written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings
from crawler.config.model import Config
from crawler.engine.engine import Engine

PATIENCE = 120.0


def settings(*seeds: str, **values: Any) -> Config:
    """A quick configuration: no pacing, one parse process."""
    return with_settings(
        None,
        **{"seeds": seeds, "fast": True, "processes": 1, "base": 0.01, "patience": 0.2, **values},
    )


async def crawl(
    config: Config, folder: Path, mode: Literal["new", "fresh", "resume"] = "new"
) -> Engine:
    """Run a crawl to its end."""
    async with asyncio.timeout(PATIENCE), open_crawl(config, dir=folder, mode=mode) as running:
        await running.run()
    return running


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of pages.jsonl."""
    return lines(folder / "pages.jsonl")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON file; every one must be whole."""
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def by_path(folder: Path) -> dict[str, dict[str, Any]]:
    """Records by path; none may be there twice."""
    found = records(folder)
    paths = ["/" + str(line["url"]).split("/", 3)[3] for line in found]
    assert len(set(paths)) == len(paths), "a page was written twice"
    return dict(zip(paths, found, strict=True))


def outcomes(folder: Path) -> dict[str, str]:
    return {path: line["outcome"] for path, line in by_path(folder).items()}


def reasons(found: Sequence[dict[str, Any]]) -> set[str]:
    return {str(line["reason"]) for line in found if line["reason"]}
