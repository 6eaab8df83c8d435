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

from crawler.bench.completeness import FoundPages, check_pages
from crawler.bench.crawl_task import CrawlTask, InnerMeasures
from crawler.bench.meter import ProcessCost
from crawler.bench.plan import BenchCell
from crawler.bench.site_pool import BenchSite
from crawler.errors import FatalError

RUN_TIMEOUT_S: Final = 180.0  # seconds for one run
PROJECT_ROOT: Final = str(Path(__file__).parents[2])
FREE_THREADED: Final = ("python3.14t", "python3.13t")


class BenchError(FatalError):
    """A run failed or its pages are wrong: its figures cannot be compared."""


class MeasuredRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    cell: BenchCell
    round: int
    inside: InnerMeasures
    cost: ProcessCost
    pages: FoundPages
    site: float  # CPU seconds of the site


def run_cell(
    cell: BenchCell, site: BenchSite, number: int, *, processes: int, python: str
) -> MeasuredRun:
    """Run a cell once. Raises BenchError when it fails or its pages are not the site's."""
    with TemporaryDirectory(prefix="crawler-bench-") as name:
        folder = Path(name)
        out = folder / "out"
        out.mkdir()
        task = CrawlTask(
            variant=cell.variant,
            seed=site.url,
            out=str(out),
            hosts=site.hosts,
            concurrency=cell.concurrency,
            parser=cell.parser,
            processes=processes,
        )
        task_file = folder / "task.json"
        task_file.write_bytes(msgspec.json.encode(task))
        before = site.cpu()
        command = [python, "-m", "crawler.bench.variant_worker", str(task_file)]
        cost = metered(command, folder, ca=site.ca)
        used = site.cpu() - before
        if cost.code:
            raise BenchError(f"{cell.variant} on {cell.place} ended with code {cost.code}")
        pages = check_pages(task.pages, site.urls)
        if pages.wrong:
            first, more = pages.wrong[0], len(pages.wrong) - 1
            raise BenchError(f"{cell.variant} on {cell.place}: {first} (and {more} more)")
        inside = msgspec.json.decode(task.inside.read_bytes(), type=InnerMeasures)
        return MeasuredRun(
            cell=cell, round=number, inside=inside, cost=cost, pages=pages, site=used
        )


def metered(
    command: Sequence[str],
    folder: Path,
    *,
    ca: str | None = None,
    import_path: str = PROJECT_ROOT,
    limit: float = RUN_TIMEOUT_S,
    log: Path | None = None,
) -> ProcessCost:
    """The cost of a command with all its children. `import_path`: the parent of its package.

    Raises BenchError when the meter fails.
    """
    out = folder / "cost.json"
    path = os.pathsep.join(filter(None, [PROJECT_ROOT, os.environ.get("PYTHONPATH")]))
    # Not the current folder's package but the one that is meant, in every child.
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
    # Everybody's bytecode is kept between runs, as it is where a crawler is installed.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if import_path != PROJECT_ROOT:
        command = ["env", f"PYTHONPATH={import_path}", *command]
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
            env={**os.environ, "PYTHONPATH": PROJECT_ROOT},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return python, ""
        last = done.stderr.strip().rpartition("\n")[2] or "an extension turned its lock on again"
        reason = f"{name} cannot run it: {last}"
    return "", reason
