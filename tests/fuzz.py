"""Coverage-guided fuzzing of the readers (atheris, on libFuzzer): `make fuzz`, or

    python tests/fuzz.py READER SECONDS [CORPUS]

What it finds is written as `.fuzz/crash-…`: put the bytes into test_strangers.FOUND, and mend the
reader.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["crawler", "protego"]):
    from helpers.strangers import READERS


def main() -> None:
    """Run one reader for so many seconds; the exit code tells whether something was found."""
    name, seconds, *corpus = sys.argv[1:]
    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=2048",
                 "-timeout=10", "-artifact_prefix=.fuzz/", *corpus]  # fmt: skip
    atheris.Setup(arguments, READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
