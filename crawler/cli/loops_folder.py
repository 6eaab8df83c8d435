"""The folder of a crawl of several loops, whose alone it is, and what each loop is given of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.model import Config, FrontierConfig
from crawler.config.workdir import LOOPS, SHARES
from crawler.errors import ConfigError, FatalError, FolderLocked
from crawler.parse.workers.pool import usable_cpus

LOCK: Final = "lock"
"""In SHARES: whoever is at work here holds it."""

LEAVE: Final = 5.0
"""Seconds that those who died with the last run have to be gone."""


def fit(config: Config) -> None:
    """Raises ConfigError for what needs one loop."""
    refused = {
        "--report-skipped": config.output.skipped,
        "--mirror": config.output.mirror,
        f"pace.group = {config.pace.group!r}": config.pace.group != "host",
        "--save-cookies": config.fetch.save_cookies is not None,
    }
    for name, said in refused.items():
        if said:
            raise ConfigError(f"{name} needs a crawl of one loop, without --loops")


@contextmanager
def alone(path: Path, patience: float = LEAVE) -> Iterator[int]:
    """Be the only run in this folder. A loop of a killed run is given time to notice; the loops
    and the server inherit the lock. Raises FolderLocked.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise FolderLocked(f"{path.parent}: is in use by another run") from error
                time.sleep(0.05)
            else:
                break
        yield lock
    finally:
        os.close(lock)


def number_in(folder: Path) -> int:
    """How many loops its crawl has. Raises FatalError."""
    try:
        return int(msgspec.json.decode((folder / LOOPS).read_bytes())["loops"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FatalError(f"{folder / LOOPS}: not what a crawl of several loops writes") from error


def shares_in(folder: Path) -> Iterator[Path]:
    """The loops' folders, also of loops of an earlier run."""
    return (path for path in (folder / SHARES).iterdir() if path.name.isdecimal())


def own_settings(config: Config, where: FrontierConfig, share: Path, number: int) -> Config:
    """The settings of one of `number` loops: what is said of the whole crawl, divided."""
    replace = msgspec.structs.replace
    upload = config.output.upload
    size, rate = config.limits.size_limit, config.pace.limit_rate
    return replace(
        config,
        frontier=where,
        output=replace(
            config.output,
            dir=str(share),
            upload=f"{upload.rstrip('/')}/{share.name}" if upload else "",
        ),
        limits=replace(config.limits, size_limit=None if size is None else size // number),
        pace=replace(config.pace, limit_rate=None if rate is None else max(1, rate // number)),
        parse=replace(
            config.parse, processes=config.parse.processes or max(1, usable_cpus() // number)
        ),
    )
