"""Convert saved HTML bodies (`--save html`) to Markdown, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.loader import Settings, is_as_saved
from crawler.config.model import Config
from crawler.errors import ConfigError, FatalError
from crawler.export.columns import lines
from crawler.output.body_files import keep, path_for
from crawler.output.markdown_files import text_path
from crawler.parse.decode import to_text
from crawler.parse.markdown import to_markdown
from crawler.parse.reader import HTML
from crawler.policy.urls import Urls

BATCH_PAGES: Final = 32
"""Pages per task. As many batches as processes are in progress, so memory is bounded."""


class SavedBody(msgspec.Struct, frozen=True):
    """A page whose body was saved to a file."""

    url: str
    path: str
    charset: str
    title: str
    lang: str


def write_markdown(folder: Path, target: Path, *, processes: int) -> int:
    """Write one Markdown file per page below `target`; returns their number.

    Raises ConfigError when the crawl saved no bodies, FatalError for a file that cannot be read or
    written.
    """
    if not (folder / "html").is_dir():
        if (folder / "text").is_dir():
            raise ConfigError(f"{folder}: its pages are Markdown already, in {folder / 'text'}")
        raise ConfigError(f"{folder}: has no saved bodies; crawl with --text, or with --save html")
    config = _crawl_config(folder)
    context = multiprocessing.get_context("spawn")
    number = 0
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        bodies = _saved_bodies(folder)
        while batches := [
            batch for _ in range(processes * 2) if (batch := list(islice(bodies, BATCH_PAGES)))
        ]:
            for converted in pool.map(
                _convert_batch, batches, [target] * len(batches), [config] * len(batches)
            ):
                number += converted
    return number


def _saved_bodies(folder: Path) -> Iterator[SavedBody]:
    for _, line in lines(folder, "pages.jsonl", None):
        if line.get("outcome") == "done" and line.get("mime") in HTML:
            path = folder / "html" / path_for(line["url"], line["mime"])
            if path.exists():
                yield SavedBody(
                    line["url"],
                    str(path),
                    line.get("charset") or "",
                    line.get("title") or "",
                    line.get("lang") or "",
                )


def _convert_batch(bodies: list[SavedBody], target: Path, config: Config) -> int:
    """Convert a batch; runs in a child process."""
    urls = Urls(config.urls)
    for body in bodies:
        try:
            html, _, _ = to_text(Path(body.path).read_bytes(), body.charset)
            text = to_markdown(html, body.url, title=body.title, lang=body.lang, join=urls.join)
            keep(target, [(text_path(body.url), text.encode("utf-8", "replace"))], fsync=False)
        except OSError as error:
            raise FatalError(f"{error.filename}: {error.strerror}") from error
    return len(bodies)


def _crawl_config(folder: Path) -> Config:
    settings = Settings()
    path = folder / "crawl.toml"
    try:
        text = path.read_text("utf-8")
        is_as_saved(text)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    settings.toml(text, str(path))
    return settings.config()
