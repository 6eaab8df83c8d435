"""Plugins: plain functions that see a page and yield records. They run in the parse process.

    def extract(page):
        yield {"heading": page.soup.h1.get_text()}
        yield Follow("/page/2")           # from crawler import Follow

named `package.module:extract` or `path/to/file.py:extract`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import signal
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crawler.errors import ConfigError
from crawler.parse.workers.countdown import Overdue
from crawler.records import Follow, PluginRun
from crawler.utils.units import unicode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 1024 * 1024
"""Of one plugin on one page: records and links beyond are dropped, with a problem that says so."""

TOO_MANY_RECORDS: Final = "tooManyRecords"

FRAMES: Final = 10
"""Innermost frames of a failure's traceback that are told, of each error in its chain."""

MAX_TRACEBACK: Final = 4000
"""Characters of a traceback that are told, the last ones."""


class InvalidRecord(Exception):
    """A record that lacks what it must have; the message says what. A rule yields it."""


class PluginPage:
    """A page as a plugin sees it. What is costly is made when it is asked for.

    `base` is what relative addresses are joined to. `problems` may be added to: short sentences
    that go into the page's record.
    """

    def __init__(
        self,
        url: str,
        html: str,
        title: str,
        text: str,
        links: tuple[str, ...],
        *,
        base: str = "",
        problems: list[str] | None = None,
        cuts: list[str] | None = None,
    ) -> None:
        self.url = url
        self.html = html
        self.title = title
        self.text = text
        self.links = links
        self.base = base or url
        self.problems: list[str] = [] if problems is None else problems
        self.cuts: list[str] = [] if cuts is None else cuts  # limits that left something out

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

    @cached_property
    def meta(self) -> dict[str, str]:
        """<meta> by name or property (`description`, `og:title`), the first of each."""
        found: dict[str, str] = {}
        for node in self.css("meta[content]"):
            attributes = node.attributes
            name = (
                attributes.get("name") or attributes.get("property") or attributes.get("itemprop")
            )
            if name:
                found.setdefault(name.strip(), (attributes["content"] or "").strip())
        return found

    @cached_property
    def json_ld(self) -> list[dict[str, Any]]:
        """The objects of the page's JSON-LD, `@graph` opened; what is not JSON is left out."""
        found: list[dict[str, Any]] = []
        for node in self.css('script[type="application/ld+json"]'):
            try:
                tree = json.loads(node.text(strip=True), strict=False)
            except (ValueError, RecursionError):
                continue
            for one in tree if isinstance(tree, list) else [tree]:
                if isinstance(one, dict):
                    graph = one.get("@graph")
                    several = graph if isinstance(graph, list) else [one]
                    found += [each for each in several if isinstance(each, dict)]
        return found


@dataclass(slots=True)
class Plugin:
    """A named function of a page; a rule is one too. `fits`: to which URLs it applies."""

    name: str
    extract: Callable[[PluginPage], Iterable[Any] | None]
    kind: str = "plugin"
    fits: Callable[[str], bool] | None = None
    _traced: bool = False  # the traceback of a failure was handed on: once a process

    def run(self, page: PluginPage) -> tuple[list[dict[str, Any]], list[Follow], PluginRun]:
        """Its records and links for one page, and how it went; what it does wrong is a problem of
        that page alone.

        A pydantic model is taken for the record that it dumps to. It has failed when it raised, or
        when of records that were not fit none is left.
        """
        records: list[dict[str, Any]] = []
        follow: list[Follow] = []
        if self.fits is not None and not self.fits(page.url):
            return records, follow, PluginRun(self.kind, self.name, fits=False)
        size = 0
        unfit = raised = trace = ""
        try:
            for one in self.extract(page) or ():
                if isinstance(one, InvalidRecord):
                    page.problems.append(f"{self.kind} {self.name}: {one}")
                    unfit = unfit or unicode(str(one))
                    continue
                if isinstance(one, Follow):
                    follow.append(one)
                    size += len(one.url)
                else:
                    record = one if isinstance(one, dict) else _dumped(one)
                    size += len(msgspec.json.encode(record))
                    records.append(record)
                if size > MAX_BYTES or len(records) + len(follow) > MAX_RECORDS:
                    (follow if isinstance(one, Follow) else records).pop()
                    page.problems.append(
                        f"{self.kind} {self.name}: too many records, the rest is dropped"
                    )
                    page.cuts.append(TOO_MANY_RECORDS)
                    unfit = unfit or "gave more than is kept of one page"
                    break
        except (MemoryError, Overdue):
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and _interruptible():
                raise
            raised = _line(error)
            page.problems.append(f"{self.kind} {self.name}: {raised}")
            if not self._traced:
                self._traced = True
                trace = _trace(error)
        took = bool(records or follow)
        failure = raised or ("" if took else unfit)
        return records, follow, PluginRun(self.kind, self.name, True, took, failure, trace)


def _interruptible() -> bool:
    """Whether a Ctrl-C would raise KeyboardInterrupt here: parse processes are told not to mind."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _line(error: BaseException) -> str:
    """What went wrong, in a line that every encoder takes."""
    try:
        first = (str(error).splitlines() or [""])[0][:200]
    except Exception:  # noqa: BLE001 - strangers' errors may not even have words
        first = ""
    return unicode(f"{type(error).__name__}: {first}")


def _trace(error: BaseException) -> str:
    """Where it went wrong: the innermost frames, without the call of ours."""
    if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        error = error.with_traceback(error.__traceback__.tb_next)
    text = "".join(traceback.format_exception(error, limit=-FRAMES)).rstrip()
    return unicode(text[-MAX_TRACEBACK:])


def _dumped(one: Any) -> dict[str, Any]:
    dump = getattr(one, "model_dump", None)
    if dump is None:
        raise TypeError(f"yielded {type(one).__name__}, not a dict")
    record: dict[str, Any] = dump(mode="json")
    return record


def load_plugins(names: Sequence[str]) -> tuple[Plugin, ...]:
    """Raises ConfigError, naming the plugin, when one cannot be loaded."""
    return tuple(Plugin(name, named(name)) for name in names)


def named(name: str) -> Any:
    """What `package.module:name` or `path/to/file.py:name` names; without a name, `extract`.

    Raises ConfigError.
    """
    where, function = _parts(name)
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            if spec is None or spec.loader is None:
                raise ImportError(where)  # noqa: TRY301
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
        return getattr(module, function)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise ConfigError(f"plugin {name}: {type(error).__name__}: {first}") from error


def check_plugins(names: Sequence[str]) -> None:
    """See before a crawl starts, without running them, that plugins are there.

    Raises ConfigError: a parse process that cannot load one could not say so as clearly.
    """
    for name in names:
        where, function = _parts(name)
        if not where.endswith(".py"):
            try:
                there = importlib.util.find_spec(where) is not None
            except (ImportError, ValueError):
                there = False
            if not there:
                raise ConfigError(f"plugin {name}: no module {where!r}")
            continue
        try:
            tree = ast.parse(Path(where).read_bytes())
        except OSError as error:
            raise ConfigError(f"plugin {name}: {where}: {error.strerror}") from error
        except (SyntaxError, ValueError) as error:
            raise ConfigError(f"plugin {name}: {where}: {error}") from error
        if not any(function in _names(node) for node in tree.body):
            raise ConfigError(f"plugin {name}: {where} has no {function!r}")


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement at a module's top may bind; those of blocks are not told apart."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    names |= {one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef)}
    for one in ast.walk(node):
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in one.names}
    return names


def _parts(name: str) -> tuple[str, str]:
    where, colon, function = name.rpartition(":")
    return (where, function) if colon else (name, "extract")
