"""Every setting as TOML with comments: `--print-config`, and config/default.toml. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import tomli_w

from crawler.cli.flags import HELP
from crawler.config.loader import Origins, fields
from crawler.config.model import Config

HEAD = """\
# Every setting with its default. Copy the lines you change into a file of your own:
#     crawler crawl --config my.toml https://example.com/
# Times are seconds or "500ms", "1h30m"; sizes are bytes or "500k", "10MiB".
"""


def default_toml() -> str:
    """config/default.toml, made from the model; `python -m crawler.cli.explain` prints it."""
    return HEAD + "\n" + explain(Config(), None)


def explain(config: Config, origins: Origins | None) -> str:
    """Valid TOML that reads back as the same Config.

    With `origins`, each line says where its value was decided; with None, what it is for.
    """
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
        setting = f"# {name} =" if value is None else f"{name} = {_toml(value)}"
        if origins is None:
            lines += [f"# {HELP[key]}.", setting]
        else:
            lines.append(f"{setting}  # {_one_line(origins.get(key, 'default'))}")
    return "\n".join(lines).strip() + "\n"


def _toml(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_toml(part)}" for name, part in value.items())
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    return tomli_w.dumps({"x": value}).partition("=")[2].strip()


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).partition(" = ")[0]


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


if __name__ == "__main__":
    print(default_toml(), end="")  # noqa: T201 - what this module is run for
