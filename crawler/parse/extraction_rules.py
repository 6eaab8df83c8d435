r"""Extraction rules: a TOML file that says what to take from which pages. Read once, then pure.

[product]                        # a kind of record; its name goes into `_rule`
match = '/product/'              # regular expression on the URL; none: every page
each = "div.product"             # CSS: one record for each such element; none: one a page
model = "models.py:Product"      # a pydantic model that each record must satisfy; optional

[product.fields]
title = "h1"                     # the text of the first match
price = { css = ".price", regex = '[\d.]+', type = "float", required = true }
image = { css = "img", attr = "src", type = "url" }
tags  = { css = ".tag", list = true }
card  = { meta = "og:image", type = "url" }
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

import ada_url
import msgspec
from selectolax.lexbor import LexborHTMLParser

from crawler.errors import ConfigError
from crawler.parse.plugins import InvalidRecord, Plugin, PluginPage, named
from crawler.policy.patterns import compile_pattern, compile_text_pattern

TypeName = Literal["str", "int", "float", "bool", "date", "datetime", "url", "json", "html"]

MAX_LIST: Final = 1000
"""Values of one field of one record at most."""

_THOUSANDS: Final = re.compile(r"[-+]?\d{1,3}(?:[,\s'’]\d{3})+(?:\.\d+)?")
_TRUE: Final = frozenset({"true", "yes", "1", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "0", "off", "n", ""})


class ExtractionField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of a record. `css` empty: the element of the record itself. None of `list`: the
    first match. `regex`: its first group, or all it matches; a text that it does not match is
    no value. `required`: without it there is no record.
    """

    css: str = ""
    meta: str = ""  # instead of css: the content of <meta name=…> or <meta property=…>
    attr: str | None = None  # instead of the text
    regex: str | None = None
    type: TypeName = "str"
    list: bool = False
    required: bool = False
    default: Any = None


class ExtractionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of record, as written."""

    fields: dict[str, str | ExtractionField]
    match: str | None = None
    each: str | None = None
    model: str | None = None


class Extraction:
    """A rule, compiled; called like a plugin's function."""

    def __init__(self, name: str, rule: ExtractionRule) -> None:
        """Raises ValueError for a selector that is none, ConfigError for a pattern."""
        self.name = name
        self._match = None if rule.match is None else compile_pattern("match", rule.match)
        self._each = rule.each
        if rule.each is not None:
            _selector("each", rule.each)
        self._fields = {
            key: _Take(key, ExtractionField(css=field) if isinstance(field, str) else field)
            for key, field in rule.fields.items()
        }
        if not self._fields:
            raise ValueError("fields: none")
        self._model: Any = named(rule.model) if rule.model else None

    def fits(self, url: str) -> bool:
        """Whether it applies to a page of this URL."""
        return self._match is None or self._match.search(url) is not None

    def __call__(self, page: PluginPage) -> Iterator[dict[str, Any] | InvalidRecord]:
        for root in page.css(self._each) if self._each else [None]:
            try:
                record = self._record(page, root)
            except InvalidRecord as error:
                yield error
                continue
            if record is not None:
                yield record

    def _record(self, page: PluginPage, root: Any) -> dict[str, Any] | None:
        known = len(page.problems)
        taken = {key: take(page, root) for key, take in self._fields.items()}
        if root is None and not any(seen for _, seen in taken.values()):
            return None  # the page has nothing of this kind: not a fault
        for key, (value, _) in taken.items():
            if value is None and self._fields[key].field.required:
                raise InvalidRecord(f"no {key}")
        record = {key: value for key, (value, _) in taken.items()}
        if len(page.problems) > known and not any(record.values()):
            raise InvalidRecord("no value fits its type")
        if self._model is not None:
            try:
                record = self._model.model_validate(record).model_dump(mode="json")
            except ValueError as error:  # pydantic.ValidationError is one
                raise InvalidRecord(_first(error)) from error
        return {"_rule": self.name, **record}


class _Take:
    """A field, compiled: page and element in, value and whether there was anything out."""

    def __init__(self, name: str, field: ExtractionField) -> None:
        self.field = field
        self._name = name
        if field.css and field.meta:
            raise ValueError(f"{name}: css or meta, not both")
        if field.css:
            _selector(name, field.css)
        self._regex = None if field.regex is None else compile_text_pattern(name, field.regex)
        self._convert = _CONVERT[field.type]

    def __call__(self, page: PluginPage, root: Any) -> tuple[Any, bool]:
        values = []
        seen = False
        for text in self._texts(page, root):
            seen = True
            if self._regex is not None:
                found = self._regex.search(text)
                if found is None:
                    continue
                text = next((one for one in found.groups() if one is not None), found[0])  # noqa: PLW2901
            try:
                values.append(self._convert(text, page.base))
            except ValueError:
                page.problems.append(f"{self._name}: {text[:60]!r} is no {self.field.type}")
                continue
            if not self.field.list or len(values) >= MAX_LIST:
                break
        if self.field.list:
            return values or self.field.default or ([] if not self.field.required else None), seen
        return (values[0] if values else self.field.default), seen

    def _texts(self, page: PluginPage, root: Any) -> Iterator[str]:
        field = self.field
        if field.meta:
            if field.meta in page.meta:
                yield page.meta[field.meta]
            return
        if not field.css:
            nodes = [root] if root is not None else page.css("html")
        else:
            nodes = page.css(field.css) if root is None else root.css(field.css)
        for node in nodes:
            if field.attr is not None:
                value = node.attributes.get(field.attr)
                if value is not None:
                    yield value.strip()
            elif field.type == "html":
                yield node.html or ""
            else:
                yield " ".join(node.text(separator=" ").split())


def load_rules(names: Sequence[str]) -> tuple[Plugin, ...]:
    """The rules of TOML files, as plugins. Raises ConfigError, naming file, rule and field."""
    return tuple(rule for name in names for rule in _load(name))


def _load(name: str) -> Iterator[Plugin]:
    try:
        tree = tomllib.loads(Path(name).read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    if not tree:
        raise ConfigError(f"{name}: no rules in it")
    for key, value in tree.items():
        try:
            if not isinstance(value, Mapping):
                raise TypeError("is not a table")  # noqa: TRY301
            rule = msgspec.convert(value, ExtractionRule)
            extraction = Extraction(key, rule)
            yield Plugin(key, extraction, "rule", extraction.fits)
        except (ConfigError, msgspec.ValidationError, ValueError, TypeError) as error:
            raise ConfigError(f"{name}: [{key}] {_first(error)}") from error


def _selector(name: str, css: str) -> None:
    try:
        _EMPTY.css(css)
    except Exception as error:
        raise ValueError(f"{name}: {css!r} is not a CSS selector") from error


def _first(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
    return " ".join(lines[1:3] if len(lines) > 2 else lines)[:200]


def _number(text: str) -> str:
    """`1,234.5` → `1234.5`: separators of thousands, where they can be nothing else."""
    text = text.strip()
    return re.sub(r"[,\s'’]", "", text) if _THOUSANDS.fullmatch(text) else text


def _bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


_EMPTY: Final = LexborHTMLParser("<p>")

_CONVERT: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "str": lambda text, _: text,
    "html": lambda text, _: text,
    "int": lambda text, _: int(_number(text)),
    "float": lambda text, _: float(_number(text)),
    "bool": lambda text, _: _bool(text),
    "date": lambda text, _: date.fromisoformat(text.strip()[:10]).isoformat(),
    "datetime": lambda text, _: datetime.fromisoformat(text.strip()).isoformat(),
    "url": lambda text, base: ada_url.join_url(base, text.strip()),
    "json": lambda text, _: json.loads(text),
}
