"""Settings from everywhere, merged into one Config. Pure: reading files is a door's job.

    defaults < TOML files, in the order given < CRAWLER_… variables < flags < -s section.key=value

A variable is the key in capitals: `limits.max_pages` is `CRAWLER_LIMITS_MAX_PAGES`, lists are
separated by commas. Every value keeps its origin, so an error says where the value came from and
`--print-config` where it was decided.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_type_hints

import msgspec
import tomli_w

from crawler.config import Config, Section
from crawler.errors import ConfigError

Origins = dict[str, str]
"""Where each key's value was set, by dotted key; a key that is missing has its default."""

DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES: Final = {
    "": 1, "b": 1, "k": 1000, "kb": 1000, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9,
    "t": 10**12, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


class Field(msgspec.Struct, frozen=True):
    """One thing that can be set."""

    key: str  # dotted: limits.max_pages
    kind: str  # bool, int, float, str, list, table
    unit: str  # s, B or nothing
    default: Any


def fields() -> dict[str, Field]:
    """Every key there is, in the order of the model."""
    found: dict[str, Field] = {}
    _collect(Config, "", found)
    return found


def _collect(section: type[Section], prefix: str, found: dict[str, Field]) -> None:
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
        found[key] = Field(key, _kind(annotation), _unit(annotation), default)


def _kind(annotation: Any) -> str:
    text = str(annotation)
    for needle, kind in (
        ("tuple", "list"), ("dict", "table"), ("bool", "bool"), ("float", "float"),
        ("int,", "int"), ("int]", "int"), ("int'", "int"), ("int |", "int"),
    ):  # fmt: skip
        if needle in text:
            return kind
    return "str"


def _unit(annotation: Any) -> str:
    match = re.search(r"'unit': '(\w+)'", str(annotation))
    return match[1] if match else ""


# ── values ───────────────────────────────────────────────────────────────────────────────────


def seconds(text: str) -> float:
    """`90`, `1.5s`, `500ms`, `1h30m` → seconds. Raises ValueError."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise ValueError(f"{text!r} is not a duration such as 90, 500ms or 1h30m")
    return sum(float(number) * DURATIONS[unit] for number, unit in parts)


def size(text: str) -> int:
    """`500k`, `10MiB`, `1.5GB` → bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in SIZES:
        raise ValueError(f"{text!r} is not a size such as 500k, 10MiB or 1.5GB")
    return int(float(match[1]) * SIZES[match[2].lower()])


def _from_text(field: Field, text: str) -> Any:
    """A value that came as text (environment, flag, `-s`), as the model wants it."""
    if text == "" and field.default is None:
        return None
    if field.kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.kind == "bool":
        known = {"1": True, "true": True, "yes": True, "on": True}
        known |= {"0": False, "false": False, "no": False, "off": False}
        if text.strip().lower() not in known:
            raise ValueError(f"{text!r} is neither true nor false")
        return known[text.strip().lower()]
    return text


def _with_units(field: Field, value: Any) -> Any:
    if isinstance(value, str) and field.unit == "s":
        return seconds(value)
    if isinstance(value, str) and field.unit == "B":
        return size(value)
    return value


# ── merging ──────────────────────────────────────────────────────────────────────────────────


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
            if isinstance(value, str):
                value = _from_text(field, value)
            self._values[key] = _with_units(field, value)
        except ValueError as error:
            raise ConfigError(f"{origin}: {key}: {error}") from error
        self.origins[key] = origin

    def tree(self, tree: Mapping[str, Any], origin: str, prefix: str = "") -> None:
        """A parsed TOML document."""
        for name, value in tree.items():
            key = prefix + name
            if isinstance(value, Mapping) and key not in self._fields:
                if not any(known.startswith(f"{key}.") for known in self._fields):
                    raise ConfigError(f"{origin}: {self._unknown(key)}")
                self.tree(value, origin, f"{key}.")
            else:
                self.set(key, value, origin)

    def environment(self, environ: Mapping[str, str]) -> None:
        """`CRAWLER_…` variables; one that names no key is an error, as anywhere else."""
        names = {f"CRAWLER_{key.replace('.', '_').upper()}": key for key in self._fields}
        for name in sorted(environ):
            if name.startswith("CRAWLER_"):
                if name not in names:
                    near = difflib.get_close_matches(name, names, 1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise ConfigError(f"{name}: no such setting{hint}")
                self.set(names[name], environ[name], name)

    def assignment(self, text: str) -> None:
        """`section.key=value`, as after `-s`."""
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-s {text}: expected section.key=value")
        self.set(key.strip(), value, f"-s {text}")

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
            value = self._values.get(key)
            origin = self.origins.get(key, "configuration")
            raise ConfigError(
                f"{origin}: {key} = {value!r}: {message[:1].lower()}{message[1:]}"
            ) from error

    def _unknown(self, key: str) -> str:
        near = difflib.get_close_matches(key, self._fields, 1, 0.6)
        if not near:  # the right name in the wrong section
            last = key.rpartition(".")[2]
            names = {known.rpartition(".")[2]: known for known in self._fields}
            near = [names[name] for name in difflib.get_close_matches(last, names, 1, 0.6)]
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}: no such setting{hint}"


def with_settings(config: Config | None, **values: Any) -> Config:
    """A Config with keys changed, named by their last part where that is enough (`max_pages`)."""
    by_name: dict[str, str] = {}
    for key in fields():
        by_name.setdefault(key.rpartition(".")[2], key)
    # `scope` and `timeout` name a setting before they name a section
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


# ── writing ──────────────────────────────────────────────────────────────────────────────────


def as_tree(config: Config) -> dict[str, Any]:
    """A Config as TOML knows it; what is None is left out."""
    tree: dict[str, Any] = _without_none(msgspec.to_builtins(config))
    return tree


def dump_toml(config: Config) -> str:
    """The whole effective configuration; reading it back gives the same Config."""
    return tomli_w.dumps(as_tree(config))


def explain(config: Config, origins: Origins) -> str:
    """Valid TOML in which each line says where its value comes from."""
    lines: list[str] = []
    section = ""
    built = msgspec.to_builtins(config)
    for key in fields():
        head, _, name = key.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        value = built
        for part in key.split("."):
            value = value[part]
        origin = origins.get(key, "default")
        if value is None:
            lines.append(f"# {name} is not set  ({origin})")
            continue
        if isinstance(value, dict):
            inner = ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items())
            text = "{" + inner + "}"
        else:
            text = _toml(value)
        lines.append(f"{name} = {text}  # {origin}")
    return "\n".join(lines).strip() + "\n"


def _toml(value: Any) -> str:
    return tomli_w.dumps({"x": value}).partition("=")[2].strip().replace("\n", " ")


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, tuple):
        return list(tree)
    return tree


def names(keys: Iterable[str]) -> list[str]:
    """Environment variables of keys, for the documentation."""
    return [f"CRAWLER_{key.replace('.', '_').upper()}" for key in keys]
