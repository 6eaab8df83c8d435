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
    """Run the job that a file describes; what was measured lies beside its pages."""
    job = msgspec.json.decode(Path(path).read_bytes(), type=CrawlTask)
    variant = VARIANTS[job.variant]
    haul = Recorder(job, parses_apart=variant.parses_apart)
    importlib.import_module(f"crawler.bench.variants.{variant.module}").run(job, haul)
    haul.close()
    assert haul.inside is not None, f"{variant.name} has not run its clock"
    job.inside.write_bytes(msgspec.json.encode(haul.inside))


if __name__ == "__main__":
    main(sys.argv[1])
