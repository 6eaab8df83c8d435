"""Plugins: plain functions that see a page and yield records. They run in the parse process.

    def extract(page):
        yield {"heading": page.soup.h1.get_text()}

named `package.module:extract` or `path/to/file.py:extract`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crawler.errors import ConfigError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 1024 * 1024
"""Of one plugin on one page: records beyond are dropped, with a problem that says so."""


class Parsed:
    """A page as a plugin sees it. What is costly is made when it is asked for."""

    def __init__(self, url: str, html: str, title: str, text: str, links: tuple[str, ...]) -> None:
        self.url = url
        self.html = html
        self.title = title
        self.text = text
        self.links = links

    @cached_property
    def soup(self) -> BeautifulSoup:
        """The page in BeautifulSoup (html.parser): easy, and twenty times slower than `css`."""
        from bs4 import BeautifulSoup  # noqa: PLC0415 - 0.1 s, only for plugins that ask

        return BeautifulSoup(self.html, "html.parser")

    @cached_property
    def _tree(self) -> LexborHTMLParser:
        from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415

        return LexborHTMLParser(self.html)

    def css(self, selector: str) -> list[LexborNode]:
        """The nodes that a CSS selector matches."""
        return self._tree.css(selector)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A named function of a page."""

    name: str
    extract: Callable[[Parsed], Iterable[Any] | None]

    def run(self, page: Parsed, problems: list[str]) -> list[dict[str, Any]]:
        """Its records for one page; what it does wrong is a problem of that page alone."""
        records: list[dict[str, Any]] = []
        size = 0
        try:
            for record in self.extract(page) or ():
                if not isinstance(record, dict):
                    raise TypeError(f"yielded {type(record).__name__}, not a dict")  # noqa: TRY301
                size += len(msgspec.json.encode(record))
                if size > MAX_BYTES or len(records) >= MAX_RECORDS:
                    problems.append(f"plugin {self.name}: too many records, the rest is dropped")
                    break
                records.append(record)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - strangers' code may raise anything
            first = (str(error).splitlines() or [""])[0][:200]
            problems.append(f"plugin {self.name}: {type(error).__name__}: {first}")
        return records


def load_plugins(names: Sequence[str]) -> tuple[Plugin, ...]:
    """Raises ConfigError, naming the plugin, when one cannot be loaded."""
    return tuple(_load(name) for name in names)


def _load(name: str) -> Plugin:
    where, colon, function = name.rpartition(":")
    if not colon:
        where, function = name, "extract"
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            if spec is None or spec.loader is None:
                raise ImportError(where)  # noqa: TRY301
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        return Plugin(name, getattr(module, function))
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ConfigError(f"plugin {name}: {error}") from error
