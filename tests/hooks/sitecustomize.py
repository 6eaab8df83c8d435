"""What a test does to a worker from inside its process; on its path only where a test put it.

CLOCK=FILE     `time.time` is off by as many seconds as the double in FILE says, at any moment
STOP_AT=PORT   SIGSTOP to itself when it first connects to that port: leased, and nothing sent
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import time
from typing import Any

if path := os.environ.get("CLOCK"):
    with open(path, "r+b") as file:  # noqa: PTH123 - as little as possible is imported here
        offset = mmap.mmap(file.fileno(), 8)
    real = time.time
    time.time = lambda: real() + struct.unpack("d", offset[:8])[0]

if port := os.environ.pop("STOP_AT", ""):
    stopped = False

    def hook(event: str, words: tuple[Any, ...]) -> None:
        global stopped  # noqa: PLW0603 - a hook cannot be taken off
        if event == "socket.connect" and not stopped and words[1][1:2] == (int(port),):
            stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(hook)
