"""A source tree's extension compiled where it lies, as installing the tree would do."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

from crawler.errors import ConfigError
from crawler.parse import native

SOURCES: Final = (Path("crawler", "parse", "_native.c"), Path("crawler", "parse", "_swift.c"))
"""Where it lies, and where it lay in the release before."""


def compile_in(tree: Path) -> None:
    """So that trees that are compared both have what was compiled, or neither does.

    Nothing happens where this process runs without it, or the tree is older than it. Raises
    ConfigError when the compiler fails.
    """
    for place in SOURCES:
        source = tree / place
        if native.COMPILED and source.exists():
            suffix = sysconfig.get_config_var("EXT_SUFFIX")
            compile_to(source, source.with_name(f"{source.stem}{suffix}"))


def compile_to(source: Path, module: Path, *flags: str) -> None:
    """With the flags that this interpreter was built with, and more. Raises ConfigError."""
    flags_of_build = (
        sysconfig.get_config_var(name) or "" for name in ("LDSHARED", "CFLAGS", "CCSHARED")
    )
    command = [
        *shlex.split(" ".join(flags_of_build)), "-O3", *flags,
        f"-I{sysconfig.get_path('include')}", str(source), "-o", str(module),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise ConfigError(f"{source}: {command[0]}: {error.strerror}") from error
    if done.returncode:
        raise ConfigError(f"{source}: not compiled: {done.stderr.strip()}")
