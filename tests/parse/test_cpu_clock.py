"""What held a crawl up is said by the CPU that its processes really used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crawler.parse.workers.cpu_clock import CpuClock

BURN = """
import sys, time
print("here", flush=True)
sys.stdin.readline()
while time.process_time() < 0.5: pass
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_it_counts_what_was_used_since_the_first_look_and_keeps_it() -> None:
    clock = CpuClock()
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        assert clock.look([child.pid]) == 0.0
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
        used = clock.look([child.pid])
        child.stdin.write("\n")
        child.stdin.flush()
        child.wait(30)
    assert 0.2 < used < 0.7
    assert clock.look([child.pid]) == used, "it is gone; what it did is not"


def test_a_process_that_never_was_counts_nothing() -> None:
    assert CpuClock().look([2**22 + 1]) == 0.0
