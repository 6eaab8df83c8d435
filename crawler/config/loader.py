"""Merge settings from all sources into one Config. Pure: it reads no files.

    defaults < TOML files, in the order given < CRAWLER_… variables < flags < -s section.key=value

A variable is the key in capitals: `limits.max_pages` is `CRAWLER_LIMITS_MAX_PAGES`. As text, a list
is separated by commas or written as TOML (`["a", "b,c"]`), a table is TOML (`{Accept = "*/*"}`).
Every value keeps its origin, so an error says where the value came from and `--print-config` where
it was decided.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, get_type_hints

import msgspec
import tomli_w

from crawler.config.model import Config, Section
from crawler.errors import ConfigError
from crawler.utils import units

Origins = dict[str, str]
"""Where each key's value was set, by dotted key; a key that is missing has its default."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "polite": {"pace.per_host": 1, "pace.delay": 1.0, "pace.fast": False},
    "fast": {"pace.fast": True, "pace.delay": 0.0},
}
"""`fast`: with `pace.fast` one host may have every connection (the frontier sees to it)."""

SERVICE: Final = "CRAWLER_SERVICE_"
"""Variables of `crawler serve` and `crawler jobs`; see `crawler/service/settings.py`."""

OTHERS: Final = (SERVICE, "CRAWLER_PURE")
"""Variables of ours that set nothing in a crawl; the second: see `crawler/parse/native.py`."""

_TRUTH: Final = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


class SettingField(msgspec.Struct, frozen=True):
    """One thing that can be set."""

    key: str  # dotted: limits.max_pages
    kind: str  # bool, int, float, str, list, table
    unit: str  # s, B or nothing
    default: Any


@cache
def fields() -> Mapping[str, SettingField]:
    """Every key there is, in the order of the model. Worked out once: 4 ms."""
    found: dict[str, SettingField] = {}
    _collect(Config, "", found)
    return MappingProxyType(found)


def _collect(section: type[Section], prefix: str, found: dict[str, SettingField]) -> None:
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        key = prefix + field.name
        annotation = hints[field.name]
        if isinstance(annotation, type) and issubclass(annotation, Section):
            _collect(annotation, f"{key}.", found)
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        found[key] = SettingField(key, _kind(annotation), _unit(annotation), default)


def _kind(annotation: Any) -> str:
    shape = msgspec.inspect.type_info(annotation)
    if isinstance(shape, msgspec.inspect.UnionType):  # … | None
        shape = next(one for one in shape.types if not isinstance(one, msgspec.inspect.NoneType))
    while isinstance(shape, msgspec.inspect.Metadata):
        shape = shape.type
    name = type(shape).__name__.removesuffix("Type").lower()
    return {"vartuple": "list", "dict": "table", "literal": "str"}.get(name, name)


def _unit(annotation: Any) -> str:
    match = re.search(r"'unit': '(\w+)'", str(annotation))
    return match[1] if match else ""


def variable(key: str) -> str:
    """The environment variable of a key."""
    return f"CRAWLER_{key.replace('.', '_').upper()}"


class Settings:
    """Values with their origins, later ones over earlier ones; `config()` validates the sum."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._fields = fields()
        self.origins: Origins = {}

    def set(self, key: str, value: Any, origin: str) -> None:
        """One dotted key. Raises ConfigError when there is no such key or no sense in the value."""
        field = self._fields.get(key)
        if field is None:
            raise ConfigError(f"{origin}: {self._unknown(key)}")
        try:
            self._values[key] = _value(field, value)
        except ValueError as error:
            raise ConfigError(f"{origin}: {key}: {error}") from error
        self.origins[key] = origin

    def preset(self, name: str, origin: str) -> None:
        """Several keys under one name; see `PRESETS`."""
        for key, value in PRESETS[name].items():
            self.set(key, value, origin)

    def toml(self, text: str, name: str) -> None:
        """The text of a TOML file. Origins are `name:line`."""
        try:
            tree = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"{name}: not valid TOML: {error}") from error
        lines = _lines(text)
        self.tree(tree, lambda key: f"{name}:{lines[key]}" if key in lines else name)

    def tree(
        self, tree: Mapping[str, Any], origin: str | Callable[[str], str], prefix: str = ""
    ) -> None:
        """Nested mappings, as a parsed TOML document is."""
        for name, value in tree.items():
            key = prefix + name
            place = origin if isinstance(origin, str) else origin(key)
            is_section = any(known.startswith(f"{key}.") for known in self._fields)
            if isinstance(value, Mapping) and is_section:
                self.tree(value, origin, f"{key}.")
            elif is_section:
                raise ConfigError(f"{place}: {key} is a section, not a value")
            else:
                self.set(key, value, place)

    def environment(self, environ: Mapping[str, str]) -> None:
        """`CRAWLER_…` variables; one that names no key is an error, as anywhere else."""
        names = {variable(key): key for key in self._fields}
        for name in sorted(environ):
            if name.startswith("CRAWLER_") and not name.startswith(OTHERS):
                if name not in names:
                    raise ConfigError(f"{name}: no such setting{_hint(name, names)}")
                self.set(names[name], environ[name], name)

    def assignment(self, text: str) -> None:
        """`section.key=value`, as after `-s`."""
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-s {text}: expected section.key=value")
        self.set(key.strip(), value.strip(), "-s")

    def config(self) -> Config:
        """The validated sum. Raises ConfigError in one line that names key, value and origin."""
        tree: dict[str, Any] = {}
        for key, value in self._values.items():
            *sections, name = key.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
        try:
            return msgspec.convert(tree, Config, strict=False)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at ")
            key = re.sub(r"\[.*?\]", "", where.strip("`")).removeprefix("$.")
            origin = self.origins.get(key, "configuration")
            came = repr(self._values.get(key))
            raise ConfigError(
                f"{origin}: {key} = {came}: {message[:1].lower()}{message[1:]}"
            ) from error

    def _unknown(self, key: str) -> str:
        sections = {known.rpartition(".")[0] for known in self._fields} - {""}
        hint = _hint(key, [*sections, *self._fields])
        if not hint or key.rpartition(".")[0] not in hint:  # the right name, the wrong section?
            by_last = {known.rpartition(".")[2]: known for known in reversed([*self._fields])}
            near = difflib.get_close_matches(key.rpartition(".")[2], by_last, 1, 0.75)
            hint = f"; did you mean {by_last[near[0]]}?" if near else hint
        return f"{key}: no such setting{hint}"


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _value(field: SettingField, value: Any) -> Any:
    """A value as the model wants it, text as a person writes it. Raises ValueError."""
    if isinstance(value, str):
        value = _from_text(field, value)
    if isinstance(value, bool) and field.kind in {"int", "float"}:
        raise ValueError(f"expected a number, got {str(value).lower()}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}")
    return value


def _from_text(field: SettingField, text: str) -> Any:
    if not text.strip() and field.default is None:
        return None
    if field.kind in {"list", "table"}:
        return _several(field, text.strip())
    if field.kind == "bool":
        if text.strip().lower() not in _TRUTH:
            raise ValueError(f"expected true or false, got {text!r}")
        return _TRUTH[text.strip().lower()]
    if field.unit:
        return units.seconds(text) if field.unit == "s" else units.size(text)
    if field.kind == "float":
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"expected a number, got {text!r}") from None
    return text


def _several(field: SettingField, text: str) -> Any:
    if field.kind == "table" or text.startswith("["):
        try:
            return tomllib.loads(f"x = {text or '{}'}")["x"]
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"expected TOML, got {text!r}: {error}") from error
    return [part.strip() for part in text.split(",") if part.strip()]


def _lines(text: str) -> dict[str, int]:
    """The line of each key, as far as plain sections and plain keys go."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = f"{match[1]}."
            lines.setdefault(match[1], number)
        elif match := re.match(r"\s*([\w.-]+)\s*=", line):
            lines.setdefault(section + match[1], number)
    return lines


def with_settings(config: Config | None, **values: Any) -> Config:
    """A Config with keys changed, named by their last part where that is enough (`max_pages`)."""
    by_name: dict[str, str] = {}
    for key in fields():
        by_name.setdefault(key.rpartition(".")[2], key)
    settings = Settings()
    if config is not None:
        settings.tree(as_tree(config), "config")
    for name, value in values.items():
        if value is None:
            continue
        key = name if "." in name else by_name.get(name, name)
        plain = list(value) if isinstance(value, tuple | set | frozenset) else value
        settings.set(key, plain, name)
    return settings.config()


def with_implied(config: Config) -> Config:
    """What follows from other settings: a mirror is made from the archive and needs all it shows.

    An archive is for readers that do not know every Content-Encoding: zstd is not asked for.
    """
    output, scope, fetch = config.output, config.scope, config.fetch
    if output.mirror:
        output = msgspec.structs.replace(output, warc=True)
        scope = msgspec.structs.replace(scope, requisites=True)
    if output.warc:
        headers = {"Accept-Encoding": "gzip, deflate, br", **fetch.headers}
        fetch = msgspec.structs.replace(fetch, headers=headers)
    return msgspec.structs.replace(config, output=output, scope=scope, fetch=fetch)


def as_tree(config: Config) -> dict[str, Any]:
    """A Config as TOML knows it; what is None is left out."""
    tree: dict[str, Any] = _without_none(msgspec.to_builtins(config))
    return tree


def dump_toml(config: Config) -> str:
    """The whole effective configuration; reading it back gives the same Config.

    But for bytes of a file name that are no UTF-8, which TOML cannot have: `?` stands for each.
    """
    text = tomli_w.dumps(as_tree(config))
    return text if text.isascii() else units.unicode(text)


FIRST: Final = "# The settings of a crawl as they took effect; whole only with its last line.\n"
LAST: Final = "# whole: sha256:"
"""Before the checksum of all lines above it."""

ALWAYS: Final = ("seeds", "scope", "limits", "pace", "fetch", "retry", "robots", "output")
"""What every release wrote into the file. Of a file that was cut, the last is missing."""


def marked(text: str) -> str:
    """The text of a saved configuration, with what tells whether it is still whole."""
    text = FIRST + text
    return f"{text}{LAST}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_as_saved(text: str) -> bool:
    """Whether a configuration is as it was written, and not edited since. Raises ConfigError with
    what is missing, without the file's name, when it is not whole.

    A person may edit it: what has its last line, or no such lines at all as the files of earlier
    releases, and every section, is taken as it stands (decision 0097).
    """
    body, mark, digest = text.rpartition(LAST)
    if not mark and text.startswith(FIRST):
        raise ConfigError("was cut short: its last line is missing")
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        tree = None  # whoever reads it says where
    if tree is not None and (lacking := [name for name in ALWAYS if name not in tree]):
        raise ConfigError(f"was emptied or cut short: there is no {', '.join(lacking)}")
    return not mark or hashlib.sha256(body.encode()).hexdigest() == digest.strip()


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return list(tree) if isinstance(tree, tuple) else tree
