"""Runs one variant in this process: `python -m crawler.bench.variant_worker JOB.json`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import msgspec

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.recorder import Recorder
from crawler.bench.variants import VARIANTS


def main(path: str) -> None:
    """Run the task that a file describes; what was measured lies beside its pages."""
    task = msgspec.json.decode(Path(path).read_bytes(), type=CrawlTask)
    variant = VARIANTS[task.variant]
    recorder = Recorder(task, parses_apart=variant.parses_apart)
    importlib.import_module(f"crawler.bench.variants.{variant.module}").run(task, recorder)
    recorder.close()
    assert recorder.inside is not None, f"{variant.name} has not run its clock"
    task.inside.write_bytes(msgspec.json.encode(recorder.inside))


if __name__ == "__main__":
    main(sys.argv[1])
