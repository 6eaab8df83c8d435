"""Running `crawler` commands as processes."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NamedTuple

from helpers.places import ROOT

PATIENCE = 120.0


class Ended(NamedTuple):
    code: int
    out: str
    err: str


async def start(*args: str) -> asyncio.subprocess.Process:
    environ = {name: value for name, value in os.environ.items() if name[:8] != "CRAWLER_"}
    root = str(ROOT)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environ, "PYTHONPATH": root},
    )  # fmt: skip


async def end(child: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(PATIENCE):
        out, err = await child.communicate()
    assert b"Traceback" not in err, err.decode()
    assert child.returncode is not None
    return Ended(child.returncode, out.decode(), err.decode())


async def crawler(*args: str) -> Ended:
    return await end(await start(*args))
