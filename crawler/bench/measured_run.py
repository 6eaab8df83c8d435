"""One run of one cell, in a process of its own, metered from outside and checked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from crawler.bench.completeness import FoundPages, looked_through
from crawler.bench.crawl_task import CrawlTask, InnerMeasures
from crawler.bench.meter import ProcessCost
from crawler.bench.plan import BenchCell
from crawler.bench.site_pool import BenchSite
from crawler.errors import FatalError

LIMIT: Final = 180.0  # seconds for one run
HOUSE: Final = str(Path(__file__).parents[2])
FREE_THREADED: Final = ("python3.14t", "python3.13t")


class BenchError(FatalError):
    """A run failed, or did not do the work it was asked to do: there is nothing to compare."""


class MeasuredRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    cell: BenchCell
    round: int
    inside: InnerMeasures
    cost: ProcessCost
    pages: FoundPages
    site: float  # CPU seconds of the site


def try_cell(
    cell: BenchCell, site: BenchSite, number: int, *, processes: int, python: str
) -> MeasuredRun:
    """Run a cell once. Raises BenchError when it fails or its pages are not the site's."""
    with TemporaryDirectory(prefix="crawler-bench-") as name:
        folder = Path(name)
        out = folder / "out"
        out.mkdir()
        job = CrawlTask(
            variant=cell.variant,
            seed=site.url,
            out=str(out),
            hosts=site.hosts,
            concurrency=cell.concurrency,
            parser=cell.parser,
            processes=processes,
        )
        what = folder / "job.json"
        what.write_bytes(msgspec.json.encode(job))
        before = site.cpu()
        command = [python, "-m", "crawler.bench.variant_worker", str(what)]
        cost = metered(command, folder, ca=site.ca)
        used = site.cpu() - before
        if cost.code:
            raise BenchError(f"{cell.variant} on {cell.place} ended with code {cost.code}")
        pages = looked_through(job.pages, site.urls)
        if pages.wrong:
            first, more = pages.wrong[0], len(pages.wrong) - 1
            raise BenchError(f"{cell.variant} on {cell.place}: {first} (and {more} more)")
        inside = msgspec.json.decode(job.inside.read_bytes(), type=InnerMeasures)
        return MeasuredRun(
            cell=cell, round=number, inside=inside, cost=cost, pages=pages, site=used
        )


def metered(
    command: Sequence[str],
    folder: Path,
    *,
    ca: str | None = None,
    house: str = HOUSE,
    limit: float = LIMIT,
    log: Path | None = None,
) -> ProcessCost:
    """What a command costs, with all its children. `house`: where it finds this package."""
    out = folder / "cost.json"
    path = os.pathsep.join(filter(None, [HOUSE, os.environ.get("PYTHONPATH")]))
    # Not the current folder's package but the one that is meant, in every child.
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
    # Everybody's bytecode is kept between runs, as it is where a crawler is installed.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if house != HOUSE:
        command = ["env", f"PYTHONPATH={house}", *command]
    if ca is not None:
        environment["SSL_CERT_FILE"] = ca
    meter = [sys.executable, "-m", "crawler.bench.meter", str(out), str(limit), *command]
    with (log or Path(os.devnull)).open("wb") as said:
        done = subprocess.run(  # noqa: S603 - our own meter
            meter, env=environment, stdout=said, stderr=None if log is None else said, check=False
        )
    if not out.exists():
        raise BenchError(f"{command[0]}: the meter ended with code {done.returncode}")
    return msgspec.json.decode(out.read_bytes(), type=ProcessCost)


def free_threaded() -> tuple[str, str]:
    """An interpreter without a global lock that can run a variant, or why there is none."""
    import shutil  # noqa: PLC0415 - asked once

    wants = "import sys, crawler.bench.variant_worker, crawler.bench.variants.threads"
    reason = f"no free-threaded interpreter ({' or '.join(FREE_THREADED)}) is on the path"
    for name in FREE_THREADED:
        python = shutil.which(name)
        if python is None:
            continue
        code = f"{wants}; sys.exit(getattr(sys, '_is_gil_enabled', lambda: True)())"
        done = subprocess.run(  # noqa: S603 - an interpreter that the person has installed
            [python, "-c", code],
            env={**os.environ, "PYTHONPATH": HOUSE},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return python, ""
        last = done.stderr.strip().rpartition("\n")[2] or "an extension turned its lock on again"
        reason = f"{name} cannot run it: {last}"
    return "", reason
