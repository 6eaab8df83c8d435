"""Describes the machine and software on which the figures were measured."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import psutil

LIBRARIES: Final = (
    "aiohttp", "uvloop", "turbohtml", "selectolax", "ada-url", "msgspec", "urllib3", "lxml",
    "beautifulsoup4",
)  # fmt: skip


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The computer, its interpreter and the libraries that the figures hang on."""

    cpu: str
    cpus: int  # that this process may use
    memory_gb: float
    system: str
    python: str
    libraries: dict[str, str]

    def __str__(self) -> str:
        return (
            f"{self.cpus} × {self.cpu}, {self.memory_gb:.0f} GB, {self.system}, "
            f"Python {self.python}"
        )


def current(cpus: int) -> Machine:
    """The machine that we are on; `cpus` as the parse pool counts them."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return Machine(
        cpu=_cpu(),
        cpus=cpus,
        memory_gb=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        libraries=versions,
    )


def load_average() -> float:
    """Processes that wanted a CPU over the last minute."""
    return os.getloadavg()[0]


def revision() -> str:
    """The commit that is measured, with a mark when files differ from it; empty: not a checkout."""
    root = Path(__file__).parents[2]
    try:
        done = subprocess.run(  # noqa: S603 - git, on our own folder
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or sys.platform
